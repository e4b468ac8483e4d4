"""Live pseudo-positives of nearest neighbours: candidates and draws against loops, and what a restart keeps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from ssps_samplers import EMBEDDING, facts, filled, references

from sslsv_tk.clustering.neighbours import cohort_of, nearest_others
from sslsv_tk.positives.ssps_live_knn import SSPSLiveKNN, SSPSLiveKNNConfig
from sslsv_tk.sampling.references import whitened

WHITENED = {"reference_segments": 2, "whitening": "within_utterance"}
everyone = torch.arange(40)


def live(**more) -> SSPSLiveKNN:
    return filled(kind=SSPSLiveKNN, **more)


def slow_candidates(points_ND: torch.Tensor, nearest: int, mutual: bool) -> list[list[int]]:
    """For each row its nearest others, the nearest first; with `mutual` those that have it among theirs."""
    rows = points_ND.double().tolist()
    cosines = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    found = []
    for own, row in enumerate(cosines):
        others = sorted((u for u in range(len(rows)) if u != own), key=lambda u: -row[u])
        found.append(others[:nearest])
    if mutual:
        return [[u for u in candidates if own in found[u]] for own, candidates in enumerate(found)]
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), nearest=st.integers(1, 7), mutual=st.booleans())
def test_partners_are_the_candidates_that_a_loop_finds_and_all_of_them_in_time(seed, nearest, mutual):
    sampler = SSPSLiveKNN(SSPSLiveKNNConfig(nearest=nearest, mutual=mutual), facts(8, seed))
    reference_RBD = references(8, seed)
    sampler.observe(None, torch.arange(8), reference_RBD)
    expected = slow_candidates(reference_RBD[0], nearest, mutual)
    drawn = [set() for _ in range(8)]
    for epoch in range(120):
        numbers = sampler.start_epoch(epoch)
        for anchor, partner in enumerate(sampler.partners().tolist()):
            drawn[anchor].add(partner)
    assert numbers == {"seen_share": 1.0, "candidates": pytest.approx(sum(map(len, expected)) / 8)}
    assert drawn == [set(candidates) or {own} for own, candidates in enumerate(expected)]


@pytest.mark.parametrize("cohort", [0, 5])
@pytest.mark.parametrize("kept_share, kept", [(0.3, 12), (0.31, 13), (0.001, 1)])
def test_only_those_as_similar_as_the_surest_keep_a_candidate(cohort, kept_share, kept):
    """Of 40, without mutual: those are kept that are as similar to their nearest as the given one in that order."""
    sampler = live(nearest=1, mutual=False, cohort=cohort, kept_share=kept_share)
    points_ND = sampler.references.points()[1]
    similarity_NK, nearest_NK = nearest_others(points_ND, 1, cohort_of(points_ND, 5) if cohort else None)
    least = sorted(similarity_NK[:, 0].tolist(), reverse=True)[kept - 1]
    is_sure = similarity_NK[:, 0] >= least
    expected = torch.where(is_sure, nearest_NK[:, 0], torch.arange(40))
    assert sampler.start_epoch(0)["candidates"] == int(is_sure.sum()) / 40
    assert kept <= is_sure.sum() <= kept + 1, "the two of a pair are equally similar"
    assert sampler.partners().tolist() == expected.tolist()


def test_a_second_candidate_must_be_as_similar_as_the_surest_have_theirs():
    sampler = live(nearest=6, mutual=False, kept_share=0.5)
    points_ND = sampler.references.points()[1]
    similarity_NK, nearest_NK = nearest_others(points_ND, 6)
    least = similarity_NK[:, 0].sort(descending=True).values[19]
    expected = [
        {int(u) for u, s in zip(*pair, strict=True) if s >= least}
        for pair in zip(nearest_NK, similarity_NK, strict=True)
    ]
    drawn = [set() for _ in range(40)]
    for epoch in range(200):
        sampler.start_epoch(epoch)
        for anchor, partner in enumerate(sampler.partners().tolist()):
            drawn[anchor].add(partner)
    assert drawn == [candidates or {own} for own, candidates in enumerate(expected)]
    assert max(map(len, expected)) > 1 and sum(map(bool, expected)) == 20


@pytest.mark.parametrize("weights", ["uniform", "exponential"])
def test_candidates_come_as_often_as_their_weights_say_the_nearest_first(weights):
    sampler = live(nearest=5, weights=weights)
    expected = slow_candidates(references(40)[0], 5, mutual=True)
    counts = np.zeros(3)
    for epoch in range(120):
        sampler.start_epoch(epoch)
        for candidates, partner in zip(expected, sampler.partners().tolist(), strict=True):
            if len(candidates) == 3:
                counts[candidates.index(partner)] += 1
    shares = np.ones(3) if weights == "uniform" else np.exp(-0.7 * np.arange(3))
    assert counts.sum() >= 360
    assert chisquare(counts, shares / shares.sum() * counts.sum()).pvalue > 1e-3


def test_one_whom_nobody_counts_among_their_nearest_keeps_its_own_positive():
    pairs = torch.nn.functional.normalize(torch.tensor([[1, 0.0, 0, 0], [1, 0.1, 0, 0], [0, 0, 1, 0.0]]), dim=1)
    for mutual, expected in ((True, [1, 0, 2]), (False, [1, 0, 1])):
        sampler = SSPSLiveKNN(SSPSLiveKNNConfig(nearest=1, mutual=mutual), facts(3))
        sampler.observe(None, torch.arange(3), (pairs + torch.tensor([0, 1e-3, 0, 0]))[None])
        sampler.start_epoch(0)
        assert sampler.partners().tolist() == expected


def test_utterances_never_seen_keep_themselves_and_are_no_partners():
    sampler = SSPSLiveKNN(SSPSLiveKNNConfig(nearest=4, mutual=False), facts(20))
    seen = torch.arange(0, 20, 2)
    sampler.observe(None, seen, references(10))
    assert sampler.start_epoch(0) == {"seen_share": 0.5, "candidates": 4.0}
    partners = sampler.partners()
    assert partners[1::2].tolist() == list(range(1, 20, 2))
    expected = slow_candidates(references(10)[0], 4, mutual=False)
    assert all(partners[2 * row] in [2 * u for u in candidates] for row, candidates in enumerate(expected))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_as_few_seen_as_candidates_are_wanted_leave_every_positive(count):
    sampler = SSPSLiveKNN(SSPSLiveKNNConfig(nearest=4), facts(20))
    sampler.observe(None, torch.arange(count), references(count))
    assert sampler.start_epoch(0) == {"seen_share": count / 20}
    assert sampler.partners().tolist() == list(range(20))


@pytest.mark.parametrize("more", [{}, WHITENED, {"cohort": 5}])
def test_utterances_that_are_all_equal_have_partners_other_than_themselves(more):
    sampler = SSPSLiveKNN(SSPSLiveKNNConfig(nearest=3, mutual=False, **more), facts(12))
    same = torch.nn.functional.normalize(torch.ones(sampler.reference_segments, 12, EMBEDDING), dim=2)
    sampler.observe(None, torch.arange(12), same)
    assert sampler.start_epoch(0)["candidates"] == 3
    assert (sampler.partners() != np.arange(12)).all()


def test_whitened_references_decide_who_is_near():
    sampler, reference_RBD = live(nearest=3, **WHITENED), references(40, segments=2)
    sampler.start_epoch(0)
    mean_ND = torch.nn.functional.normalize(reference_RBD.mean(0), dim=1)
    apart = (reference_RBD - reference_RBD.mean(0)).flatten(0, 1)
    expected = slow_candidates(whitened(mean_ND, apart.T @ apart / 40, 0.3), 3, mutual=True)
    assert expected != slow_candidates(mean_ND, 3, mutual=True)
    for partner, own, candidates in zip(sampler.partners().tolist(), range(40), expected, strict=True):
        assert partner in (candidates or [own])


def test_partners_are_those_of_seed_and_epoch():
    def partners(seed: int, epoch: int) -> tuple[int, ...]:
        sampler = live(seed=seed, nearest=6)
        sampler.start_epoch(epoch)
        return tuple(sampler.partners().tolist())

    assert partners(1, 3) == partners(1, 3)
    assert len({partners(1, epoch) for epoch in range(5)}) == 5 == len({partners(seed, 3) for seed in range(5)})


def test_references_of_a_pass_before_an_epoch_replace_all_of_those_before():
    """Two segments, whitened: neither references nor scatter of the first epoch are left."""
    sampler, other = (live(nearest=4, refresh="epochs", **WHITENED) for _ in range(2))
    again = references(40, 7, segments=2)
    for one, steps in ((sampler, [everyone[:25], everyone[25:]]), (other, [everyone])):
        one.start_epoch(0)
        assert one.pass_before(1) == "references"
        for part in steps:
            one.observe(None, part, again[:, part])
        one.end_pass(1)
        one.start_epoch(1)
    assert sampler.partners().tolist() == other.partners().tolist()
    fresh = SSPSLiveKNN(sampler.config, sampler.facts)
    fresh.observe(None, everyone, again)
    fresh.start_epoch(1)
    assert fresh.partners().tolist() == sampler.partners().tolist() != everyone.tolist()


def test_as_many_candidates_as_utterances_are_refused():
    with pytest.raises(ValueError, match=r"nearest: 5 utterances have 4 others, found 5\. Set fewer"):
        SSPSLiveKNN(SSPSLiveKNNConfig(nearest=5), facts(5))
    assert filled(5, kind=SSPSLiveKNN, nearest=4, mutual=False).start_epoch(0)["candidates"] == 4
