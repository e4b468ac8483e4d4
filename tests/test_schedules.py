"""Schedules against plain loops."""

import pytest

from sslsv_tk.schedules import stepwise_decay


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
