"""Spherical k-means against the authors' figures, against loops over points, and against nasty data."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sslsv_tk.clustering.kmeans import random_rows, spherical_kmeans


def unit_points(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def slow_kmeans(points: np.ndarray, rows: list[int], iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Loops over points and clusters in float64; an empty cluster keeps its centroid, a tie goes to the lower one."""
    points = points.astype(np.float64)
    centroids = points[rows].copy()
    for update in range(iterations + 1):
        assignments = np.array([int(np.argmax([point @ centroid for centroid in centroids])) for point in points])
        if update == iterations:
            break
        for k in range(len(rows)):
            total = points[assignments == k].sum(axis=0)
            if np.linalg.norm(total) > 1e-6:
                centroids[k] = total / np.linalg.norm(total)
    return centroids, assignments


def test_matches_the_authors_figures(reference_folder):
    reference = np.load(reference_folder / "spherical_kmeans.npz")
    found = spherical_kmeans(
        torch.from_numpy(reference["points"]),
        torch.from_numpy(reference["initial_rows"]),
        int(reference["iterations"]),
    )
    np.testing.assert_allclose(
        found.centroids_KD, reference["centroids"], atol=1e-5 * abs(reference["centroids"]).max()
    )
    np.testing.assert_array_equal(found.assignments_N, reference["assignments"])
    np.testing.assert_allclose(found.similarities_N, reference["similarities"], atol=1e-5)


@pytest.mark.parametrize("iterations", [0, 1, 7])
@pytest.mark.parametrize("count, clusters", [(60, 5), (40, 17), (7, 7)])
def test_equals_loops_over_points_and_clusters(count, clusters, iterations):
    points = unit_points(count, 6, seed=count)
    rows = random_rows(count, clusters, 3)
    found = spherical_kmeans(points, rows, iterations)
    centroids, assignments = slow_kmeans(points.numpy(), rows.tolist(), iterations)
    np.testing.assert_array_equal(found.assignments_N, assignments)
    np.testing.assert_allclose(found.centroids_KD, centroids, atol=1e-5)
    np.testing.assert_allclose(found.similarities_N, (points.numpy() * centroids[assignments]).sum(axis=1), atol=1e-5)
    assert found.sizes_K.tolist() == np.bincount(assignments, minlength=clusters).tolist()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_no_update_lowers_the_objective_and_every_point_is_with_its_nearest_centroid(count, share, seed):
    points = unit_points(count, 3, seed)
    rows = random_rows(count, max(1, round(share * count)), seed)
    objectives = [spherical_kmeans(points, rows, n).objective for n in range(6)]
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(objectives))
    found = spherical_kmeans(points, rows, 5)
    best = (points @ found.centroids_KD.T).max(dim=1).values
    torch.testing.assert_close(found.similarities_N, best)
    torch.testing.assert_close(found.centroids_KD.norm(dim=1), torch.ones(len(rows)))


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
def test_the_chunk_does_not_change_the_result(chunk):
    points, rows = unit_points(100, 8), random_rows(100, 9, 0)
    one, other = spherical_kmeans(points, rows, 5), spherical_kmeans(points, rows, 5, chunk=chunk)
    assert torch.equal(one.assignments_N, other.assignments_N)
    torch.testing.assert_close(one.centroids_KD, other.centroids_KD)


def test_the_same_arguments_give_the_same_bits():
    points = unit_points(3000, 32)
    first, second = (spherical_kmeans(points, random_rows(3000, 40, 5, "epoch", 2), 6) for _ in range(2))
    assert torch.equal(first.centroids_KD, second.centroids_KD)
    assert torch.equal(first.assignments_N, second.assignments_N)


def test_points_that_are_all_equal_fill_the_first_cluster_and_leave_the_others_where_they_were():
    points = torch.tensor([[0.6, 0.8]]).repeat(20, 1)
    found = spherical_kmeans(points, torch.arange(4))
    assert found.sizes_K.tolist() == [20, 0, 0, 0]
    torch.testing.assert_close(found.centroids_KD, points[:4])
    assert found.objective == pytest.approx(1.0)


def test_as_many_clusters_as_points_give_each_its_own():
    points = unit_points(30, 16)
    found = spherical_kmeans(points, random_rows(30, 30, 1))
    assert sorted(found.assignments_N.tolist()) == list(range(30))
    assert found.objective == pytest.approx(1.0)


def test_ten_clusters_of_five_equal_points_are_found_exactly():
    centres = unit_points(10, 8)
    points = centres.repeat_interleave(5, dim=0)
    found = spherical_kmeans(points, torch.arange(0, 50, 5))
    assert found.assignments_N.tolist() == [k for k in range(10) for _ in range(5)]
    torch.testing.assert_close(found.centroids_KD, centres)


def test_clusters_that_start_on_duplicates_are_empty_until_the_first_of_them_moves_away():
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
    rows = torch.tensor([0, 1, 2, 4])
    assert spherical_kmeans(points, rows, iterations=0).sizes_K.tolist() == [4, 0, 0, 1]
    assert spherical_kmeans(points, rows, iterations=1).sizes_K.tolist() == [1, 3, 0, 1]


def test_points_that_cancel_out_leave_their_centroid_in_place():
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = spherical_kmeans(points, torch.tensor([0]))
    torch.testing.assert_close(found.centroids_KD, points[:1])
    assert found.similarities_N.tolist() == [1.0, -1.0]


def test_points_that_nearly_cancel_out_still_move_their_centroid():
    points = normalize(torch.tensor([[0.01, 1.0], [0.01, -1.0]]), dim=1)
    found = spherical_kmeans(points, torch.tensor([0]))
    torch.testing.assert_close(found.centroids_KD, torch.tensor([[1.0, 0.0]]))


def test_one_cluster_holds_all_points_at_their_mean_direction():
    points = unit_points(50, 5)
    found = spherical_kmeans(points, torch.tensor([7]))
    assert found.assignments_N.tolist() == [0] * 50
    torch.testing.assert_close(found.centroids_KD, normalize(points.sum(dim=0, keepdim=True), dim=1))


def test_points_stored_in_half_precision_give_nearly_the_same_centroids():
    points = unit_points(300, 16)
    rows = random_rows(300, 5, 0)
    half = spherical_kmeans(points.half(), rows, 1)
    assert half.centroids_KD.dtype == torch.float32
    torch.testing.assert_close(half.centroids_KD, spherical_kmeans(points, rows, 1).centroids_KD, atol=5e-3, rtol=0)


def test_random_rows_are_different_rows_that_depend_on_every_part_of_the_key():
    rows = random_rows(50, 50, 1, "kmeans", 2)
    assert sorted(rows.tolist()) == list(range(50))
    assert torch.equal(rows, random_rows(50, 50, 1, "kmeans", 2))
    assert not torch.equal(rows, random_rows(50, 50, 2, "kmeans", 2))
    assert not torch.equal(rows, random_rows(50, 50, 1, "kmeans", 3))


@pytest.mark.parametrize("clusters", [0, 11])
def test_a_number_of_clusters_that_the_points_cannot_fill_is_refused_with_a_remedy(clusters):
    with pytest.raises(ValueError, match=f"from 1 to 10 clusters.*found {clusters}.*fewer clusters"):
        random_rows(10, clusters, 0)
    with pytest.raises(ValueError, match="from 1 to 10 clusters"):
        spherical_kmeans(unit_points(10, 3), torch.zeros(clusters, dtype=torch.int64))


@pytest.mark.parametrize("value, length", [(float("nan"), "nan"), (float("inf"), "inf"), (0.0, "0"), (2.0, "4")])
def test_a_row_that_is_no_unit_vector_is_refused_and_named(value, length):
    points = unit_points(10, 4)
    points[6] = value
    with pytest.raises(ValueError, match=f"1 of 10 are not, first row 6 of length {length}.*Normalise"):
        spherical_kmeans(points, torch.arange(3))


def test_points_that_are_no_matrix_and_negative_iterations_are_refused():
    with pytest.raises(ValueError, match="rows of a matrix"):
        spherical_kmeans(torch.ones(5), torch.arange(2))
    with pytest.raises(ValueError, match="iterations"):
        spherical_kmeans(unit_points(5, 3), torch.arange(2), iterations=-1)
