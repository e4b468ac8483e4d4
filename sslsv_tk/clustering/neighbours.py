"""The nearest others of each point, by exact search, by cosines or by normalised ones, comparable between points.

N points, D embedding, k neighbours (the second axis of `_NK`); in `nearest_clusters` K clusters and M neighbours.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sslsv_tk.clustering.kmeans import points_at_once, slices


class Neighbours(NamedTuple):
    """Of each point the nearest others, the nearest first."""

    similarity_NK: Tensor
    index_NK: Tensor


class Cohort(NamedTuple):
    """Mean and deviation of each point's similarities with the others that are nearest to it."""

    mean_N: Tensor
    deviation_N: Tensor


def nearest_others(points_ND: Tensor, count: int, cohort: Cohort | None = None, chunk: int | None = None) -> Neighbours:
    """Similarities and rows, (N, k) each, of the `count` others of largest cosine (unit rows), or normalised cosine.

    With the cohorts of both, the similarity of i and j is the mean of (s_ij - mean_i) / deviation_i and (s_ij - mean_j)
    / deviation_j: adaptive symmetric score normalisation (Matejka et al., "Analysis of score normalization in
    multilingual speaker recognition", Interspeech 2017). A point near to many is not made a neighbour by that alone.
    """
    points, device = len(points_ND), points_ND.device
    similarity_NK = torch.empty(points, count, device=device)
    index_NK = torch.empty(points, count, dtype=torch.int64, device=device)
    for rows in slices(points, chunk or points_at_once(points, device)):
        found = points_ND[rows] @ points_ND.T
        if cohort is not None:
            to_others = found / cohort.deviation_N - cohort.mean_N / cohort.deviation_N
            found.sub_(cohort.mean_N[rows, None]).div_(cohort.deviation_N[rows, None]).add_(to_others).div_(2)
        found.scatter_(1, torch.arange(rows.start, rows.stop, device=device)[:, None], -torch.inf)
        similarity_NK[rows], index_NK[rows] = found.topk(count, dim=1)
    return Neighbours(similarity_NK, index_NK)


def cohort_of(points_ND: Tensor, size: int, chunk: int | None = None) -> Cohort:
    """The cohorts of the `size` nearest others of each point, or of all where there are fewer."""
    similarity_NK = nearest_others(points_ND, min(size, len(points_ND) - 1), chunk=chunk).similarity_NK
    deviation_N = similarity_NK.std(dim=1, correction=0)
    return Cohort(similarity_NK.mean(dim=1), deviation_N.clamp(min=1e-6))  # 0 where all are equally near


def nearest_clusters(centroids_KD: Tensor, neighbours: int, chunk: int | None = None) -> Tensor:
    """(K, M) int64: the M other clusters of largest cosine for each cluster, the nearest first [eq. 5 of SSPS]."""
    clusters = len(centroids_KD)
    if not 0 <= neighbours < clusters:
        raise ValueError(
            f"Expected a number of neighbours from 0 to {clusters - 1}, since {clusters} clusters have that many "
            f"others; found {neighbours}. Use fewer neighbours or more clusters."
        )
    return nearest_others(centroids_KD, neighbours, chunk=chunk).index_NK
