"""The oracle against a loop over utterances."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ssps_samplers import WIDTH, facts, projections

from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.same_speaker import SameSpeaker, SameSpeakerConfig, draw_partners

SPEAKERS = np.array([0, 0, 0, 0, 0, 1, 1, 2], dtype=np.int32)
RECORDINGS = np.array([0, 0, 1, 2, 2, 3, 3, 4], dtype=np.int32)


def sampler(seed: int = 0, recordings: np.ndarray | None = RECORDINGS) -> SameSpeaker:
    return SameSpeaker(SameSpeakerConfig(), SamplerFacts(8, seed, speakers=SPEAKERS, recordings=recordings))


def queued(seed: int = 0, slots: int = 1, passed: bool = True) -> SameSpeaker:
    """An oracle whose positives come from a queue, shown everyone's projection in order."""
    told = SamplerFacts(
        8,
        seed,
        projection_dimension=WIDTH,
        embedding_dimension=4,
        slots=slots,
        speakers=SPEAKERS,
        recordings=RECORDINGS,
    )
    oracle = SameSpeaker(SameSpeakerConfig(source="queue"), told)
    if passed:
        oracle.observe(projections(torch.arange(8), slots), torch.arange(8))
        oracle.end_pass(0)
    return oracle


def candidates(anchor: int, speakers: np.ndarray, recordings: np.ndarray) -> list[int]:
    return [u for u in range(len(speakers)) if speakers[u] == speakers[anchor] and recordings[u] != recordings[anchor]]


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 25), seed=st.integers(0, 999))
def test_equal_parts_of_the_draw_go_to_each_candidate_once(count, seed):
    random = np.random.default_rng(seed)
    speakers, recordings = random.integers(0, 4, count), random.integers(0, 3, count)
    expected = [candidates(u, speakers, recordings) or [u] for u in range(count)]
    longest = max(map(len, expected))
    drawn = [set() for _ in range(count)]
    for part in range(longest):
        draws = np.array([((part % len(found)) + 0.5) / len(found) for found in expected])
        for anchor, partner in enumerate(draw_partners(speakers, recordings, draws)):
            drawn[anchor].add(int(partner))
    assert [sorted(found) for found in drawn] == expected


def test_speakers_of_one_recording_keep_themselves_and_are_counted():
    oracle = sampler()
    assert oracle.start_epoch(0) == {"without_partner": 3.0}
    assert oracle.partners()[5:].tolist() == [5, 6, 7]
    assert all(oracle.partners()[u] in candidates(u, SPEAKERS, RECORDINGS) for u in range(5))


def test_without_recordings_any_other_utterance_of_the_speaker_will_do():
    oracle = sampler(recordings=None)
    assert oracle.start_epoch(0) == {"without_partner": 1.0}
    partners = oracle.partners()
    assert partners[5:].tolist() == [6, 5, 7]
    assert all(SPEAKERS[partners[u]] == SPEAKERS[u] and partners[u] != u for u in range(7))


def test_partners_change_with_the_epoch_and_the_seed_only():
    def partners(seed: int, epoch: int) -> list[int]:
        oracle = sampler(seed)
        oracle.start_epoch(epoch)
        return oracle.partners().tolist()

    assert partners(1, 3) == partners(1, 3)
    assert len({tuple(partners(1, epoch)) for epoch in range(20)}) > 5
    assert len({tuple(partners(seed, 3)) for seed in range(20)}) > 5


def test_an_oracle_that_knows_no_recordings_says_what_that_means(caplog):
    for recordings in (RECORDINGS, None):
        sampler(recordings=recordings)
    assert caplog.messages == [
        "same_speaker: the training set has no utt2rec, so positives may be of the same recording"
    ]


# positives out of a queue


def test_the_loader_cuts_everyone_s_own_positive():
    oracle = queued()
    oracle.start_epoch(0)
    assert oracle.partners() is None


def test_both_sources_choose_the_same_partners():
    audio, queue = sampler(seed=4), queued(seed=4)
    for epoch in range(4):
        assert audio.start_epoch(epoch) == queue.start_epoch(epoch)
        _, chosen = queue.replace(projections(torch.arange(8)), torch.arange(8))
        assert chosen.tolist() == audio.partners().tolist()


def test_only_partners_that_are_queued_replace():
    oracle = queued(passed=False)
    inside = torch.tensor([0, 1, 2])
    oracle.observe(projections(inside), inside)
    for epoch in range(20):
        oracle.start_epoch(epoch)
        replaced, chosen = oracle.replace(projections(torch.arange(8)) + 0.25, torch.arange(8))
        is_replaced = chosen != torch.arange(8)
        partner = queued()
        partner.start_epoch(epoch)
        wanted = partner.replace(projections(torch.arange(8)), torch.arange(8))[1]
        assert torch.equal(is_replaced, (wanted != torch.arange(8)) & (wanted < 3))
        assert torch.equal(chosen[is_replaced], wanted[is_replaced])
        assert torch.equal(replaced[0, :, 0], torch.where(is_replaced, chosen.float(), torch.arange(8) + 0.25))


def test_the_newest_projection_is_taken_and_its_age_told():
    oracle = queued()
    oracle.start_epoch(0)
    newer = torch.tensor([3, 4])
    oracle.observe(projections(newer) + 0.5, newer)  # 10 rows entered: 8 and 9 are those of 3 and 4
    anchors = torch.tensor([0, 1, 5])
    replaced, chosen = oracle.replace(projections(anchors), anchors)
    expected = [float(u) + 0.5 * (u in (3, 4)) for u in chosen.tolist()]
    assert replaced[0, :, 0].tolist() == expected
    ages = [(10 - (u + 5 if u in (3, 4) else u)) / 8 for u in chosen[:2].tolist()]
    assert float(oracle.measures()["queue_age"]) == pytest.approx(np.mean(ages))
    assert sampler().measures() == {}


def test_a_queue_needs_positives_and_a_state_of_the_same_source():
    labels = {"speakers": np.zeros(5, dtype=np.int32)}
    with pytest.raises(ValueError, match=r"method that has positives.*slots 0"):
        SameSpeaker(SameSpeakerConfig(source="queue"), dataclasses.replace(facts(5, slots=0), **labels))
    SameSpeaker(SameSpeakerConfig(), dataclasses.replace(facts(5, slots=0), **labels))
    for one, other in ((sampler(), queued()), (queued(), sampler())):
        with pytest.raises(ValueError, match="state of the positives same_speaker"):
            one.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="another training set or other settings"):
        queued().load_state_dict(queued(slots=2).state_dict())
