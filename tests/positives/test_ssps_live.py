"""Live pseudo-positives: partners against a loop over the members, and what a restart keeps."""

import numpy as np
import pytest
import torch
from ssps_samplers import facts, filled, projections, references

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
        cosines_KK = (sampler.clusters.centroids_KD @ sampler.clusters.centroids_KD.T).tolist()
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


def test_utterances_never_seen_keep_themselves_and_are_no_partners():
    sampler = SSPSLive(SSPSLiveConfig(clusters=3), facts(20))
    seen = torch.arange(0, 20, 2)
    sampler.observe(projections(seen), seen, references(10))
    sampler.start_epoch(0)
    partners = sampler.partners()
    assert partners[1::2].tolist() == list(range(1, 20, 2))
    assert set(partners[::2].tolist()) <= set(seen.tolist())
    assert (partners[::2] != seen.numpy()).any()
