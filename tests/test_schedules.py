"""Schedules against plain loops."""

import math

import pytest

from sslsv_tk.schedules import Progress, cosine, stepwise_decay, warm_up_then_cosine


def test_the_rate_falls_once_per_so_many_epochs() -> None:
    expected, rate = [], 1e-3
    for epoch in range(120):
        if epoch and epoch % 5 == 0:
            rate *= 0.95
        expected.append(rate)
    assert [stepwise_decay(1e-3, 0.95, 5, epoch) for epoch in range(120)] == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) == 24


def test_a_factor_of_one_changes_nothing() -> None:
    assert stepwise_decay(0.2, 1.0, 1, 1000) == 0.2


def test_the_warm_up_is_part_of_the_span_and_the_cosine_ends_with_it() -> None:
    """DINO: ten epochs up, ninety down, here step by step with 7 steps per epoch."""
    steps, warm, span = 7, 10, 100
    expected = [0.2 * step / (warm * steps) for step in range(warm * steps)]
    rest = (span - warm) * steps
    expected += [1e-5 + 0.5 * (0.2 - 1e-5) * (1 + math.cos(math.pi * step / rest)) for step in range(rest + 1)]
    found = [warm_up_then_cosine(0.2, 1e-5, warm, Progress(step / steps, span)) for step in range(span * steps + 1)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found[-1] == pytest.approx(1e-5) and max(found) == found[warm * steps] == 0.2


def test_a_schedule_stays_at_its_end() -> None:
    beyond = Progress(130.0, 100)
    assert beyond.share == 1.0
    assert warm_up_then_cosine(0.2, 1e-5, 10, beyond) == pytest.approx(1e-5)


def test_a_cosine_without_warm_up_begins_at_its_peak() -> None:
    assert warm_up_then_cosine(0.2, 0.0, 0, Progress(0.0, 5)) == 0.2
    assert [cosine(0.996, 1.0, share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.996, 0.998, 1.0])
