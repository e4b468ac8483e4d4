"""Nearest others by exact search: cosines and normalised ones against loops over all pairs."""

import pytest
import torch
from torch.nn.functional import normalize

from sslsv_tk.clustering.neighbours import cohort_of, nearest_clusters, nearest_others


def unit_points(count: int, width: int) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=1)


def slow_cohort(points_ND: torch.Tensor, point: int, size: int) -> tuple[float, float]:
    """Mean and deviation of the largest cosines with others."""
    cosines = sorted((float(points_ND[point] @ other) for row, other in enumerate(points_ND) if row != point))[-size:]
    mean = sum(cosines) / len(cosines)
    return mean, (sum((cosine - mean) ** 2 for cosine in cosines) / len(cosines)) ** 0.5


@pytest.mark.parametrize("neighbours", [0, 1, 3, 19])
@pytest.mark.parametrize("chunk", [None, 3])
def test_nearest_clusters_are_those_of_a_sort_without_the_cluster_itself(neighbours, chunk):
    centroids = unit_points(20, 5)
    nearest = nearest_clusters(centroids, neighbours, chunk)
    assert nearest.shape == (20, neighbours)
    for k in range(20):
        others = sorted((j for j in range(20) if j != k), key=lambda j, k=k: -float(centroids[k] @ centroids[j]))
        assert nearest[k].tolist() == others[:neighbours]


def test_nearest_clusters_never_names_the_cluster_itself_among_equal_ones():
    nearest = nearest_clusters(torch.tensor([[1.0, 0.0]]).repeat(5, 1), 4)
    assert [sorted(row) for row in nearest.tolist()] == [[j for j in range(5) if j != k] for k in range(5)]


@pytest.mark.parametrize("neighbours", [-1, 5])
def test_more_neighbours_than_other_clusters_are_refused(neighbours):
    with pytest.raises(ValueError, match=f"from 0 to 4.*found {neighbours}"):
        nearest_clusters(unit_points(5, 3), neighbours)


@pytest.mark.parametrize("size, chunk", [(3, None), (8, 4), (50, 7)])
def test_normalised_neighbours_are_those_of_a_loop_over_pairs(size, chunk):
    """A cohort of 50 is all 19 others."""
    points = unit_points(20, 5).double()
    cohorts = [slow_cohort(points, point, size) for point in range(20)]
    found = nearest_others(points.float(), 4, cohort_of(points.float(), size, chunk), chunk)
    for i, (mean_i, deviation_i) in enumerate(cohorts):
        score = {}
        for j, (mean_j, deviation_j) in enumerate(cohorts):
            cosine = float(points[i] @ points[j])
            score[j] = ((cosine - mean_i) / deviation_i + (cosine - mean_j) / deviation_j) / 2
        expected = sorted((j for j in score if j != i), key=lambda j, score=score: -score[j])[:4]
        assert found.index_NK[i].tolist() == expected
        torch.testing.assert_close(found.similarity_NK[i].tolist(), [score[j] for j in expected], rtol=1e-3, atol=1e-3)


def test_one_who_is_near_to_many_is_a_neighbour_by_cosine_and_not_by_normalised_cosine():
    """A hub with eight points about it, and a pair apart: cosines of .6 with the hub and .55 with each other."""
    axes = torch.eye(11)
    about = [
        cosine * axes[0] + (1 - cosine**2) ** 0.5 * axes[1 + k] for k, cosine in enumerate(torch.linspace(0.8, 0.95, 8))
    ]
    third = 0.8 * axes[9]
    fourth = (0.55 - 0.36) / 0.8 * axes[9]
    fourth = fourth + (0.64 - fourth.square().sum()) ** 0.5 * axes[10]
    points = torch.stack([axes[0], *about, 0.6 * axes[0] + third, 0.6 * axes[0] + fourth])
    assert nearest_others(points, 1).index_NK[9:, 0].tolist() == [0, 0]
    assert nearest_others(points, 1, cohort_of(points, 4)).index_NK[9:, 0].tolist() == [10, 9]


def test_points_that_are_all_equal_have_finite_similarities():
    points = torch.tensor([[1.0, 0.0]]).repeat(6, 1)
    found = nearest_others(points, 2, cohort_of(points, 3))
    assert found.similarity_NK.isfinite().all()
    assert all(i not in row for i, row in enumerate(found.index_NK.tolist()))
