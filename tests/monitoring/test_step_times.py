"""Parts of a step against a clock that is turned by hand, and the sentence on the largest."""

from typing import Any

import pytest
import torch

from sslsv_tk.monitoring import step_times
from sslsv_tk.monitoring.step_times import PARTS, Bottleneck, StepTimes, remedies
from sslsv_tk.systems.configuration import TrainingConfig

CPU = torch.device("cpu")


class Clock:
    now = 5.0

    def perf_counter(self) -> float:
        return self.now


def test_each_part_gets_its_seconds_and_the_next_line_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(step_times, "time", clock)
    times = StepTimes(torch.device("cpu"))
    for _ in range(2):
        times.waited(0.5)
        clock.now += 100.0  # between two steps
        times.start()
        for number, part in enumerate(PARTS):
            if part != "read":
                clock.now += number
                times.end(part)
        clock.now += 0.25  # the loss is computed after the sampler
        times.end("forward")
    found = times.take(2)
    expected = {f"{part}_seconds": float(number) for number, part in enumerate(PARTS)}
    assert found == pytest.approx({**expected, "read_seconds": 0.5, "forward_seconds": 2.25})
    assert set(times.take(0).values()) == {0.0}


def test_the_largest_part_is_named_once_with_a_remedy() -> None:
    said, means = Bottleneck(remedies(TrainingConfig(), CPU)), {f"{part}_seconds": 0.1 for part in PARTS}
    slow = {**means, "read_seconds": 1.5}
    assert said.sentence(slow) == (
        "75% of a step's 2 s is waiting for audio. Raise training.loader_workers, or copy dump to a faster disk."
    )
    assert said.sentence(slow) is None, "it was said"
    assert said.sentence({**means, "read_seconds": 0.5, "backward_seconds": 0.55}) is None, "nearly the same"
    assert "the backward pass" in str(said.sentence({**means, "backward_seconds": 0.5}))
    assert "waiting for audio" in str(said.sentence(slow)), "it became another one"
    assert Bottleneck(remedies(TrainingConfig(), CPU)).sentence(dict.fromkeys(means, 0.0)) is None
    compiled = Bottleneck(remedies(TrainingConfig(), CPU), skipped=1)
    assert compiled.sentence(slow) is None and compiled.sentence(slow) is not None


def test_no_remedy_is_what_is_set_already_or_is_refused() -> None:
    def backward(device: str = "cpu", **settings: Any) -> str:
        return remedies(TrainingConfig(**settings), torch.device(device))["backward"]

    both = "A GPU is faster; so may a new system be (--tag) with training.precision=bf16 or training.compile=true"
    assert backward(precision="fp32", compile="false") == both
    assert backward(precision="bf16", compile="true") == "A GPU is faster"
    assert backward("cuda", precision="bf16", compile="true") == "More GPUs share the batch"
    parts = backward(precision="bf16", compile="false", recompute=True, encoder_parts=2)
    assert parts.endswith("training.recompute=false or training.encoder_parts=1") and "compile" not in parts
