"""Draws of a rank against weights added up one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from sslsv_tk import seeds
from sslsv_tk.clustering.ranks import check_weights, draw_ranks


def slow_rank(count: int, uniform: float, weight) -> int:
    """The first rank at which the weights so far are more than their share `uniform` of all."""
    total, so_far = sum(weight(rank) for rank in range(count)), 0.0
    for rank in range(count):
        so_far += weight(rank)
        if so_far > uniform * total:
            return rank
    return count - 1


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    decay=st.floats(0.01, 3.0),
    seed=st.integers(0, 999),
    weights=st.sampled_from(["uniform", "exponential"]),
)
def test_a_rank_is_where_the_weights_so_far_pass_the_draw(counts, decay, seed, weights):
    uniform_B = np.random.default_rng(seed).random(len(counts))
    found = draw_ranks(torch.tensor(counts), torch.from_numpy(uniform_B), weights, decay).tolist()
    weight = (lambda rank: 1.0) if weights == "uniform" else lambda rank: math.exp(-decay * rank)
    for count, uniform, rank in zip(counts, uniform_B.tolist(), found, strict=True):
        assert rank == (slow_rank(count, uniform, weight) if count else -1)


@pytest.mark.parametrize("decay", [0.1, 0.7, 2.0])
def test_frequencies_are_those_of_the_formula(decay):
    draws = torch.from_numpy(np.random.default_rng(0).random(20_000))
    ranks = draw_ranks(torch.full((20_000,), 6), draws, "exponential", decay)
    shares = np.exp(-decay * np.arange(6))
    assert chisquare(np.bincount(ranks, minlength=6), shares / shares.sum() * 20_000).pvalue > 1e-3


@given(counts=st.lists(st.integers(1, 1000), min_size=1, max_size=20), seed=st.integers(0, 999))
def test_uniform_ranks_are_those_that_seeds_chooses(counts, seed):
    uniform_B = seeds.uniform(1, seed, np.arange(len(counts)))[:, 0]
    found = draw_ranks(torch.tensor(counts), torch.from_numpy(uniform_B.copy()), "uniform", 0.7)
    assert found.tolist() == seeds.choose(np.array(counts), uniform_B).tolist()


@pytest.mark.parametrize("weights", ["uniform", "exponential"])
@pytest.mark.parametrize("decay", [1e-12, 0.7, 800.0])
def test_the_ends_of_the_draw_stay_within_the_count(weights, decay):
    counts, last = torch.tensor([0, 1, 2, 10**6]), float(np.nextafter(1.0, 0.0))
    assert draw_ranks(counts, torch.zeros(4, dtype=torch.float64), weights, decay).tolist() == [-1, 0, 0, 0]
    ranks = draw_ranks(counts, torch.full((4,), last, dtype=torch.float64), weights, decay).tolist()
    assert ranks[:2] == [-1, 0] and 0 <= ranks[2] < 2 and 0 <= ranks[3] < 10**6
    if weights == "uniform" or decay < 1e-6:
        assert ranks == [-1, 0, 1, 999_999]


def test_weights_that_hardly_fall_are_as_good_as_uniform():
    draws, counts = torch.from_numpy(np.random.default_rng(1).random(1000)), torch.full((1000,), 50)
    flat = draw_ranks(counts, draws, "exponential", 1e-18)
    assert (flat - draw_ranks(counts, draws, "uniform", 0.7)).abs().sum() == 0


@pytest.mark.parametrize("decay", [0.0, -1.0, math.nan, math.inf])
def test_a_decay_that_makes_no_weights_is_refused_where_it_is_used(decay):
    with pytest.raises(ValueError, match="decay: exponential weights need a number above 0; found"):
        check_weights("exponential", decay)
    check_weights("uniform", decay)
    check_weights("exponential", 1e-9)
