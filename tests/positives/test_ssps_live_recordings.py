"""Live pseudo-positives between recordings: candidates against loops, uniform draws, and what a restart keeps."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from ssps_samplers import facts, references
from torch.nn.functional import normalize

from sslsv_tk.clustering.neighbours import cohort_of, nearest_others
from sslsv_tk.positives.ssps_live_recordings import SSPSLiveRecordings, SSPSLiveRecordingsConfig
from sslsv_tk.sampling.references import whitened


def live(recordings: list[int], seed: int = 0, seen: list[int] | None = None, **more) -> SSPSLiveRecordings:
    """A sampler that has seen random references of all utterances or of some."""
    known = dataclasses.replace(facts(len(recordings), seed), recordings=np.array(recordings, dtype=np.int32))
    sampler = SSPSLiveRecordings(SSPSLiveRecordingsConfig(**more), known)
    rows = torch.arange(len(recordings)) if seen is None else torch.tensor(seen, dtype=torch.int64)
    sampler.observe(None, rows, references(len(recordings), seed, sampler.reference_segments)[:, rows])
    sampler.end_pass(0)
    return sampler


def slow_candidates(
    reference_ND: torch.Tensor, recordings: list[int], seen: list[int], nearest: int, mutual: bool
) -> dict[int, list[int]]:
    """Of each recording with a row that was seen, the candidate recordings, the nearest first."""
    means = {}
    for row in seen:
        means[recordings[row]] = means.get(recordings[row], 0) + reference_ND[row].double()
    cosine = {(a, b): float(normalize(means[a], dim=0) @ normalize(means[b], dim=0)) for a in means for b in means}
    near = {a: sorted((b for b in means if b != a), key=lambda b: -cosine[a, b])[:nearest] for a in means}
    if mutual:
        return {a: [b for b in candidates if a in near[b]] for a, candidates in near.items()}
    return near


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9999),
    recordings=st.lists(st.integers(0, 6), min_size=6, max_size=12).filter(
        lambda codes: len(set(codes)) > 3 and max(map(codes.count, codes)) < 5
    ),
    nearest=st.integers(1, 3),
    mutual=st.booleans(),
    share=st.floats(0, 1),
)
def test_partners_are_the_utterances_seen_of_the_recordings_that_a_loop_finds(seed, recordings, nearest, mutual, share):
    seen = [row for row in range(len(recordings)) if row / len(recordings) <= share]
    sampler = live(recordings, seed, seen, nearest=nearest, mutual=mutual)
    near = slow_candidates(references(len(recordings), seed)[0], recordings, seen, nearest, mutual)
    if len(near) <= nearest:
        near = {}
    expected = [
        {other for other in seen if recordings[other] in near.get(code, [])} if row in seen else set()
        for row, code in enumerate(recordings)
    ]
    drawn = [set() for _ in recordings]
    for epoch in range(250):
        numbers = sampler.start_epoch(epoch)
        for anchor, partner in enumerate(sampler.partners().tolist()):
            drawn[anchor].add(partner)
    assert drawn == [candidates or {own} for own, candidates in enumerate(expected)]
    if near:
        counts = [len(near[recordings[row]]) for row in seen]
        assert numbers["candidates"] == pytest.approx(sum(counts) / len(counts))
    else:
        assert "candidates" not in numbers


def test_recordings_and_their_utterances_come_equally_often():
    """Three recordings near each other, of 2, 1 and 3 utterances, and each anchor takes those of both others."""
    recordings = [0, 0, 1, 2, 2, 2]
    sampler = live(recordings, nearest=2, mutual=False)
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        sampler.start_epoch(epoch)
        counts[np.arange(6), sampler.partners()] += 1
    for anchor, own in enumerate(recordings):
        others = [row for row in range(6) if recordings[row] != own]
        shares = np.array([0.5 / recordings.count(recordings[row]) for row in others])
        assert counts[anchor].sum() == counts[anchor, others].sum()
        assert chisquare(counts[anchor, others], shares * 3000).pvalue > 1e-4


def test_whitening_comes_before_the_mean_of_a_recording():
    recordings = [row // 3 for row in range(30)]
    sampler = live(recordings, reference_segments=2, whitening="within_utterance", nearest=3)
    sampler.start_epoch(0)
    reference_RND = references(30, segments=2)
    mean_ND = normalize(reference_RND.mean(0), dim=1)
    apart = (reference_RND - reference_RND.mean(0)).flatten(0, 1)
    everyone = list(range(30))
    near = slow_candidates(whitened(mean_ND, apart.T @ apart / 30, 0.3), recordings, everyone, 3, True)
    assert near != slow_candidates(mean_ND, recordings, everyone, 3, True)
    for own, partner in enumerate(sampler.partners().tolist()):
        candidates = near[recordings[own]]
        assert recordings[partner] in candidates if candidates else partner == own


def test_partners_are_those_of_seed_and_epoch():
    def partners(seed: int, epoch: int) -> tuple[int, ...]:
        sampler = live([row // 2 for row in range(40)], nearest=4)
        sampler.facts = dataclasses.replace(sampler.facts, seed=seed)
        sampler.start_epoch(epoch)
        return tuple(sampler.partners().tolist())

    assert partners(1, 3) == partners(1, 3)
    assert len({partners(1, epoch) for epoch in range(5)}) == 5 == len({partners(seed, 3) for seed in range(5)})


@pytest.mark.parametrize("cohort", [0, 4])
def test_the_surest_recordings_alone_have_candidates_and_an_utterance_keeps_its_own_positive_else(cohort):
    """Of 13 recordings those as similar to their nearest as the fourth is, but for rounding within a pair."""
    recordings = [row // 3 for row in range(39)]
    sampler = live(recordings, nearest=1, mutual=False, cohort=cohort, kept_share=0.3)
    means_GD = normalize(references(39)[0].view(13, 3, -1).sum(1), dim=1)
    similarity_NK, nearest_NK = nearest_others(means_GD, 1, cohort_of(means_GD, 4) if cohort else None)
    least = sorted(similarity_NK[:, 0].tolist(), reverse=True)[3]
    sampler.start_epoch(0)
    replaced = set()
    for own, partner in enumerate(sampler.partners().tolist()):
        code = recordings[own]
        above = float(similarity_NK[code, 0]) - least
        if above > 1e-4 or (above > -1e-4 and partner != own):
            assert recordings[partner] == nearest_NK[code, 0]
            replaced.add(code)
        else:
            assert partner == own
    assert len(replaced) in (4, 5)


def test_too_few_recordings_are_refused():
    with pytest.raises(ValueError, match=r"nearest: 2 recordings have 1 others, found 2\. Set fewer"):
        live([0, 0, 1, 1], nearest=2)
    with pytest.raises(ValueError, match=r"are those of other recordings, and the training set has 1\. Choose other"):
        live([0, 0, 0])
