"""Cosines of single pairs of a point and a centroid, by which close calls are decided.

P pairs, B points, K centroids, D values.
"""

import torch
from torch import Tensor

from sslsv_tk.clustering.products import sum_error

_PAIRS_AT_ONCE = {"cpu": 2**10, "cuda": 2**19}  # gathered rows of 2 MiB stay in the cache of a CPU
EQUAL = 1e-12
"""Cosines in double precision that differ by less are equal."""


def pair_products(
    points_ND: Tensor, row_P: Tensor, centroids_KD: Tensor, place_P: Tensor, precision: torch.dtype
) -> Tensor:
    """(P,) inner products of rows of the points and of the centroids."""
    found_P = torch.empty(len(row_P), dtype=precision, device=row_P.device)
    size = min(_PAIRS_AT_ONCE.get(row_P.device.type, 2**10), len(row_P))
    points, centroids = (rows.new_empty(size, rows.shape[1]) for rows in (points_ND, centroids_KD))
    for first in range(0, len(row_P), max(1, size)):
        part = slice(first, first + size)
        points_PD = rows_into(points, points_ND, row_P[part]).to(precision)
        centroids_PD = rows_into(centroids, centroids_KD, place_P[part])
        torch.sum(points_PD.mul_(centroids_PD), dim=1, out=found_P[part])
    return found_P


def rows_into(buffer: Tensor, rows_ND: Tensor, row_B: Tensor) -> Tensor:
    """(B, D) copies of rows, in the first rows of a buffer: memory that is new costs more than the copy."""
    return torch.index_select(rows_ND, 0, row_B, out=buffer[: len(row_B)])


def nearest_of_pairs(
    points_BD: Tensor, centroids_KD: Tensor, number_K: Tensor, row_P: Tensor, place_P: Tensor
) -> tuple[Tensor, Tensor]:
    """Of the points that have pairs the rows, and the place of the nearest centroid among each one's pairs.

    What fp32 leaves open is decided in double precision; of equally near centroids the lowest number is taken.
    """
    for precision, margin in ((torch.float32, 2 * sum_error(points_BD.shape[1])), (torch.float64, EQUAL)):
        open_P = torch.bincount(row_P, minlength=len(points_BD))[row_P] > 1
        if not open_P.any():
            break
        row_O, place_O = row_P[open_P], place_P[open_P]
        value_O = pair_products(points_BD, row_O, centroids_KD, place_O, precision)
        best_B = value_O.new_full((len(points_BD),), -torch.inf).scatter_reduce_(0, row_O, value_O, "amax")
        keep_P = ~open_P
        keep_P[open_P] = value_O >= best_B[row_O] - margin
        row_P, place_P = row_P[keep_P], place_P[keep_P]
    number_P = number_K[place_P]
    lowest_B = number_P.new_full((len(points_BD),), len(number_K)).scatter_reduce_(0, row_P, number_P, "amin")
    is_taken_P = number_P == lowest_B[row_P]
    return row_P[is_taken_P], place_P[is_taken_P]
