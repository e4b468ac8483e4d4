"""What SSPS refuses, and how it begins."""

import pytest
import torch
from ssps_samplers import facts, filled, projections, references

from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig


@pytest.mark.parametrize(
    "utterances, settings",
    [(41, {}), (40, {"clusters": 6}), (40, {"neighbours": 2}), (40, {"reference_dtype": "float16"})],
)
def test_a_state_of_another_training_set_or_other_settings_is_refused(utterances, settings):
    state = filled(clusters=5, queue_size=7).state_dict()
    other = SSPSKMeans(SSPSKMeansConfig(**{"clusters": 5, "queue_size": 7, **settings}), facts(utterances))
    with pytest.raises(ValueError, match="another training set or other settings"):
        other.load_state_dict(state)


def test_a_state_of_another_queue_is_refused():
    state = filled(clusters=5, queue_size=7).state_dict()
    with pytest.raises(ValueError, match="saved rows is"):
        SSPSKMeans(SSPSKMeansConfig(clusters=5, queue_size=8), facts(40)).load_state_dict(state)


def test_a_queue_without_a_place_is_refused():
    with pytest.raises(ValueError, match="queue_size: expected a whole number, or a share of the utterances"):
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


def test_a_method_without_positives_is_refused():
    with pytest.raises(ValueError, match=r"method that has positives.*slots 0"):
        SSPSKMeans(SSPSKMeansConfig(clusters=2), facts(5, slots=0))
