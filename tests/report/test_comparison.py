"""Systems side by side over repetitions: figures against the metrics themselves, a control, faults."""

import json
from pathlib import Path

import numpy as np
import pytest

from sslsv_tk import logs
from sslsv_tk.bin import compare_positives
from sslsv_tk.kaldi.tables import write_table
from sslsv_tk.report import comparison
from sslsv_tk.report.score_file import write_scores
from sslsv_tk.scoring.metrics import equal_error_rate

SPEAKERS = 10


def write_repetition(root: Path, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A list of all pairs of 40 utterances and two systems' scores of it; returns targets and scores by system."""
    keys = sorted(f"s{s}-r{r}-00001" for s in range(SPEAKERS) for r in range(4))
    write_table(root / "data" / "wav.scp", keys, [f"{key}.wav" for key in keys])
    write_table(root / "data" / "utt2spk", keys, [key.split("-")[0] for key in keys])
    pairs = [(a, b) for i, a in enumerate(keys) for b in keys[:i]]
    target = np.array([a.split("-")[0] == b.split("-")[0] for a, b in pairs])
    (root / "data" / "trials").write_text(
        "".join(f"{a} {b} {'target' if t else 'nontarget'}\n" for (a, b), t in zip(pairs, target, strict=True))
    )
    generator, found = np.random.default_rng(seed), {}
    enrol, test = (np.array([pair[side] for pair in pairs]).astype(np.bytes_) for side in (0, 1))
    for system, noise in (("good", 0.4), ("bad", 2.0)):
        found[system] = target + noise * generator.normal(size=len(target))
        write_scores(root / system / "scores" / "all.score", enrol, test, found[system])
    return target, found


def run(roots: list[Path], *rows: str, control: str = "control") -> int:
    data, trials = ([str(root / "data" / name) for root in roots] for name in ("", "trials"))
    arguments = ["--exp", *map(str, roots), "--data", *data, "--trials", *trials, "--rows", *rows, "--control", control]
    return logs.run_command(compare_positives.main, arguments)


def test_rows_hold_the_rates_their_mean_and_a_paired_difference(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    roots = [tmp_path / "first", tmp_path / "second"]
    made = [write_repetition(root, seed) for seed, root in enumerate(roots)]
    record = {"kind": "epoch", "coverage": 0.5, "speaker_accuracy": 0.25, "seconds": 12.0}
    (roots[0] / "good" / "metrics.jsonl").write_text(
        json.dumps({**record, "coverage": 0.9}) + "\n" + json.dumps(record)
    )
    assert run(roots, "SSPS=good/scores/all.score", "control=bad/scores/all.score") == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    good = [equal_error_rate(scores["good"], target) for target, scores in made]
    bad = [equal_error_rate(scores["bad"], target) for target, scores in made]
    assert lines[2][:3] == ["SSPS", f"{good[0]:.2f} / {good[1]:.2f}", f"{np.mean(good):.2f}"]
    assert lines[3][:4] == ["control", f"{bad[0]:.2f} / {bad[1]:.2f}", f"{np.mean(bad):.2f}", "0"]
    differences = lines[2][3].split("; ")
    assert [difference.split()[0] for difference in differences] == [
        f"{a - b:+.2f}" for a, b in zip(good, bad, strict=True)
    ]
    assert all(difference.endswith("*") for difference in differences)
    assert lines[2][4:] == ["0.500", "0.250", "-", "12.0"] and lines[3][4:] == ["-"] * 4


@pytest.mark.parametrize(
    ("rows", "control", "message"),
    [
        (["SSPS"], "SSPS", "expected NAME=SYSTEM/scores/LIST.score"),
        (["a=good/scores/all.score"], "b", "not one of the rows a"),
        (["a=none/scores/all.score"], "a", "none/scores/all.score"),
    ],
)
def test_what_cannot_be_compared_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: list[str], control: str, message: str
) -> None:
    write_repetition(tmp_path, 0)
    assert run([tmp_path], *rows, control=control) == 1
    assert message in caplog.text


@pytest.mark.parametrize("line", ["[1, 2]", "{", "[" * 100_000, "\x00"])
def test_a_line_of_metrics_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"kind": "epoch"}}\n{line}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl:2: expected a table of numbers in JSON, found"):
        comparison.last_epoch(tmp_path)


def test_what_is_no_number_is_no_measure(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "epoch", "coverage": [], "seconds": 2.5, "loss": null}\n')
    assert comparison.last_epoch(tmp_path) == {"seconds": 2.5}
