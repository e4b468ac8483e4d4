"""The oracle against a loop over utterances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.same_speaker import SameSpeaker, SameSpeakerConfig, draw_partners

SPEAKERS = np.array([0, 0, 0, 0, 0, 1, 1, 2], dtype=np.int32)
RECORDINGS = np.array([0, 0, 1, 2, 2, 3, 3, 4], dtype=np.int32)


def sampler(seed: int = 0, recordings: np.ndarray | None = RECORDINGS) -> SameSpeaker:
    return SameSpeaker(SameSpeakerConfig(), SamplerFacts(8, seed, speakers=SPEAKERS, recordings=recordings))


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


def test_positives_stay_as_the_loader_cut_them_and_name_their_owner():
    oracle = sampler()
    oracle.start_epoch(0)
    batch = torch.tensor([7, 0, 4])
    positives = torch.randn(1, 3, 2)
    replaced, chosen = oracle.replace(positives, batch)
    assert replaced is positives
    assert chosen.tolist() == oracle.partners()[[7, 0, 4]].tolist()


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


def test_projections_are_left_alone():
    positives, utterances = torch.randn(1, 2, 3), torch.tensor([1, 4])
    kept, chosen = sampler().replace(positives, utterances)
    assert kept is positives
    assert torch.equal(chosen, utterances)


def test_a_restored_oracle_has_the_partners_of_its_epoch():
    oracle, other = sampler(), sampler()
    oracle.start_epoch(4)
    other.load_state_dict(oracle.state_dict())
    assert other.partners().tolist() == oracle.partners().tolist() != list(range(8))
    before = sampler()
    before.load_state_dict(sampler().state_dict())
    assert before.partners().tolist() == list(range(8))


def test_a_state_of_another_training_set_or_of_other_positives_is_refused():
    with pytest.raises(ValueError, match=r"for 8 utterances.*Resume with"):
        sampler().load_state_dict({"epoch": 1, "utterances": 9})
    with pytest.raises(ValueError, match="positives same_speaker"):
        sampler().load_state_dict({})


def test_an_unlabelled_training_set_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"same_speaker need true speakers.*utt2spk with labels"):
        SameSpeaker(SameSpeakerConfig(), SamplerFacts(8))
