"""Reference clusters: what is clustered, whose cluster is drawn, what is refused."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.nn.functional import normalize

from sslsv_tk.clustering.references import ReferenceClusters, ReferenceConfig


def embeddings(count: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)), dim=1)


def observed(count: int = 40, seed: int = 0, **settings) -> ReferenceClusters:
    references = ReferenceClusters(ReferenceConfig(**settings), count, 4, seed, torch.device("cpu"))
    assert not references.are_complete
    references.observe(torch.arange(count), embeddings(count))
    assert references.are_complete
    return references


@pytest.mark.parametrize("neighbours", [0, 1, 3])
def test_the_drawn_cluster_is_the_own_one_or_one_of_the_nearest_others_uniformly(neighbours):
    references = observed(clusters=6, neighbours=neighbours)
    counts = np.zeros(max(neighbours, 1))
    for epoch in range(60):
        references.start_epoch(epoch)
        own_N = references.cluster_of(torch.arange(40))
        drawn_N, uniform_N = references.draw()
        assert ((uniform_N >= 0) & (uniform_N < 1)).all()
        cosines_KK = references.centroids_KD @ references.centroids_KD.T
        for own, drawn in zip(own_N.tolist(), drawn_N.tolist(), strict=True):
            others = sorted((k for k in range(6) if k != own), key=lambda k: -float(cosines_KK[own, k]))
            allowed = others[:neighbours] if neighbours else [own]
            counts[allowed.index(drawn)] += 1
    assert counts.sum() == 2400
    assert neighbours < 2 or chisquare(counts).pvalue > 1e-3


def test_an_embedding_observed_again_replaces_the_one_before():
    references = observed(clusters=3)
    later = embeddings(5, seed=9)
    references.observe(torch.arange(5), later)
    torch.testing.assert_close(references.embeddings_ND[:5], later)
    torch.testing.assert_close(references.embeddings_ND[5:], embeddings(40)[5:])


def test_a_state_goes_on_identically_and_is_a_copy():
    references, other = observed(clusters=5, neighbours=2), observed(clusters=5, neighbours=2, seed=0)
    references.start_epoch(3)
    other.load_state_dict(references.state_dict())
    assert other.epoch == 3
    references.embeddings_ND.zero_()
    torch.testing.assert_close(other.embeddings_ND, embeddings(40))
    for mine, theirs in zip(references.draw(), other.draw(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_state_that_does_not_fit_changes_nothing():
    references = observed(clusters=5)
    references.start_epoch(0)
    before = copy.deepcopy(references.state_dict())
    with pytest.raises(ValueError, match=r"neighbours_KM is .*another training set or other settings.*Resume"):
        references.load_state_dict(observed(clusters=5, neighbours=2).state_dict())
    for name, value in references.state_dict().items():
        assert value == before[name] if name == "epoch" else torch.equal(value, before[name])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"clusters": 0}, "clusters: expected a whole number, or a share"),
        ({"clusters": -3}, "clusters: expected"),
        ({"clusters": 2.5}, "clusters: expected"),
        ({"clusters": float("nan")}, "clusters: expected"),
        ({"clusters": float("inf")}, "clusters: expected"),
        ({"neighbours": -1}, "neighbours: expected 0"),
        ({"iterations": -1}, "iterations: expected 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ReferenceConfig(**settings)


def test_the_number_of_clusters_is_given_or_a_share_and_checked_against_the_training_set():
    assert ReferenceConfig(clusters=7).clusters_of(100) == 7
    assert ReferenceConfig(clusters=0.1).clusters_of(100) == 10
    assert ReferenceConfig(clusters=0.001, neighbours=0).clusters_of(100) == 1
    with pytest.raises(ValueError, match=r"101 clusters need at least as many utterances, found 100.*share"):
        ReferenceConfig(clusters=101).clusters_of(100)
    with pytest.raises(ValueError, match="3 clusters have 2 others, found neighbours = 3"):
        ReferenceConfig(clusters=3, neighbours=3).clusters_of(100)
