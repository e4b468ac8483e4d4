"""The nearest others of each point, by exact search, by cosines or by normalised ones, comparable between points.

N points, O of them this process's own, B of a block, D embedding, k neighbours (the second axis of `_NK`); in
`nearest_clusters` K clusters and M neighbours. Where processes share the points, all call a function together: each
searches for its own points in blocks that their holders send in turn, and what was found is then the same on all.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sslsv_tk.clustering.kmeans import points_at_once, slices
from sslsv_tk.clustering.shared_rows import Block, SharedRows


class Neighbours(NamedTuple):
    """Of each point the nearest others, the nearest first."""

    similarity_NK: Tensor
    index_NK: Tensor


class Cohort(NamedTuple):
    """Mean and deviation of each point's similarities with the others that are nearest to it."""

    mean_N: Tensor
    deviation_N: Tensor

    def of(self, rows: Tensor) -> "Cohort":
        """Those of some points."""
        return Cohort(self.mean_N[rows], self.deviation_N[rows])


def nearest_others(
    points: Tensor | SharedRows, count: int, cohort: Cohort | None = None, chunk: int | None = None
) -> Neighbours:
    """Similarities and rows, (N, k) each, of the `count` others of largest cosine (unit rows), or normalised cosine.

    With the cohorts of both, the similarity of i and j is the mean of (s_ij - mean_i) / deviation_i and (s_ij - mean_j)
    / deviation_j: adaptive symmetric score normalisation (Matejka et al., "Analysis of score normalization in
    multilingual speaker recognition", Interspeech 2017). A point near to many is not made a neighbour by that alone.
    Which of equally near others are taken is not defined.
    """
    points = SharedRows.of(points)
    found = _search(points, count, cohort, chunk)
    return Neighbours(points.gathered(found.similarity_NK), points.gathered(found.index_NK))


def _search(points: SharedRows, count: int, cohort: Cohort | None, chunk: int | None) -> Neighbours:
    """The nearest others of this process's own points, (O, k)."""
    own_OD = points.own_OD
    best = Neighbours(
        torch.full((len(own_OD), count), -torch.inf, device=own_OD.device),
        torch.zeros(len(own_OD), count, dtype=torch.int64, device=own_OD.device),
    )
    for number, block in enumerate(points.blocks()):
        values_BD = block.values_BD.float()
        others = None if cohort is None else cohort.of(block.row_B)
        for rows in slices(len(own_OD), chunk or points_at_once(len(values_BD), own_OD.device)):
            found = own_OD[rows].float() @ values_BD.T
            if cohort and others:
                _normalise(found, cohort.of(points.row_O[rows]), others)
            _leave_out_own(found, rows, block)
            similarity, place = found.topk(min(count, len(values_BD)), dim=1)
            _keep_nearest(best, rows, Neighbours(similarity, block.row_B[place]), is_first=number == 0)
    return best


def _normalise(found: Tensor, own: Cohort, others: Cohort) -> None:
    """Turn cosines (rows: own points, columns: others) into normalised ones."""
    to_others = found / others.deviation_N - others.mean_N / others.deviation_N
    found.sub_(own.mean_N[:, None]).div_(own.deviation_N[:, None]).add_(to_others).div_(2)


def _leave_out_own(found: Tensor, rows: slice, block: Block) -> None:
    """No point is a neighbour of itself: where the block holds own points, these stand in a row and a column."""
    if block.first_own is None:
        return
    first, end = max(rows.start, block.first_own), min(rows.stop, block.first_own + len(block.row_B))
    own = torch.arange(first, max(first, end), device=found.device)
    found[own - rows.start, own - block.first_own] = -torch.inf


def _keep_nearest(best: Neighbours, rows: slice, found: Neighbours, is_first: bool) -> None:
    """Of what is in `best` and what was found now, the nearest; with the first block there is nothing yet."""
    if not is_first:
        joined = [torch.cat([kept[rows], new], dim=1) for kept, new in zip(best, found, strict=True)]
        similarity, place = joined[0].topk(best.index_NK.shape[1], dim=1)
        found = Neighbours(similarity, joined[1].gather(1, place))
    width = found.index_NK.shape[1]
    best.similarity_NK[rows, :width], best.index_NK[rows, :width] = found


def cohort_of(points: Tensor | SharedRows, size: int, chunk: int | None = None) -> Cohort:
    """The cohorts of the `size` nearest others of each point, or of all where there are fewer."""
    points = SharedRows.of(points)
    similarity_OK = _search(points, min(size, len(points) - 1), None, chunk).similarity_NK
    deviation_O = similarity_OK.std(dim=1, correction=0).clamp(min=1e-6)  # 0 where all are equally near
    return Cohort(points.gathered(similarity_OK.mean(dim=1)), points.gathered(deviation_O))


def nearest_clusters(centroids_KD: Tensor | SharedRows, neighbours: int, chunk: int | None = None) -> Tensor:
    """(K, M) int64: the M other clusters of largest cosine for each cluster, the nearest first [eq. 5 of SSPS]."""
    clusters = len(centroids_KD)
    if not 0 <= neighbours < clusters:
        raise ValueError(
            f"Expected a number of neighbours from 0 to {clusters - 1}, since {clusters} clusters have that many "
            f"others; found {neighbours}. Use fewer neighbours or more clusters."
        )
    return nearest_others(centroids_KD, neighbours, chunk=chunk).index_NK
