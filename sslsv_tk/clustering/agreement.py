"""How well two labelings of the same things agree; from the pairs that occur only, so that many labels cost nothing.

A labeling is an array of N integer codes, of any size and with gaps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Contingency:
    """How many things carry label i in the first labeling and j in the second, for the C pairs that occur."""

    pair_counts_C: NDArray[np.int64]
    first_C: NDArray[np.int64]
    second_C: NDArray[np.int64]
    first_counts: NDArray[np.int64]
    second_counts: NDArray[np.int64]


def contingency(first_N: NDArray[np.integer], second_N: NDArray[np.integer]) -> Contingency:
    """Count pairs of labels in O(N log N)."""
    if first_N.ndim != 1 or first_N.shape != second_N.shape or len(first_N) == 0:
        raise ValueError(
            f"Expected two labelings of the same things, found shapes {first_N.shape} and {second_N.shape}."
        )
    _, first_codes, first_counts = np.unique(first_N, return_inverse=True, return_counts=True)
    _, second_codes, second_counts = np.unique(second_N, return_inverse=True, return_counts=True)
    pairs, pair_counts = np.unique(first_codes * len(second_counts) + second_codes, return_counts=True)
    return Contingency(pair_counts, *np.divmod(pairs, len(second_counts)), first_counts, second_counts)


def normalised_mutual_information(first_N: NDArray[np.integer], second_N: NDArray[np.integer]) -> float:
    """Mutual information over the arithmetic mean of the two entropies: 0 independent, 1 the same partition.

    Two labelings with one label each are the same partition: 1.
    """
    table = contingency(first_N, second_N)
    entropies = _entropy(table.first_counts) + _entropy(table.second_counts)
    if entropies == 0:
        return 1.0
    information = entropies - _entropy(table.pair_counts_C)
    return float(min(1.0, max(0.0, 2 * information / entropies)))


def purity(clusters_N: NDArray[np.integer], classes_N: NDArray[np.integer]) -> float:
    """Share of things whose class is the most frequent one of their cluster, in (0, 1]."""
    table = contingency(clusters_N, classes_N)
    largest = np.zeros(len(table.first_counts), dtype=np.int64)
    np.maximum.at(largest, table.first_C, table.pair_counts_C)
    return float(largest.sum() / len(clusters_N))


def _entropy(counts: NDArray[np.int64]) -> float:
    """In nats, of the distribution that the counts make."""
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
