"""The table of methods: what is read from a system's folder, and what is said where something is missing."""

import json
import sys
from pathlib import Path

import pytest

from sslsv_tk import logs

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "egs" / "voxceleb" / "local"))

import method_table


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Two epochs, and the rows of three checkpoints on the list `test`."""
    folder = tmp_path / "exp" / "dino_small"
    (folder / "scores").mkdir(parents=True)
    epochs = [
        {"kind": "step", "epoch": 1, "loss": 9.0, "kl": 5.0},
        {"kind": "epoch", "epoch": 1, "loss": 3.0, "kl": 0.5, "coverage": 0, "seconds": 61.2, "collapsed": 1},
        {"kind": "epoch", "epoch": 2, "loss": 2.0, "kl": 0.25, "coverage": 0, "seconds": 70.0, "collapsed": 0},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    for name, eer, interval in (("test_0", 41.0, None), ("test_latest", 30.123, [28.04, 33.0]), ("test", 29.5, None)):
        row = {"eer_percent": eer, "eer_interval_percent": interval}
        (folder / "scores" / f"{name}.json").write_text(json.dumps(row))
    return folder


def run(system: Path, name: str = "test") -> int:
    words = ["--exp", str(system.parent), "--list", name, "--systems", system.name]
    return logs.run_command(method_table.main, words)


def test_a_line_of_the_table(system, capsys):
    assert run(system) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "| dino_small | 41.00 | 30.12 [28.0, 33.0] | 29.50 | 2 | 61 | kl 0.25 (collapse told in 1 epochs) |"
    )


def test_a_checkpoint_that_was_not_scored_is_named(system, caplog):
    (system / "scores" / "test_0.json").unlink()
    assert run(system) == 1
    assert "run stages 6 and 7 of dino_small with --checkpoint 0" in caplog.text


def test_a_system_that_was_not_trained(system, caplog):
    (system / "metrics.jsonl").unlink()
    assert run(system) == 1
    assert "tells of no epoch. Run stage 4 first" in caplog.text
