"""Mean and deviation of the scores of embeddings with the cohort members that are nearest to each, for AS-norm.

Adaptive symmetric score normalisation turns a score s of enrolment e and test t into the mean of (s - mean_e) /
deviation_e and (s - mean_t) / deviation_t, over the N cohort members nearest to each side (Matejka et al., "Analysis of
score normalization in multilingual speaker recognition", Interspeech 2017). The cohort may be a whole training set:
it comes in blocks, of which one is in memory at a time.

B embeddings, D dimension, C rows of a cohort block, N nearest.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.scoring.cosine import unit_length

Singles = NDArray[np.float32]

_TILE_CELLS = 2**21  # 8 MiB of scores
_TILE_COLUMNS = 2**13  # of a cohort block, so that few scores of a tile are among the nearest


class CohortStatistics(NamedTuple):
    """Of each embedding (B,), float64: its mean score with the nearest cohort members, and the deviation of these."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


class _Nearest:
    """The largest scores of each row so far: N of them or more, in no order, with room for those to come."""

    def __init__(self, rows: int, count: int) -> None:
        self.count = count
        self.scores = np.full((rows, 2 * count), -np.inf, dtype=np.float32)
        self.filled = np.zeros(rows, dtype=np.int64)
        self.least = np.full((rows, 1), -np.inf, dtype=np.float32)
        """A score that is not above this is not among the N."""

    def add(self, rows: slice, found: Singles) -> None:
        """Scores of some rows with a few cohort members. Of a row few are above its least one, but for the first."""
        hit = np.flatnonzero(found > self.least[rows])
        row = hit // found.shape[1]
        counts = np.bincount(row, minlength=len(found))
        is_crowded = self.filled[rows] + counts > self.scores.shape[1]
        has_many = is_crowded & (counts > self.count)
        self._take(rows.start + np.flatnonzero(has_many), found[has_many])
        self._shrink(rows.start + np.flatnonzero(is_crowded & ~has_many))
        hit, row = hit[~has_many[row]], row[~has_many[row]]
        number = np.arange(len(row)) - np.searchsorted(row, row)  # of a row's hits the how manieth
        self.scores[rows.start + row, self.filled[rows.start + row] + number] = found.reshape(-1)[hit]
        self.filled[rows] += np.bincount(row, minlength=len(found))

    def _take(self, rows: NDArray[np.int64], found: Singles) -> None:
        """Scores of some rows of which many are among the largest."""
        if len(rows):
            self._keep(rows, np.concatenate([self.scores[rows], found], axis=1))

    def _shrink(self, rows: NDArray[np.int64]) -> None:
        """Keep the N largest of some rows."""
        if len(rows):
            self._keep(rows, self.scores[rows])

    def _keep(self, rows: NDArray[np.int64], scores: Singles) -> None:
        """The N largest of these scores are what some rows have."""
        kept = np.partition(scores, scores.shape[1] - self.count, axis=1)[:, -self.count :]
        self.scores[rows, : self.count], self.scores[rows, self.count :] = kept, -np.inf
        self.filled[rows] = self.count
        self.least[rows, 0] = kept.min(axis=1)

    def finish(self) -> Singles:
        """(B, N) the largest scores."""
        self._shrink(np.arange(len(self.scores)))
        return self.scores[:, : self.count]


def cohort_statistics(
    embeddings: NDArray[np.floating], cohort: Iterable[NDArray[np.floating]], nearest: int
) -> CohortStatistics:
    """Of embeddings (B, D) the mean and deviation of their `nearest` largest cosines with the rows of a cohort.

    `cohort` gives blocks (C, D), each once. Memory: a block, 8 N bytes for each embedding, and tiles of 8 MiB. The
    result depends on the sizes of blocks only by the rounding of fp32 products. A ValueError says where the cohort has
    fewer than `nearest` rows, or a row that has no direction.
    """
    if nearest < 1:
        raise ValueError(f"Expected at least 1 nearest cohort member, found {nearest}.")
    unit = unit_length(np.asarray(embeddings, dtype=np.float32))
    best, members = _Nearest(len(unit), nearest), 0
    for block in cohort:
        others = unit_length(np.asarray(block, dtype=np.float32))
        members += len(others)
        for first in range(0, len(others), _TILE_COLUMNS):
            columns = others[first : first + _TILE_COLUMNS].T
            height = max(1, _TILE_CELLS // columns.shape[1])
            for start in range(0, len(unit), height):
                rows = slice(start, min(start + height, len(unit)))
                best.add(rows, (unit[rows] @ columns).astype(np.float32, copy=False))
    if members < nearest:
        raise ValueError(
            f"Expected a cohort of at least {nearest} rows, found {members}. Use a smaller number of them."
        )
    scores = best.finish().astype(np.float64)
    return CohortStatistics(scores.mean(axis=1), scores.std(axis=1))
