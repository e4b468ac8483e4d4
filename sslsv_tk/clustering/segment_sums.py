"""Sums of the members of clusters, by sorting: the same bits on every run, also on a GPU, where adding in place is not.

N points, K clusters, C of them, D values.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_MEMBERS_AT_ONCE = 2**16  # of half precision, widened: 128 MiB at 512 values


def sums_of_members(points_ND: Tensor, number_N: Tensor, clusters_C: Tensor, clusters: int) -> Tensor:
    """(C, D) float32: for each of these clusters the sum of its points, added in their order."""
    place_K = clusters_C.new_full((clusters,), -1)
    place_K[clusters_C] = torch.arange(len(clusters_C), device=clusters_C.device)
    place_N = place_K[number_N]
    row_M = (place_N >= 0).nonzero()[:, 0]
    place_M, order = place_N[row_M].sort(stable=True)
    row_M = row_M[order]
    if points_ND.dtype == torch.float32:
        return _bags(points_ND, row_M, place_M, len(clusters_C))
    sums_CD = torch.zeros(len(clusters_C), points_ND.shape[1], device=points_ND.device)
    for rows, places in zip(row_M.split(_MEMBERS_AT_ONCE), place_M.split(_MEMBERS_AT_ONCE), strict=True):
        widened = points_ND.index_select(0, rows).float()
        sums_CD += _bags(widened, torch.arange(len(rows), device=rows.device), places, len(clusters_C))
    return sums_CD


def _bags(points_ND: Tensor, row_M: Tensor, place_M: Tensor, clusters: int) -> Tensor:
    """Rows summed up by place; the places ascend."""
    sizes_C = torch.bincount(place_M, minlength=clusters)
    return embedding_bag(row_M, points_ND, sizes_C.cumsum(0) - sizes_C, mode="sum")
