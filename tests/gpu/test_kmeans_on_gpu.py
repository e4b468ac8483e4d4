"""Points go to the same centroids on a GPU as in double precision, and k-means has the same bits on every run."""

import pytest
import torch
from torch.nn.functional import normalize

from sslsv_tk.clustering import products
from sslsv_tk.clustering.assignment import Assignment
from sslsv_tk.clustering.kmeans import random_rows, spherical_kmeans

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def unit(count: int, width: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1).cuda()


@pytest.mark.parametrize("spread", [1.0, 0.02, 1e-5])
def test_every_point_is_with_its_nearest_centroid_after_every_move(spread: float) -> None:
    points = normalize(unit(100, 128, 0).repeat(50, 1) + spread * unit(5000, 128, 1), dim=1)
    found, before, centroids = Assignment(points, products.FP16, 700), None, points[:1000]
    for step in range(4):
        found.update(centroids, before)
        cosines = points.double() @ centroids.double().T
        number = torch.arange(1000, device="cuda")
        lowest = torch.where(cosines >= cosines.amax(1, keepdim=True) - 1e-12, number, 1000).amin(1)
        assert torch.equal(found.number_N, lowest)
        before = centroids
        centroids = centroids.clone()
        centroids[:: step + 2] = normalize(centroids[:: step + 2] + 0.1 * unit(1000, 128, step)[:: step + 2], dim=1)


def test_no_product_is_off_by_more_than_its_error() -> None:
    points, centroids = unit(3000, 512, 0), unit(1000, 512, 1)
    for way in (products.FP16, products.FP32):
        out = torch.empty(3000, 1000, dtype=way.output, device="cuda")
        way.multiply(way.operand(points), way.operand(centroids), out)
        off = (out.double() - points.double() @ centroids.double().T).abs().max()
        assert off <= way.error(way.rounding_error(points), centroids)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_the_same_arguments_give_the_same_bits(kind: torch.dtype) -> None:
    points, rows = unit(20_000, 64, 0).to(kind), random_rows(20_000, 300, 0)
    first, second = (spherical_kmeans(points, rows) for _ in range(2))
    assert torch.equal(first.centroids_KD, second.centroids_KD)
    assert torch.equal(first.assignments_N, second.assignments_N)
