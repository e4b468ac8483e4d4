"""What is said of a run: durations, and lines with the pace so far."""

import logging

import pytest
import torch

from sslsv_tk.training import progress
from sslsv_tk.training.progress import RunProgress, describe, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3600, "1 h 00 min"),
        (93_784, "26 h 03 min"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_an_epoch_has_its_seconds_and_the_rest_at_the_pace_so_far(monkeypatch, caplog):
    times = iter([100.0, 130.0, 190.0, 250.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    run = RunProgress(4, 10)
    with caplog.at_level(logging.INFO):
        run.say_epoch(5, 3.14159, None)
        run.say_epoch(6, 2.0, 12.345)
        run.say_epoch(10, 1.0, None)
    assert caplog.messages == [
        "epoch 5 of 10: loss 3.142, 30 s, 2 min 30 s to go",
        "epoch 6 of 10: loss 2, 60 s, EER of validation 12.35 %, 3 min 00 s to go",
        "epoch 10 of 10: loss 1, 60 s, training ends",
    ]


def test_the_device_is_named():
    assert describe(torch.device("cpu")) == f"cpu with {torch.get_num_threads()} threads"


def test_a_run_says_what_it_is_and_goes_on_with_the_epochs_that_are_left(workspace, caplog):
    from sslsv_tk.bin import train

    with caplog.at_level(logging.INFO):
        train.main(workspace.options("x", "training.epochs=2"))
        train.main(workspace.options("x", "training.epochs=3"))
    said = [record.getMessage() for record in caplog.records if record.name == "progress"]
    parameters = said[0].partition("fp32: ")[2].partition(" parameters")[0].replace(",", "")
    assert int(parameters) > 1000
    assert said[0].endswith("18 utterances, 3 steps per epoch of 5, 2 epochs to go (1 to 2)")
    assert [line.partition(":")[0] for line in said[1:3]] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert said[3].endswith("3 steps per epoch of 5, 1 epoch to go (3 to 3)") and said[4].startswith("epoch 3 of 3")
