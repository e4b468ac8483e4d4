"""What SSPS keeps over a restart, and what it refuses."""

import copy

import pytest
import torch
from ssps_samplers import facts, filled, projections, read_back, references

from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig

WHITENED = {"reference_segments": 2, "whitening": "within_utterance"}


@pytest.mark.parametrize(
    "settings", [{}, {"candidates": "all"}, {"permuted": True, "neighbours": 2}, WHITENED, {"weights": "exponential"}]
)
def test_a_sampler_read_back_in_the_middle_of_an_epoch_goes_on_identically(settings):
    settings = {"clusters": 5, "queue_size": 15, **settings}
    sampler = filled(**settings)
    sampler.start_epoch(2)
    segments = sampler.reference_segments
    batches = torch.randperm(40, generator=torch.Generator().manual_seed(1)).split(7)
    for part in batches[:3]:
        sampler.replace(projections(part), part)
        sampler.observe(projections(part) + 0.5, part, references(len(part), 3, segments))
    other = read_back(sampler)
    assert other.pass_before(2) == "nothing"
    for part in batches[3:]:
        mine, theirs = sampler.replace(projections(part), part), other.replace(projections(part), part)
        assert torch.equal(mine[0], theirs[0])
        assert torch.equal(mine[1], theirs[1])
        for one in (sampler, other):
            one.observe(projections(part), part, references(len(part), 4, segments))
        assert sampler.measures() == other.measures()
    assert sampler.start_epoch(3) == other.start_epoch(3)
    assert torch.equal(sampler.references.assignments_N, other.references.assignments_N)


def test_a_state_from_before_the_first_epoch_can_be_read_back():
    sampler, other = filled(clusters=5), SSPSKMeans(SSPSKMeansConfig(clusters=5), facts(40))
    other.load_state_dict(copy.deepcopy(sampler.state_dict()))
    assert other.pass_before(0) == "nothing", "it was filled before it was saved"
    assert sampler.start_epoch(0) == other.start_epoch(0)


@pytest.mark.parametrize(
    "utterances, settings",
    [(41, {}), (40, {"clusters": 6}), (40, {"neighbours": 2}), (40, {"reference_dtype": "float16"})],
)
def test_a_state_of_another_training_set_or_other_settings_is_refused(utterances, settings):
    state = filled(clusters=5, queue_size=7).state_dict()
    other = SSPSKMeans(SSPSKMeansConfig(**{"clusters": 5, "queue_size": 7, **settings}), facts(utterances))
    with pytest.raises(ValueError, match="another training set or other settings"):
        other.load_state_dict(state)


def test_a_state_of_another_queue_or_of_other_positives_is_refused():
    state = filled(clusters=5, queue_size=7).state_dict()
    with pytest.raises(ValueError, match="queue"):
        SSPSKMeans(SSPSKMeansConfig(clusters=5, queue_size=8), facts(40)).load_state_dict(state)
    with pytest.raises(ValueError, match=r"state of the positives ssps_kmeans.*found none.*Resume"):
        SSPSKMeans(SSPSKMeansConfig(clusters=5), facts(40)).load_state_dict({})


def test_a_queue_without_a_place_is_refused():
    with pytest.raises(ValueError, match="queue_size: expected at least 1"):
        SSPSKMeansConfig(queue_size=0)


def test_while_fewer_utterances_than_clusters_were_seen_all_keep_their_own_positives():
    """The epoch that fills the queue leaves its last short batch out."""
    sampler, everyone = SSPSKMeans(SSPSKMeansConfig(clusters=9, filling="epoch"), facts(10)), torch.arange(10)
    sampler.start_epoch(0)
    sampler.observe(projections(everyone[:8]), everyone[:8], references(8))
    assert sampler.start_epoch(1) == {"seen_share": 0.8}
    assert torch.equal(sampler.replace(projections(everyone), everyone)[1], everyone)
    sampler.observe(projections(everyone[2:]), everyone[2:], references(8))
    assert sampler.start_epoch(2)["seen_share"] == 1
    assert (sampler.replace(projections(everyone), everyone)[1] != everyone).any()


def test_steps_out_of_order_and_missing_references_are_refused():
    sampler = filled(clusters=5)
    with pytest.raises(ValueError, match="start_epoch comes before replace"):
        sampler.replace(projections(torch.arange(4)), torch.arange(4))
    with pytest.raises(ValueError, match="need the embeddings of reference segments"):
        sampler.observe(projections(torch.arange(4)), torch.arange(4))


def test_a_method_without_positives_is_refused():
    with pytest.raises(ValueError, match=r"method that has positives.*slots 0"):
        SSPSKMeans(SSPSKMeansConfig(clusters=2), facts(5, slots=0))
