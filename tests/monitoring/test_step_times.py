"""Parts of a step against a clock that is turned by hand, and the sentence on the largest."""

import pytest
import torch

from sslsv_tk.monitoring import step_times
from sslsv_tk.monitoring.step_times import PARTS, Bottleneck, StepTimes


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
    said, means = Bottleneck(), {f"{part}_seconds": 0.1 for part in PARTS}
    slow = {**means, "read_seconds": 1.5}
    assert said.sentence(slow) == (
        "75% of a step's 2 s is waiting for audio. Raise training.loader_workers, or copy dump to a faster disk."
    )
    assert said.sentence(slow) is None, "it was said"
    assert "the backward pass" in str(said.sentence({**means, "backward_seconds": 0.5}))
    assert "waiting for audio" in str(said.sentence(slow)), "it became another one"
    assert Bottleneck().sentence(dict.fromkeys(means, 0.0)) is None
