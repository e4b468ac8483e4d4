"""Cosine scores of trials given as row numbers into a matrix of embeddings.

N utterances, D dimensions, T trials.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.integer[Any]]

_BLOCK_TRIALS = 1024  # two gathered blocks of 512 float32 take 4 MiB and stay in the cache
_BLOCK_VALUES = 2**17  # of embeddings that are divided by their length: 1 MiB of float64
_BLOCK_CELLS = 2**21  # 8 MiB of float32 scores
_NAMED_KEYS = 5
# A gathered trial costs as much as 40 to 100 cells of a matrix product (512 dimensions, one or two threads).
_CELLS_PER_TRIAL = 24


def cosine_scores(
    embeddings: ArrayLike, enrol: ArrayLike, test: ArrayLike, keys: Sequence[str] | None = None
) -> Floats:
    """Cosine of the embeddings of each trial: (T,), in the order of the trials.

    `embeddings` is (N, D); `enrol` and `test` are (T,) row numbers into it; `keys` (N,) names the rows in errors.
    Besides the unit-length copy of the rows, memory stays within a few blocks of 16 MiB whatever T is.
    """
    matrix = np.asarray(embeddings)
    if matrix.ndim != 2:
        raise ValueError(f"Expected embeddings of shape (utterances, dimension), found shape {matrix.shape}.")
    enrol_rows, test_rows = _checked_rows(enrol, test, len(matrix))
    unit = unit_length(matrix, keys)
    rectangle, triangle = _cells(enrol_rows, test_rows, len(matrix))
    compare = _compare_each
    if min(rectangle, triangle) <= _CELLS_PER_TRIAL * len(enrol_rows):
        compare = _compare_all
        if triangle < rectangle:  # a cosine is the same both ways
            enrol_rows, test_rows = np.minimum(enrol_rows, test_rows), np.maximum(enrol_rows, test_rows)
    order = np.argsort(enrol_rows.astype(np.int32))
    scores = np.empty(len(order), dtype=unit.dtype)
    scores[order] = compare(unit, enrol_rows[order], test_rows[order])
    return scores


def unit_length(embeddings: Floats, keys: Sequence[str] | None = None) -> Floats:
    """The rows of `embeddings` (N, D) divided by their length; float64 stays, all else becomes float32.

    A row without a direction (all zero) or with numbers that are not finite raises a ValueError that names its key.
    """
    unit = np.empty(embeddings.shape, dtype=np.float64 if embeddings.dtype == np.float64 else np.float32)
    lengths = np.empty(len(embeddings))
    block = max(1, _BLOCK_VALUES // max(1, embeddings.shape[1]))
    for start in range(0, len(embeddings), block):
        part = slice(start, start + block)
        wide = embeddings[part].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            lengths[part] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
            unit[part] = wide / lengths[part, None]
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(broken):
        raise ValueError(f"{_named(broken, keys)}: zero or non-finite embeddings. Extract them again.")
    return unit


def _named(rows: Rows, keys: Sequence[str] | None) -> str:
    names = [f"row {row}" if keys is None else str(keys[row]) for row in rows[:_NAMED_KEYS]]
    more = f" and {len(rows) - len(names)} more" if len(rows) > len(names) else ""
    return ", ".join(names) + more


def _checked_rows(enrol: ArrayLike, test: ArrayLike, utterances: int) -> tuple[Rows, Rows]:
    sides = np.asarray(enrol), np.asarray(test)
    if sides[0].ndim != 1 or sides[0].shape != sides[1].shape:
        raise ValueError(f"Expected as many enrolments as tests, found shapes {sides[0].shape} and {sides[1].shape}.")
    if not len(sides[0]):
        raise ValueError("Expected at least one trial, found none. Check the trial list.")
    for side in sides:
        if not np.issubdtype(side.dtype, np.integer):
            raise ValueError(f"Expected row numbers, found values of type {side.dtype}.")
        if side.min() < 0 or side.max() >= utterances:
            raise ValueError(f"Expected row numbers from 0 to {utterances - 1}, found {side.min()} to {side.max()}.")
    return sides


def _compare_each(unit: Floats, enrol: Rows, test: Rows) -> Floats:
    """One inner product per trial, in blocks; trials sorted by enrolment gather their first side from the cache."""
    scores = np.empty(len(enrol), dtype=unit.dtype)
    sides = np.empty((2, min(_BLOCK_TRIALS, len(enrol)), unit.shape[1]), dtype=unit.dtype)
    for start in range(0, len(enrol), _BLOCK_TRIALS):
        part = slice(start, start + _BLOCK_TRIALS)
        enrolled, tested = sides[:, : len(enrol[part])]
        np.take(unit, enrol[part], axis=0, out=enrolled, mode="clip")  # the default mode would copy `out` first
        np.take(unit, test[part], axis=0, out=tested, mode="clip")
        np.einsum("td,td->t", enrolled, tested, out=scores[part])
    return scores


def _cells(enrol: Rows, test: Rows, utterances: int) -> tuple[int, int]:
    """How many cosines there are of every enrolment with every test utterance, and of all these with each other."""
    is_enrolled, is_tested = (np.bincount(side, minlength=utterances) > 0 for side in (enrol, test))
    everyone = int(np.count_nonzero(is_enrolled | is_tested))
    return int(np.count_nonzero(is_enrolled)) * int(np.count_nonzero(is_tested)), everyone * (everyone + 1) // 2


def _compare_all(unit: Floats, enrol: Rows, test: Rows) -> Floats:
    """Some enrolments at a time against all that they may be tested with; `enrol` ascends.

    Where no trial has a test of a lower number than its enrolment, those of lower numbers are left out, about half.
    """
    tested = np.flatnonzero(np.bincount(test, minlength=len(unit)))
    column_N = np.cumsum(np.bincount(tested, minlength=len(unit))) - 1
    enrolled, counts = _run_lengths(enrol)
    ends = np.concatenate([[0], np.cumsum(counts)])
    is_triangle = bool((enrol <= test).all())
    tests, column = unit[tested], column_N[test]
    scores = np.empty(len(enrol), dtype=unit.dtype)
    block = max(1, _BLOCK_CELLS // len(tested))
    for start in range(0, len(enrolled), block):
        stop = min(start + block, len(enrolled))
        trials = slice(ends[start], ends[stop])
        first = int(np.searchsorted(tested, enrolled[start])) if is_triangle else 0
        product = unit[enrolled[start:stop]] @ tests[first:].T
        line = np.repeat(np.arange(stop - start), counts[start:stop])
        np.take(product, line * product.shape[1] + column[trials] - first, out=scores[trials], mode="clip")
    return scores


def _run_lengths(ascending: Rows) -> tuple[Rows, Rows]:
    """The different values, and how often each one stands there."""
    first = np.flatnonzero(np.diff(ascending, prepend=ascending[0] - 1))
    return ascending[first], np.diff(first, append=len(ascending))
