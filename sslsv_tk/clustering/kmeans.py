"""Spherical k-means: unit vectors, cosine similarity, on any device and in bounded memory.

N points, O of them this process's own, K clusters, D values. Over several processes every one keeps its points: in an
update the sums of the clusters are added up over the processes, and nothing else. Dhillon and Modha, "Concept
decompositions for large sparse text data using clustering", Machine Learning 42, 2001.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk import seeds
from sslsv_tk.clustering import products
from sslsv_tk.clustering.assignment import Assignment
from sslsv_tk.clustering.products import Product
from sslsv_tk.clustering.segment_sums import sums_of_members
from sslsv_tk.clustering.shared_rows import SharedRows

_SIMILARITIES_AT_ONCE = {"cpu": 2**20, "cuda": 2**27}  # 4 MiB of fp32 stay in the cache; a GPU needs 512 to be busy
_LEAST_CHUNK = 256  # products of fewer rows are slow
_ROWS_AT_ONCE = 2**15  # of points read in fp32 for sums and lengths: 64 MiB at 512 values
_UNIT_TOLERANCE = 0.01  # float16 rows are off by 1e-3


@dataclass(frozen=True)
class Clustering:
    """The outcome of k-means; every point is with the centroid that is nearest to it.

    Of points that are shared by processes it is the same on all of them.
    """

    centroids_KD: Tensor
    """Unit rows, float32."""
    assignments_N: Tensor
    """Cluster of each point, int64."""
    similarities_N: Tensor
    """Cosine of each point and its centroid."""

    @property
    def sizes_K(self) -> Tensor:
        """Number of points in each cluster; 0 for an empty one."""
        return torch.bincount(self.assignments_N, minlength=len(self.centroids_KD))

    @property
    def objective(self) -> float:
        """Mean cosine of points and their centroids, which no update makes smaller."""
        return float(self.similarities_N.double().mean())


def spherical_kmeans(
    points: Tensor | SharedRows,
    initial_rows_K: Tensor,
    iterations: int = 10,
    product: Product | None = None,
    chunk: int | None = None,
) -> Clustering:
    """Make `iterations` updates of the centroids, which begin as rows of the points, and a final assignment.

    A cluster without points, or whose points cancel out, keeps its centroid: K stays what was asked for, and a
    later update may fill the cluster again. Every point is with the centroid that double precision finds nearest, and
    of equally near ones (1e-12) with that of the lowest number; sums of members are fp32, in the order of the points.
    Updates that would change nothing are left out. `product` is the way to multiply (None: the fastest, products.py)
    and `chunk` how many points at a time meet the centroids: both decide the time alone.

    `points` are (N, D) unit rows. Where processes share them, all call this together with the same other arguments; the
    result, and an error, is that of one process with all points, but for the order of float32 sums.
    """
    points = SharedRows.of(points)
    _check_points(points, len(initial_rows_K), iterations)
    chunk = chunk or points_at_once(len(initial_rows_K), points.own_OD.device)
    centroids_KD = normalize(points.at(initial_rows_K.to(points.own_OD.device)), dim=1)
    assignment = Assignment(points.own_OD, product or products.fastest(len(points), centroids_KD, chunk), chunk)
    assignment.update(centroids_KD)
    earlier_O = None
    for _ in range(iterations):
        changed_K = _changed_clusters(points, earlier_O, assignment.number_N, len(centroids_KD))
        if len(changed_K) == 0:
            break
        earlier_O = assignment.number_N.clone()
        before_KD, centroids_KD = centroids_KD, _update(points, earlier_O, centroids_KD, changed_K)
        assignment.update(centroids_KD, before_KD)
    similarities_O = assignment.similarities(centroids_KD)
    numbers_N = points.gathered(assignment.number_N.int()).long()
    return Clustering(centroids_KD, numbers_N, points.gathered(similarities_O))


def random_rows(points: int, clusters: int, *key: seeds.Key) -> Tensor:
    """(K,) different row numbers, drawn without replacement by the key, with which k-means begins."""
    _check_count(points, clusters)
    return torch.from_numpy(seeds.generator(*key).choice(points, clusters, replace=False).astype(np.int64))


def _changed_clusters(points: SharedRows, before_O: Tensor | None, now_O: Tensor, clusters: int) -> Tensor:
    """The numbers of the clusters that a point of any process left or joined, all of them where nothing was before."""
    if before_O is None:
        return torch.arange(clusters, device=now_O.device)
    moved_O = before_O != now_O
    is_changed_K = torch.zeros(clusters, device=now_O.device)
    is_changed_K[before_O[moved_O]] = 1
    is_changed_K[now_O[moved_O]] = 1
    return points.summed(is_changed_K).nonzero()[:, 0]


def _update(points: SharedRows, assignments_O: Tensor, centroids_KD: Tensor, changed_C: Tensor) -> Tensor:
    """Directions of the sums of some clusters' points; no counts are needed, since centroids have unit length.

    The others have the members that they had, so they stay, bit for bit.
    """
    sums_CD = points.summed(sums_of_members(points.own_OD, assignments_O, changed_C, len(centroids_KD)))
    lengths_C1 = sums_CD.norm(dim=1, keepdim=True)
    kept_CD = centroids_KD[changed_C]
    updated_KD = centroids_KD.clone()
    updated_KD[changed_C] = torch.where(lengths_C1 > 1e-6, sums_CD / lengths_C1.clamp(min=1e-6), kept_CD)
    return updated_KD


def points_at_once(clusters: int, device: torch.device) -> int:
    """Points whose similarities with so many others fit the cache of a CPU, or are work enough for a GPU."""
    return max(_LEAST_CHUNK, _SIMILARITIES_AT_ONCE.get(device.type, 2**20) // clusters)


def slices(count: int, chunk: int) -> Iterator[slice]:
    """`chunk` rows at a time, the last time fewer."""
    return (slice(start, min(start + chunk, count)) for start in range(0, count, chunk))


def _check_count(points: int, clusters: int) -> None:
    if not 1 <= clusters <= points:
        raise ValueError(
            f"Expected from 1 to {points} clusters, since there are {points} points; found {clusters}. "
            "Use fewer clusters (a share of the points, such as 0.02) or more points."
        )


def _check_points(points: SharedRows, clusters: int, iterations: int) -> None:
    if points.own_OD.ndim != 2:
        raise ValueError(f"Expected points as rows of a matrix, found shape {tuple(points.own_OD.shape)}.")
    _check_count(len(points), clusters)
    if iterations < 0:
        raise ValueError(f"Expected a number of k-means iterations of at least 0, found {iterations}.")
    lengths_O = torch.empty(len(points.own_OD), device=points.own_OD.device)
    for rows in slices(len(lengths_O), _ROWS_AT_ONCE):
        lengths_O[rows] = points.own_OD[rows].float().norm(dim=1)
    if points.summed(_is_wrong(lengths_O).sum()) > 0:  # one process with a wrong row stops all of them
        lengths_N = points.gathered(lengths_O)
        wrong = _is_wrong(lengths_N)
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"Expected finite rows of unit length to cluster; {int(wrong.sum())} of {len(wrong)} are not, first "
            f"row {row} of length {lengths_N[row]:.4g}. Normalise them; look for a diverged encoder or silent audio."
        )


def _is_wrong(lengths_N: Tensor) -> Tensor:
    return ~((lengths_N - 1).abs() <= _UNIT_TOLERANCE)  # also true for NaN
