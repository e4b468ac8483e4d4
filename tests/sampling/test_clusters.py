"""Clusters of references: what is clustered, whose cluster is drawn, what is refused."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.nn.functional import normalize

from sslsv_tk.clustering.agreement import normalised_mutual_information
from sslsv_tk.clustering.kmeans import Clustering
from sslsv_tk.clustering.shared_rows import SharedRows
from sslsv_tk.sampling.clusters import ClusterConfig, Clusters, agreement, sizes
from sslsv_tk.sampling.facts import SamplerFacts


def embeddings(count: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)), dim=1)


def fresh(count: int = 40, seed: int = 0, **settings) -> Clusters:
    return Clusters(ClusterConfig(**settings), SamplerFacts(count, seed, projection_dimension=1, embedding_dimension=4))


def renew(clusters: Clusters, epoch: int, rows: torch.Tensor | None = None) -> dict[str, float]:
    """Cluster random embeddings, the same in every epoch, of some utterances or of all."""
    rows = torch.arange(len(clusters.assignments_N)) if rows is None else rows
    return clusters.renew(rows, SharedRows(embeddings(len(rows))), epoch)


@pytest.mark.parametrize("neighbours", [0, 1, 3])
def test_the_drawn_cluster_is_the_own_one_or_one_of_the_nearest_others_uniformly(neighbours):
    clusters = fresh(clusters=6, neighbours=neighbours)
    counts = np.zeros(max(neighbours, 1))
    for epoch in range(60):
        renew(clusters, epoch)
        own_N = clusters.of(torch.arange(40))
        drawn_N, uniform_N = clusters.draw(epoch)
        assert ((uniform_N >= 0) & (uniform_N < 1)).all()
        cosines_KK = clusters.centroids_KD @ clusters.centroids_KD.T
        for own, drawn in zip(own_N.tolist(), drawn_N.tolist(), strict=True):
            others = sorted((k for k in range(6) if k != own), key=lambda k: -float(cosines_KK[own, k]))
            allowed = others[:neighbours] if neighbours else [own]
            counts[allowed.index(drawn)] += 1
    assert counts.sum() == 2400
    assert neighbours < 2 or chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("decay", [0.2, 1.5])
def test_exponential_weights_take_the_nearest_cluster_most_often(decay):
    clusters = fresh(clusters=8, neighbours=4, weights="exponential", decay=decay)
    counts = np.zeros(4)
    renew(clusters, 0)
    own_N, nearest = clusters.of(torch.arange(40)).tolist(), clusters.neighbours_KM.tolist()
    for epoch in range(80):
        drawn_N, _ = clusters.draw(epoch)
        for own, drawn in zip(own_N, drawn_N.tolist(), strict=True):
            counts[nearest[own].index(drawn)] += 1
    shares = np.exp(-decay * np.arange(4))
    assert chisquare(counts, shares / shares.sum() * 3200).pvalue > 1e-3


def test_draws_are_those_of_seed_and_epoch():
    clusters = fresh(clusters=8, neighbours=3)
    renew(clusters, 0)
    found = set()
    for seed in (0, 1):
        clusters.facts = dataclasses.replace(clusters.facts, seed=seed)
        for epoch in (0, 1):
            drawn, members = clusters.draw(epoch)
            again, members_again = clusters.draw(epoch)
            assert torch.equal(drawn, again) and torch.equal(members, members_again)
            found.add((tuple(drawn.tolist()), tuple(members.tolist())))
    assert len(found) == 4


def test_permuted_draws_are_the_same_ones_in_another_order():
    plain, permuted = fresh(clusters=6, neighbours=2), fresh(clusters=6, neighbours=2, permuted=True)
    for clusters in (plain, permuted):
        renew(clusters, 0)
    for epoch in range(5):
        (mine, uniform), (theirs, uniform_again) = plain.draw(epoch), permuted.draw(epoch)
        assert sorted(mine.tolist()) == sorted(theirs.tolist()) and mine.tolist() != theirs.tolist()
        assert torch.equal(uniform, uniform_again)


def test_while_nobody_was_seen_nothing_is_clustered_or_drawn():
    clusters = fresh(clusters=5, neighbours=2)
    assert renew(clusters, 0, torch.arange(0)) == {"seen_share": 0.0}
    assert clusters.of(torch.arange(40)).tolist() == [-1] * 40
    drawn_N, uniform_N = clusters.draw(0)
    assert drawn_N.tolist() == [-1] * 40 and len(uniform_N) == 40


def test_those_seen_are_clustered_and_the_others_are_not():
    clusters = fresh(clusters=5, neighbours=2)
    assert renew(clusters, 0, torch.arange(10, 30))["seen_share"] == 0.5
    known = torch.zeros(40, dtype=torch.bool)
    known[10:30] = True
    assert torch.equal(clusters.of(torch.arange(40)) >= 0, known)
    assert torch.equal(clusters.draw(0)[0] >= 0, known)


def test_sizes_counted_by_hand():
    assignments_N = torch.tensor([0, 0, 0, 0, 2, 2, 2, 3, 5])
    similarities_N = torch.tensor([1.0, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0, -0.5])
    assert sizes(Clustering(torch.eye(6), assignments_N, similarities_N)) == {
        "kmeans_objective": pytest.approx(5.5 / 9),
        "empty_clusters": 2.0,
        "largest_cluster": 4.0,
        "median_cluster": 1.0,  # torch's: the lower one of 1, 1, 3, 4
        "alone_share": pytest.approx(2 / 9),
    }


def test_agreement_is_that_of_the_utterances_in_both_clusterings():
    before, after = torch.tensor([0, 0, 1, 1, -1, 2]), torch.tensor([3, 3, 0, 0, 1, -1])
    assert agreement(before, after) == {"clusters_agreement": pytest.approx(1.0)}
    crossed = torch.tensor([0, 1, 0, 1, 4, 4])
    expected = normalised_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert agreement(before[:5], crossed[:5]) == {"clusters_agreement": pytest.approx(expected)} and expected < 0.01
    assert agreement(torch.full((6,), -1), after) == {}


def test_clusterings_are_compared_from_the_second_on():
    clusters = fresh(clusters=4)
    assert "clusters_agreement" not in renew(clusters, 0)
    before = clusters.assignments_N.numpy().copy()
    numbers = renew(clusters, 1)
    expected = normalised_mutual_information(before, clusters.assignments_N.numpy())
    assert numbers["clusters_agreement"] == pytest.approx(expected)
    assert 0 < expected < 1


def test_a_state_goes_on_identically_and_is_a_copy():
    clusters, other = fresh(clusters=5, neighbours=2), fresh(clusters=5, neighbours=2)
    renew(clusters, 3)
    other.load_state_dict(clusters.state_dict())
    drawn = clusters.draw(3)
    renew(clusters, 4)
    assert not torch.equal(clusters.assignments_N, other.assignments_N)
    for mine, theirs in zip(drawn, other.draw(3), strict=True):
        assert torch.equal(mine, theirs)


def test_a_state_that_does_not_fit_changes_nothing():
    clusters = fresh(clusters=5)
    renew(clusters, 0)
    before = copy.deepcopy(clusters.state_dict())
    with pytest.raises(ValueError, match=r"neighbours_KM is .*another training set or other settings.*Resume"):
        clusters.load_state_dict(fresh(clusters=5, neighbours=2).state_dict())
    for name, value in clusters.state_dict().items():
        assert torch.equal(value, before[name])


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
        ({"weights": "exponential", "decay": 0.0}, "decay: exponential weights need a number above 0"),
        ({"reference_segments": 0}, "reference_segments: expected at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ClusterConfig(**settings)


def test_the_number_of_clusters_is_given_or_a_share_and_checked_against_the_training_set():
    assert ClusterConfig(clusters=7).clusters_of(100) == 7
    assert ClusterConfig(clusters=0.1).clusters_of(100) == 10
    assert ClusterConfig(clusters=0.001, neighbours=0).clusters_of(100) == 1
    with pytest.raises(ValueError, match=r"101 clusters need at least as many utterances, found 100.*share"):
        ClusterConfig(clusters=101).clusters_of(100)
    with pytest.raises(ValueError, match="3 clusters have 2 others, found neighbours = 3"):
        ClusterConfig(clusters=3, neighbours=3).clusters_of(100)
