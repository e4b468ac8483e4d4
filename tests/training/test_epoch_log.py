"""Lines of steps and of epochs, against means taken by hand; a log that goes on from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslsv_tk.monitoring.diagnostics import PositiveDiagnostics
from sslsv_tk.monitoring.step_times import PARTS, Bottleneck
from sslsv_tk.training.epoch_log import EpochLog
from sslsv_tk.training.position import Position

CPU = torch.device("cpu")
SPEAKERS = np.array([0, 0, 1, 1], dtype=np.int32)


def new_log() -> EpochLog:
    return EpochLog(CPU, PositiveDiagnostics(CPU, SPEAKERS, None), "say less", Bottleneck(dict.fromkeys(PARTS, "wait")))


def add(log: EpochLog, *losses: float) -> None:
    """A step of two utterances each: the first one keeps its positive, the second one gets its speaker's other."""
    for loss in losses:
        log.add_step({"loss": torch.tensor(loss)}, torch.tensor([1, 2]), torch.tensor([1, 3]))


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_has_the_means_since_the_last_one_and_an_epoch_those_of_all(tmp_path: Path) -> None:
    log = new_log()
    log.open(tmp_path, 0)
    add(log, 4.0, 2.0)
    log.times.waited(1.0)
    log.write_steps(Position(step=2, step_in_epoch=2), 0.1)
    add(log, 9.0)
    log.times.waited(0.5)
    log.write_steps(Position(step=3, step_in_epoch=3), 0.1)
    assert log.loss() == 5.0
    log.write_epoch(Position(epoch=1, step=3), 0.2)
    log.close()
    first, second, epoch = written(tmp_path)
    nothing = {f"{part}_seconds": 0.0 for part in PARTS}
    expected = {"kind": "step", "epoch": 1, "loss": 3.0, **nothing, "read_seconds": 0.5}
    assert first == {"step": 2, "learning_rate": 0.1, **expected}
    assert (second["loss"], second["read_seconds"]) == (9.0, 0.5)
    assert (epoch["kind"], epoch["epoch"], epoch["step"], epoch["loss"]) == ("epoch", 1, 3, 5.0)
    assert (epoch["coverage"], epoch["speaker_accuracy"], epoch["collapsed"]) == (0.5, 1.0, 0.0)
    assert log.loss() == 0.0, "the next epoch begins with nothing"


def test_a_log_that_goes_on_writes_what_it_would_have_written(tmp_path: Path) -> None:
    whole, first, second = new_log(), new_log(), new_log()
    for log, folder in ((whole, tmp_path / "whole"), (first, tmp_path / "parts")):
        folder.mkdir()
        log.open(folder, 0)
        add(log, 4.0)
        log.write_steps(Position(step=1), 0.1)
        add(log, 2.0)
    state = first.state_dict()
    first.write_steps(Position(step=2), 0.1)  # after the checkpoint: lost with the process
    first.close()
    second.load_state_dict({"model": {}, **state})
    second.open(tmp_path / "parts", 2)
    for log in (whole, second):
        add(log, 8.0)
        log.write_steps(Position(step=3), 0.1)
        log.write_epoch(Position(epoch=1, step=3), 0.1)
        log.close()
    lines = [[{**line, "seconds": 0} for line in written(tmp_path / name)] for name in ("whole", "parts")]
    assert lines[0] == lines[1] and [line["loss"] for line in lines[0]] == pytest.approx([4.0, 5.0, 14 / 3])


def test_a_sampler_that_has_nothing_to_say_gets_no_line(tmp_path: Path) -> None:
    log = new_log()
    log.open(tmp_path, 0)
    log.write_positives({}, None, Position(epoch=3, step=9))
    log.write_positives({"seen_share": 1.0}, torch.tensor([0, 0, 1, 1]), Position(epoch=3, step=9))
    log.write_validation({"eer_percent": 7.5}, Position(epoch=4, step=12))
    log.close()
    positives, validation = written(tmp_path)
    assert (positives["kind"], positives["epoch"], positives["nmi_speaker"]) == ("positives", 4, pytest.approx(1.0))
    assert (validation["kind"], validation["epoch"], validation["eer_percent"]) == ("validation", 4, 7.5)


def test_a_collapse_is_said_with_the_method_s_remedy_and_marks_the_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = new_log()
    log.open(tmp_path, 0)
    for deviation in (0.5, 0.01):
        numbers = {"loss": torch.tensor(1.0), "embedding_deviation": torch.tensor(deviation)}
        log.add_step(numbers, torch.tensor([0]), torch.tensor([0]))
        log.write_steps(Position(step=1), 0.1)
    log.write_epoch(Position(epoch=1, step=2), 0.1)
    log.close()
    assert caplog.text.count("collapse in epoch 1") == 1 and "say less" in caplog.text
    assert written(tmp_path)[-1]["collapsed"] == 1.0
