"""The nearest centroid of every point, exactly, with fast products and without those that cannot matter.

N points, B of a block, K centroids, W of them that a block meets, P pairs of a point and a centroid, D values.

**Exact.** A product is off by at most e. Centroids within 2 e of a point's best are measured again in fp32, those that
are then still too close to call in double precision, and of equal ones the lower number wins. So assignments depend
neither on the way of multiplying nor on blocks, threads or processes.

**Bounds.** Points and centroids have unit length, so a centroid that moves by d changes a cosine by at most d. Of every
point a lower bound of the cosine with its own centroid and an upper bound of that with any other are kept. A centroid k
can become the nearest only if upper + d_k >= lower. Centroids are sorted by their moves and points by the slack
lower - upper, so a block of points meets the first few centroids (after Hamerly, "Making k-means even faster", SDM
2010, with cosines for distances):

    centroids, by moves     c7 c2 c0 | c4 c1 ...
    points of little slack  x  x  x  | x  x  x      all of them
    points of more slack    x  x  x  | .  .  .      those that moved far enough
    the others              .  .  .  | .  .  .      nothing is computed
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sslsv_tk.clustering.pairs import EQUAL, nearest_of_pairs, pair_products, rows_into
from sslsv_tk.clustering.products import FP32, LONGEST, Product, largest, sum_error

_COLUMN_MULTIPLE = 16  # products are slower when rows of the result are not whole cache lines, on a GPU much
_PAIRS_PER_POINT = 4  # more close calls are cheaper as whole products of higher precision
_ROUNDING = 1e-6  # of a few fp32 operations on bounds, with room to spare


class Centroids(NamedTuple):
    """Centroids in the order of their last moves, the longest first, padded by zeros to whole cache lines."""

    clusters: int
    values_KD: Tensor
    operand_KD: Tensor
    number_K: Tensor
    place_K: Tensor
    """Where each number stands in this order."""
    move_K: Tensor
    error: float
    """How far a product may be off."""


class Block(NamedTuple):
    """What a block of points is before it meets centroids."""

    points_BD: Tensor
    own_B: Tensor
    """Where the own centroid stands."""
    is_apart_B: Tensor
    """Is the own centroid none of those that the block meets?"""
    lower_B: Tensor
    """At least the cosine with an own centroid that is apart, else minus infinity."""


class Best(NamedTuple):
    """Products of a block: the largest of each point, where it stands, the next one, and how far they may be off."""

    value_B: Tensor
    place_B: Tensor
    next_B: Tensor
    error: float
    others_BW: Tensor
    """All products, minus infinity for the largest."""


class Room:
    """Memory that the products of blocks use in turn: new memory costs as much as the products."""

    def __init__(self, device: torch.device) -> None:
        self._values = torch.empty(0, device=device)

    def of(self, rows: int, columns: int, kind: torch.dtype) -> Tensor:
        """(rows, columns), not initialised."""
        if self._values.numel() < rows * columns or self._values.dtype != kind:
            self._values = torch.empty(rows * columns, dtype=kind, device=self._values.device)
        return self._values[: rows * columns].view(rows, columns)


class Assignment:
    """The nearest centroids of points, kept up to date while the centroids move."""

    def __init__(self, points_ND: Tensor, product: Product, at_once: int) -> None:
        """`at_once`: points of a block."""
        self.points_ND, self.product, self.at_once = points_ND, product, at_once
        count, device = len(points_ND), points_ND.device
        self.number_N = torch.zeros(count, dtype=torch.int64, device=device)
        """(N,) the nearest centroid of each point."""
        self.computed = 0
        """Products of a point and a centroid so far."""
        self._lower_N = torch.full((count,), -torch.inf, device=device)
        self._upper_N = torch.full((count,), torch.inf, device=device)
        self._rounding = product.rounding_error(points_ND)
        self._has_moved_N = torch.zeros(count, dtype=torch.bool, device=device)
        """Did the own centroid move since its cosine was computed? Else this is at most `_spread` above `_lower_N`."""
        self._sum_error = sum_error(points_ND.shape[1])
        self._spread = 2 * self._sum_error
        self._rows = points_ND.new_empty(min(at_once, count), points_ND.shape[1])
        self._room = Room(device)

    def update(self, centroids_KD: Tensor, before_KD: Tensor | None = None) -> None:
        """Find the nearest of the centroids, which were `before` at the last call (the first time None)."""
        if len(self.number_N) == 0:
            return
        move_K = _moves(centroids_KD, before_KD)
        longest = move_K.max()
        if before_KD is not None and longest == 0:
            return
        self._lower_N -= move_K[self.number_N]
        row_A = _rows(self.points_ND) if before_KD is None else self._open_points(centroids_KD, move_K)
        slack_A = self._lower_N[row_A] - self._upper_N[row_A]
        slack_A, order = torch.where(self._has_moved_N[row_A], -torch.inf, slack_A).sort()
        row_A, centroids = row_A[order], self._sorted(centroids_KD, move_K)
        least = slack_A[:: self.at_once] - _ROUNDING
        widths = torch.searchsorted(-centroids.move_K, -least, right=True).tolist()
        upper_A = self._upper_N[row_A]
        self._upper_N += longest + _ROUNDING  # of those that stay as they are
        for first, width in zip(range(0, len(row_A), self.at_once), widths, strict=True):
            block = slice(first, first + self.at_once)
            width = min(width + -width % _COLUMN_MULTIPLE, len(centroids.values_KD))
            self._meet(row_A[block], upper_A[block], centroids, width)

    def similarities(self, centroids_KD: Tensor) -> Tensor:
        """(N,) fp32 cosines of points and their centroids."""
        return pair_products(self.points_ND, _rows(self.points_ND), centroids_KD, self.number_N, torch.float32)

    def _open_points(self, centroids_KD: Tensor, move_K: Tensor) -> Tensor:
        """(A,) the points whose nearest centroid may be another now.

        Where their own one moved its cosine is computed, unless they would meet most centroids even so.
        """
        is_open_N = self._is_open(move_K.max())
        own_move_N = move_K[self.number_N]
        self._has_moved_N |= own_move_N > 0
        usual_move = move_K.kthvalue(1 + len(move_K) // 4).values
        is_worth_it_N = self._lower_N + 2 * own_move_N - self._upper_N > usual_move
        row_M = (is_open_N & self._has_moved_N & is_worth_it_N).nonzero()[:, 0]
        own_M = pair_products(self.points_ND, row_M, centroids_KD, self.number_N[row_M], torch.float32)
        self._lower_N[row_M] = own_M - self._sum_error
        self._has_moved_N[row_M] = False
        return (is_open_N & self._is_open(move_K.max())).nonzero()[:, 0]

    def _is_open(self, longest: Tensor) -> Tensor:
        return self._upper_N + longest >= self._lower_N - _ROUNDING

    def _sorted(self, centroids_KD: Tensor, move_K: Tensor) -> Centroids:
        count = len(centroids_KD)
        move_K, number_K = move_K.sort(descending=True, stable=True)
        values_KD = pad(centroids_KD.index_select(0, number_K), (0, 0, 0, -count % _COLUMN_MULTIPLE))
        operand_KD = self.product.operand(values_KD)
        error = self.product.error(self._rounding, values_KD)
        self._spread = max(self._spread, 4 * error)
        return Centroids(count, values_KD, operand_KD, number_K, torch.argsort(number_K), move_K, error)

    def _meet(self, row_B: Tensor, upper_B: Tensor, centroids: Centroids, width: int) -> None:
        """The first centroids for a block of points, whose cosines with others than the own were at most `upper`."""
        own_B = centroids.place_K[self.number_N[row_B]]
        is_apart_B = own_B >= width
        lower_B = torch.where(is_apart_B, self._lower_N[row_B], -torch.inf)
        block = Block(rows_into(self._rows, self.points_ND, row_B), own_B, is_apart_B, lower_B)
        for way in (self.product, FP32):
            best = self._best(block, centroids, width, way)
            pairs = self._close_calls(block, best)
            if len(pairs[0]) <= _PAIRS_PER_POINT * len(row_B):
                break
        else:
            self._meet_all(row_B, centroids)
            return
        place_B = best.place_B.clone()
        if len(pairs[0]):
            point_C, place_C = nearest_of_pairs(block.points_BD, centroids.values_KD, centroids.number_K, *pairs)
            place_B[point_C] = place_C
        self.number_N[row_B] = centroids.number_K[place_B]
        self._bound(row_B, block, best, place_B)
        if width < centroids.clusters:  # the others are no nearer than they were, but for the longest of their moves
            upper_B = upper_B + centroids.move_K[width] + _ROUNDING
            self._upper_N[row_B] = torch.maximum(self._upper_N[row_B], upper_B)

    def _meet_all(self, row_B: Tensor, centroids: Centroids) -> None:
        """All centroids in double precision, for points to which many are as good as equally near."""
        points_BD, values_KD = (
            self.points_ND.index_select(0, row_B).double(),
            centroids.values_KD[: centroids.clusters].double(),
        )
        cosines_BK = points_BD @ values_KD.T
        self.computed += cosines_BK.numel()
        best_B1 = cosines_BK.amax(1, keepdim=True)
        number_BK = torch.where(cosines_BK >= best_B1 - EQUAL, centroids.number_K, centroids.clusters)
        self.number_N[row_B] = number_BK.amin(1)
        cosines_BK.scatter_(1, centroids.place_K[self.number_N[row_B], None], -torch.inf)
        self._lower_N[row_B] = best_B1[:, 0].float() - _ROUNDING
        self._upper_N[row_B] = cosines_BK.amax(1).float() + _ROUNDING

    def _best(self, block: Block, centroids: Centroids, width: int, way: Product) -> Best:
        is_own_way = way is self.product
        operand_KD = centroids.operand_KD if is_own_way else way.operand(centroids.values_KD)
        error = centroids.error if is_own_way else way.error(0.0, centroids.values_KD[:1])
        points_BD = way.operand(block.points_BD)
        out_BW = self._room.of(len(points_BD), width, way.output)
        way.multiply(points_BD, operand_KD[:width], out_BW)
        self.computed += out_BW.numel()
        out_BW[:, centroids.clusters :] = -torch.inf
        value_B, place_B = largest(out_BW)
        out_BW.scatter_(1, place_B[:, None], -torch.inf)
        return Best(value_B.float(), place_B, out_BW.amax(1).float(), error, out_BW)

    def _close_calls(self, block: Block, best: Best) -> tuple[Tensor, Tensor]:
        """Points and centroids, (P,) each, of which the products do not tell which is nearest."""
        least_B = torch.maximum(best.value_B - 2 * best.error, block.lower_B - best.error)
        is_apart_B = block.is_apart_B & (block.lower_B + self._spread >= best.value_B - best.error)
        point_C = (is_apart_B | (best.next_B >= least_B)).nonzero()[:, 0]
        others_CW, least_C = best.others_BW.index_select(0, point_C), least_B[point_C]
        least_C -= torch.finfo(others_CW.dtype).eps * least_C.abs()
        row, place = (others_CW >= least_C.to(others_CW.dtype)[:, None]).nonzero(as_tuple=True)
        apart_A = is_apart_B.nonzero()[:, 0]
        points = torch.cat([point_C, point_C[row], apart_A])
        return points, torch.cat([best.place_B[point_C], place, block.own_B[apart_A]])

    def _bound(self, row_B: Tensor, block: Block, best: Best, place_B: Tensor) -> None:
        """Keep what the products say of the nearest centroid and of the others."""
        is_best_B, is_own_B = place_B == best.place_B, block.is_apart_B & (place_B == block.own_B)
        value_B = torch.where(is_best_B, best.value_B, best.value_B - 2 * best.error)
        self._lower_N[row_B] = torch.where(is_own_B, block.lower_B, value_B - best.error)
        self._has_moved_N[row_B] = False
        others_B = torch.where(is_best_B, best.next_B, best.value_B) + best.error
        apart_B = torch.where(block.is_apart_B & ~is_own_B, block.lower_B + self._spread, -torch.inf)
        self._upper_N[row_B] = torch.maximum(others_B, apart_B)


def _rows(points_ND: Tensor) -> Tensor:
    return torch.arange(len(points_ND), device=points_ND.device)


def _moves(centroids_KD: Tensor, before_KD: Tensor | None) -> Tensor:
    """(K,) by how much a cosine of a point with each centroid may have changed; points are a little longer than 1."""
    if before_KD is None:
        return torch.zeros(len(centroids_KD), device=centroids_KD.device)
    move_K = torch.linalg.vector_norm(centroids_KD - before_KD, dim=1)
    return torch.where(move_K > 0, LONGEST * move_K + _ROUNDING, 0.0)
