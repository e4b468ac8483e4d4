"""Draws by key: the same key, the same numbers, in any order; uniform; different keys, different numbers."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk import seeds

ROWS = np.arange(5000)


def splitmix(state: int) -> int:
    """The mixing function in plain integers, as published."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def test_the_draws_are_those_of_a_plain_loop() -> None:
    golden, state = 0x9E3779B97F4A7C15, 0
    for part in (3, -7, 2**62):
        state = splitmix((state + part + golden) % 2**64)
    expected = [(splitmix((state + n * golden) % 2**64) >> 11) / 2**53 for n in (1, 2, 3)]
    assert seeds.uniform(3, 3, -7, 2**62).tolist() == [expected]


@settings(max_examples=50, deadline=None)
@given(key=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4), count=st.integers(0, 5))
def test_any_key_gives_numbers_from_0_to_below_1(key: list[int], count: int) -> None:
    found = seeds.uniform(count, *key)
    assert found.shape == (1, count) and found.dtype == np.float64
    assert ((found >= 0) & (found < 1)).all()


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    together = seeds.uniform(4, 1, "noise", 2, ROWS, 3)
    order = np.random.default_rng(0).permutation(ROWS)[:50]
    assert (seeds.uniform(4, 1, "noise", 2, order, 3) == together[order]).all()
    assert (seeds.uniform(4, 1, "noise", 2, 17, 3)[0] == together[17]).all()


def test_more_draws_of_a_key_begin_with_the_same_ones() -> None:
    assert (seeds.uniform(9, 1, ROWS)[:, :4] == seeds.uniform(4, 1, ROWS)).all()


def test_the_width_of_an_integer_does_not_matter() -> None:
    wide = seeds.uniform(2, ROWS)
    for kind in (np.int16, np.int32, np.uint32, np.uint64):
        assert (seeds.uniform(2, ROWS.astype(kind)) == wide).all()


def test_another_process_draws_the_same() -> None:
    code = (
        "from sslsv_tk import seeds; print(seeds.uniform(2, 1, 'noise', 5).tolist(), seeds.generator(1, 'x').random())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == f"{seeds.uniform(2, 1, 'noise', 5).tolist()} {seeds.generator(1, 'x').random()}"


@pytest.mark.parametrize(
    "other", [(1, "noise", 3), (2, "noise", 2), (1, "nois", 2), ("noise", 1, 2), (1, "noise"), (1, "noise", 2, 0)]
)
def test_different_keys_differ_in_every_row(other: tuple[int | str, ...]) -> None:
    one, another = seeds.uniform(2, 1, "noise", 2, ROWS), seeds.uniform(2, *other, ROWS)
    assert (one != another).all()
    assert abs(np.corrcoef(one[:, 0], another[:, 0])[0, 1]) < 5 / np.sqrt(len(ROWS))


def test_no_two_draws_of_many_keys_are_equal() -> None:
    found = np.concatenate([seeds.uniform(4, seed, epoch, ROWS) for seed in range(3) for epoch in range(3)])
    assert len(np.unique(found)) == found.size


@pytest.mark.parametrize("column", [0, 1, 5])
def test_draws_are_uniform(column: int) -> None:
    """Pearson's statistic over 50 bins has mean 49 and deviation 9.9."""
    for key in ((0, 0), (1, "segment"), (12345, 7)):
        counts = np.histogram(seeds.uniform(6, *key, ROWS)[:, column], 50, (0, 1))[0]
        assert ((counts - 100.0) ** 2 / 100.0).sum() < 49 + 5 * 9.9


def test_neighbouring_keys_and_columns_do_not_follow_each_other() -> None:
    found = seeds.uniform(2, 9, ROWS)
    bound = 5 / np.sqrt(len(ROWS))
    assert abs(np.corrcoef(found[1:, 0], found[:-1, 0])[0, 1]) < bound
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) < bound


def test_choosing_covers_each_integer_equally() -> None:
    counts = np.bincount(seeds.choose(7, seeds.uniform(1, 4, ROWS)[:, 0]), minlength=7)
    assert len(counts) == 7
    assert ((counts - 5000 / 7) ** 2 / (5000 / 7)).sum() < 6 + 5 * np.sqrt(12)


def test_choosing_at_the_edges() -> None:
    below_one = 1 - 2.0**-53
    edges = np.array([0.0, 0.5, below_one])
    assert seeds.choose(1, edges).tolist() == [0, 0, 0]
    assert seeds.choose(2, edges).tolist() == [0, 1, 1]
    assert seeds.choose(np.array([1, 2, 3]), edges).tolist() == [0, 1, 2]
    largest = 2**53  # the product with the largest draw rounds to an integer below it
    assert seeds.choose(largest, edges).tolist() == [0, largest // 2, largest - 1]
    assert seeds.choose(2**60 + 1, edges)[2] <= 2**60


@pytest.mark.parametrize("size", [0, -1, np.array([3, 0])])
def test_choosing_from_nothing_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="Expected at least one to choose from"):
        seeds.choose(size, np.array([0.1, 0.9]))


def test_a_generator_is_that_of_its_key() -> None:
    assert seeds.generator(1, "order", 2).integers(100, size=20).tolist() == (
        seeds.generator(1, "order", 2).integers(100, size=20).tolist()
    )
    for other in ((1, "order", 3), (2, "order", 2), (1, "step", 2)):
        assert (seeds.generator(*other).random(5) != seeds.generator(1, "order", 2).random(5)).all()
