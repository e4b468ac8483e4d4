"""Spherical k-means: unit vectors, cosine similarity, on any device and in bounded memory.

N points, O of them this process's own, K clusters, D values. Over several processes every one keeps its points: in an
update the sums of the clusters are added up over the processes, and nothing else. Dhillon and Modha, "Concept
decompositions for large sparse text data using clustering", Machine Learning 42, 2001.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from sslsv_tk import seeds
from sslsv_tk.clustering.shared_rows import SharedRows

Precision = Literal["fp32", "bf16"]

_SIMILARITIES_AT_ONCE = {"cpu": 2**20, "cuda": 2**27}  # 4 MiB of fp32 stay in the cache; a GPU needs 512 to be busy
_LEAST_CHUNK = 256  # products of fewer rows are slow
_COLUMN_MULTIPLE = 16  # a CPU's products are a quarter slower when rows of the result are not whole cache lines
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
    precision: Precision = "fp32",
    chunk: int | None = None,
) -> Clustering:
    """Make `iterations` updates of the centroids, which begin as rows of the points, and a final assignment.

    A cluster without points, or whose points cancel out, keeps its centroid: K stays what was asked for, and a
    later update may fill the cluster again. A tie goes to the lower cluster number. `chunk` points at a time meet
    all centroids (default: 4 MiB of similarities, on a GPU 512); `precision` is that of these products, sums are fp32.
    On the CPU the result depends on nothing but the arguments and the number of threads.

    `points` are (N, D) unit rows. Where processes share them, all call this together with the same other arguments; the
    result, and an error, is that of one process with all points, but for the order of float32 sums.
    """
    points = SharedRows.of(points)
    _check_points(points, len(initial_rows_K), iterations)
    chunk = chunk or points_at_once(len(initial_rows_K), points.own_OD.device)
    centroids_KD = normalize(points.at(initial_rows_K.to(points.own_OD.device)), dim=1)
    for _ in range(iterations):
        assignments_O, _ = assign(points.own_OD, centroids_KD, precision, chunk)
        centroids_KD = _update(points, assignments_O, centroids_KD)
    assignments_O, similarities_O = assign(points.own_OD, centroids_KD, precision, chunk)
    return Clustering(centroids_KD, points.gathered(assignments_O.int()).long(), points.gathered(similarities_O))


def random_rows(points: int, clusters: int, *key: seeds.Key) -> Tensor:
    """(K,) different row numbers, drawn without replacement by the key, with which k-means begins."""
    _check_count(points, clusters)
    return torch.from_numpy(seeds.generator(*key).choice(points, clusters, replace=False).astype(np.int64))


def assign(points_ND: Tensor, centroids_KD: Tensor, precision: Precision, chunk: int) -> tuple[Tensor, Tensor]:
    """(N,) nearest centroid of each point, and (N,) the cosine with it in fp32."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    clusters = len(centroids_KD)
    padding = -clusters % _COLUMN_MULTIPLE if centroids_KD.device.type == "cpu" else 0
    centroids_DK = pad(centroids_KD.to(kind), (0, 0, 0, padding)).T
    assignments_N = torch.empty(len(points_ND), dtype=torch.int64, device=points_ND.device)
    similarities_N = torch.empty(len(points_ND), dtype=torch.float32, device=points_ND.device)
    products = torch.empty(min(chunk, len(points_ND)), clusters + padding, dtype=kind, device=points_ND.device)
    for rows in slices(len(points_ND), chunk):
        found = torch.mm(points_ND[rows].to(kind), centroids_DK, out=products[: rows.stop - rows.start])
        similarities_N[rows], assignments_N[rows] = found[:, :clusters].max(dim=1)
        if precision != "fp32":
            similarities_N[rows] = (points_ND[rows].float() * centroids_KD[assignments_N[rows]]).sum(dim=1)
    return assignments_N, similarities_N


def _update(points: SharedRows, assignments_O: Tensor, centroids_KD: Tensor) -> Tensor:
    """Directions of the sums of each cluster's points; no counts are needed, since centroids have unit length."""
    sums_KD = torch.zeros_like(centroids_KD)
    for rows in slices(len(assignments_O), _ROWS_AT_ONCE):
        sums_KD.index_add_(0, assignments_O[rows], points.own_OD[rows].float())
    sums_KD = points.summed(sums_KD)
    lengths_K1 = sums_KD.norm(dim=1, keepdim=True)
    return torch.where(lengths_K1 > 1e-6, sums_KD / lengths_K1.clamp(min=1e-6), centroids_KD)


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
