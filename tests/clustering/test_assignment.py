"""Points go to the centroid that double precision finds nearest, however products are computed and bounds kept."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sslsv_tk.clustering import assignment, products
from sslsv_tk.clustering.assignment import Assignment
from sslsv_tk.clustering.kmeans import random_rows, spherical_kmeans
from sslsv_tk.clustering.segment_sums import sums_of_members

WAYS = [products.FP32, products.OPENBLAS, products.BF16, products.BF16_SUMS, products.FP16]
BY_NAME = [pytest.param(way, id=way.name) for way in WAYS]


def unit(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def around(centres: int, each: int, width: int, spread: float) -> torch.Tensor:
    """Points close to some directions; where spread is small, many are equally near to a point."""
    return normalize(unit(centres, width).repeat(each, 1) + spread * unit(centres * each, width, 1), dim=1)


def nearest(points: torch.Tensor, centroids: torch.Tensor) -> list[int]:
    """Every cosine by its own sum of doubles; of equal ones the first."""
    found = []
    for point in points.double().numpy():
        cosines = np.array([float((point * centroid).sum()) for centroid in centroids.double().numpy()])
        found.append(int(np.flatnonzero(cosines >= cosines.max() - 1e-12)[0]))
    return found


CLOUDS = {
    "random": unit(300, 16),
    "around ten": around(10, 30, 32, 0.3),
    "closer than half precision tells": around(1, 300, 16, 0.02),
    "closer than single precision tells": around(1, 200, 16, 1e-5),
    "all equal": unit(1, 8).repeat(100, 1),
    "pairs of equal ones": unit(60, 8).repeat(2, 1),
    "one direction and its opposite": torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(20, 1),
}


@pytest.mark.parametrize("product", BY_NAME)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_point_is_with_its_nearest_centroid_after_every_move(cloud, product):
    points = CLOUDS[cloud]
    found = Assignment(points, product, 37)
    before, centroids = None, points[random_rows(len(points), len(points) // 4, 0)]
    for step in range(6):
        found.update(centroids, before)
        assert found.number_N.tolist() == nearest(points, centroids)
        before, centroids = centroids, centroids.clone()
        centroids[:: step + 1] = normalize(
            centroids[:: step + 1] + 0.2 * unit(len(centroids[:: step + 1]), points.shape[1], step)
        )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(1, 20),
    clusters=st.integers(1, 40),
    moves=st.lists(st.sampled_from([0.0, 1e-7, 1e-3, 0.1, 2.0]), min_size=1, max_size=4),
    way=st.sampled_from(WAYS),
)
def test_bounds_hold_whatever_moves(seed, width, clusters, moves, way):
    points, centroids = unit(50, width, seed), unit(clusters, width, seed + 1)
    found, before = Assignment(points, way, 16), None
    generator = torch.Generator().manual_seed(seed)
    for move in moves:
        found.update(centroids, before)
        cosines = points.double() @ centroids.double().T
        own = cosines.gather(1, found.number_N[:, None])[:, 0]
        assert found.number_N.tolist() == nearest(points, centroids)
        assert (found._lower_N <= own + 1e-9).all()
        others = cosines.scatter(1, found.number_N[:, None], -torch.inf).amax(1)
        assert (found._upper_N >= others - 1e-9).all()
        is_moved = torch.rand(clusters, 1, generator=generator) < 0.3
        shift = move * torch.randn(clusters, width, generator=generator)
        before, centroids = centroids, torch.where(is_moved, normalize(centroids + shift, dim=1), centroids)


def test_products_that_cannot_matter_are_not_computed():
    points, rows = around(40, 50, 64, 0.5), random_rows(2000, 200, 3)
    centroids = points[rows]
    found = Assignment(points, products.FP32, 256)
    found.update(centroids)
    assert found.computed >= 2000 * 200
    moved = centroids.clone()
    moved[7] = normalize(moved[7] + 0.05 * unit(1, 64)[0], dim=0)
    before = found.computed
    found.update(moved, centroids)
    one_block, for_the_rest = 256 * 208, 2000 * assignment._COLUMN_MULTIPLE
    assert found.computed - before <= one_block + for_the_rest
    before = found.computed
    found.update(moved, moved)
    assert found.computed == before


@pytest.mark.parametrize("product", BY_NAME)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_product_is_off_by_more_than_its_error(cloud, product):
    points = CLOUDS[cloud]
    centroids = points[::3].contiguous()
    out = torch.empty(len(points), len(centroids), dtype=product.output)
    product.multiply(product.operand(points), product.operand(centroids), out)
    off = (out.double() - points.double() @ centroids.double().T).abs().max()
    assert off <= product.error(product.rounding_error(points), centroids)


@pytest.mark.parametrize("product", BY_NAME)
@pytest.mark.parametrize("chunk", [1, 50, 4096])
def test_clusterings_are_the_same_bits_whatever_computes_them(product, chunk):
    points, rows = around(30, 20, 24, 0.6), random_rows(600, 50, 1)
    wanted = spherical_kmeans(points, rows, 8, products.FP32, 128)
    found = spherical_kmeans(points, rows, 8, product, chunk)
    assert torch.equal(found.assignments_N, wanted.assignments_N)
    assert torch.equal(found.centroids_KD, wanted.centroids_KD)
    torch.testing.assert_close(found.similarities_N, wanted.similarities_N, rtol=0, atol=1e-6)


def test_updates_that_are_left_out_would_have_changed_nothing():
    points, rows = around(8, 30, 16, 0.2), random_rows(240, 12, 0)
    assert torch.equal(
        spherical_kmeans(points, rows, 30).centroids_KD, spherical_kmeans(points, rows, 300).centroids_KD
    )


def test_the_settings_of_the_process_are_left_as_they_were_and_change_nothing():
    points, rows = unit(400, 64), random_rows(400, 20, 0)
    wanted = spherical_kmeans(points, rows, 5, products.FP32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = [spherical_kmeans(points, rows, 5, way) for way in (products.FP32, products.BF16_SUMS)]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert all(torch.equal(one.centroids_KD, wanted.centroids_KD) for one in found)


def test_large_work_is_given_to_a_way_that_was_measured_and_small_work_to_fp32():
    centroids = unit(48, 32)
    assert products.fastest(100, centroids, 64) == products.FP32
    assert products.fastest(10**6, centroids, 64) in products.candidates(torch.device("cpu"))


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_sums_of_members_are_those_of_a_loop(kind, monkeypatch):
    monkeypatch.setattr("sslsv_tk.clustering.segment_sums._MEMBERS_AT_ONCE", 7)
    points, number = unit(50, 6).to(kind), torch.randint(9, (50,), generator=torch.Generator().manual_seed(0))
    number[number == 4] = 5  # an empty cluster
    wanted = [points[number == k].double().sum(0) for k in (8, 4, 0)]
    found = sums_of_members(points, number, torch.tensor([8, 4, 0]), 9)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torch.stack(wanted), rtol=0, atol=1e-6)
