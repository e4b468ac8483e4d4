"""Live pseudo-positives: partners against a loop over the members, and what a restart keeps."""

import numpy as np
import pytest
import torch
from ssps_samplers import check_that_positives_stay, facts, filled, projections, read_back, references

from sslsv_tk.positives.ssps_live import SSPSLive, SSPSLiveConfig


def live(**settings) -> SSPSLive:
    return filled(kind=SSPSLive, **settings)


@pytest.mark.parametrize("neighbours", [0, 1, 3])
def test_partners_are_other_members_of_the_allowed_clusters_and_all_of_them_in_time(neighbours):
    sampler = live(clusters=6, neighbours=neighbours)
    missed, met = 0, {}
    for epoch in range(80):
        sampler.start_epoch(epoch)
        cluster_N = sampler.cluster_of(torch.arange(40)).tolist()
        cosines_KK = (sampler.references.centroids_KD @ sampler.references.centroids_KD.T).tolist()
        for anchor, partner in enumerate(sampler.partners().tolist()):
            own = cluster_N[anchor]
            nearest = sorted((k for k in range(6) if k != own), key=lambda k: -cosines_KK[own][k])
            allowed = nearest[:neighbours] if neighbours else [own]
            members = {u for u in range(40) if cluster_N[u] in allowed and u != anchor}
            if partner == anchor:
                missed += 1
                assert any(cluster_N.count(k) == (k == own) for k in allowed)
            else:
                assert partner in members
                met.setdefault(anchor, set()).add(partner)
    assert missed < 0.1 * 80 * 40
    assert np.mean([len(partners) for partners in met.values()]) > 10


def test_positives_stay_as_the_loader_cut_them_and_name_their_owner():
    check_that_positives_stay(live(clusters=5))


def test_no_projections_are_kept_and_only_references_are_asked_for():
    sampler = SSPSLive(SSPSLiveConfig(clusters=3), facts(20))
    assert sampler.pass_before(0) == "references"
    assert not any("queue" in name for name in sampler.state_dict())


def test_utterances_never_seen_keep_themselves_and_are_no_partners():
    sampler = SSPSLive(SSPSLiveConfig(clusters=3), facts(20))
    seen = torch.arange(0, 20, 2)
    sampler.observe(projections(seen), seen, references(10))
    sampler.start_epoch(0)
    partners = sampler.partners()
    assert partners[1::2].tolist() == list(range(1, 20, 2))
    assert set(partners[::2].tolist()) <= set(seen.tolist())
    assert (partners[::2] != seen.numpy()).any()


def test_permuted_partners_have_no_regard_to_clusters():
    groups = torch.arange(60) % 3
    everyone = torch.arange(60)
    tight = torch.nn.functional.normalize(torch.eye(3, 4)[groups] + 0.01 * references(60), dim=2)
    shares = {}
    for permuted in (False, True):
        sampler = SSPSLive(SSPSLiveConfig(clusters=3, neighbours=0, permuted=permuted), facts(60))
        sampler.observe(projections(everyone), everyone, tight)
        sampler.start_epoch(0)
        sampler.references.assignments_N[:] = groups.int()
        same = []
        for epoch in range(20):
            sampler.epoch = epoch
            sampler._prepare()
            same.append(float((groups[sampler.partners()] == groups).float().mean()))
        shares[permuted] = np.mean(same)
    assert shares[False] == 1.0
    assert 0.25 < shares[True] < 0.42


WHITENED = {"reference_segments": 2, "whitening": "within_utterance"}


@pytest.mark.parametrize("settings", [{}, {"permuted": True, "neighbours": 2}, {"neighbours": 0}, WHITENED])
def test_a_sampler_read_back_in_the_middle_of_an_epoch_goes_on_identically(settings):
    sampler = live(clusters=5, **settings)
    sampler.start_epoch(2)
    first, second = torch.arange(40).split(17)[0], torch.arange(17, 40)
    segments = sampler.reference_segments
    sampler.observe(projections(first), first, references(17, 3, segments))
    other = read_back(sampler)
    assert other.pass_before(2) == "nothing"
    assert other.partners().tolist() == sampler.partners().tolist()
    for one in (sampler, other):
        one.observe(projections(second), second, references(23, 4, segments))
    assert sampler.start_epoch(3) == other.start_epoch(3)
    assert other.partners().tolist() == sampler.partners().tolist()


def test_steps_out_of_order_wrong_states_and_methods_without_positives_are_refused():
    sampler = live(clusters=5)
    with pytest.raises(ValueError, match="ssps_live have drawn nothing yet"):
        sampler.replace(projections(torch.arange(4)), torch.arange(4))
    with pytest.raises(ValueError, match="ssps_live need the embeddings of reference segments"):
        sampler.observe(projections(torch.arange(4)), torch.arange(4))
    with pytest.raises(ValueError, match=r"state of the positives ssps_live.*found none"):
        sampler.load_state_dict({})
    with pytest.raises(ValueError, match=r"ssps_live .*slots 0"):
        SSPSLive(SSPSLiveConfig(clusters=2), facts(5, slots=0))
