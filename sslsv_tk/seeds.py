"""Counter-based random draws: the same key gives the same numbers, in any process and in any order of the work.

A loader that draws by (seed, epoch, utterance, view) needs no state: a batch does not depend on the number of
workers, and a resumed run draws what it would have drawn. The mixing function is SplitMix64's finaliser
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

import zlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
Key = int | str | NDArray[np.integer]


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _word(part: Key) -> NDArray[np.uint64]:
    if isinstance(part, str):
        part = zlib.crc32(part.encode())
    return np.atleast_1d(np.asarray(part, dtype=np.int64)).astype(np.uint64)


def uniform(count: int, *key: Key) -> NDArray[np.float64]:
    """Draw `count` numbers in [0, 1) for every key.

    Each part of the key is an integer, a word, or an integer array of shape (B,); the result has shape
    (B, count), with B = 1 when no part is an array.
    """
    with np.errstate(over="ignore"):
        state = np.zeros(1, dtype=np.uint64)
        for part in key:
            state = _mix(state + _word(part) + _GOLDEN)
        counters = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        bits = _mix(state[:, None] + counters[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choose(sizes: int | NDArray[np.integer], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn draws in [0, 1) into integers in [0, size)."""
    if np.min(sizes, initial=1) < 1:
        raise ValueError(f"Expected at least one to choose from, found {np.min(sizes)}.")
    return np.minimum((uniforms * sizes).astype(np.int64), np.asarray(sizes, dtype=np.int64) - 1)


def generator(*key: Key) -> np.random.Generator:
    """A numpy generator for one key, for draws that are not per utterance (a permutation of an epoch)."""
    return np.random.default_rng([int(_word(part)[0]) for part in key])
