"""Which utterances of a data directory a subset or a part takes; all functions return rows or masks of N utterances."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs, seeds
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.tables import Words

log = logs.logger("subsets")
Rows = NDArray[np.int64]


def check_count(count: int, available: int, what: str = "utterances") -> None:
    """ValueError unless 1 to `available` are asked for."""
    if not 1 <= count <= available:
        raise ValueError(f"{count} {what} asked for, {available} are there: expected 1 to {available}.")


def first(utterances: int, count: int) -> Rows:
    """The first `count`."""
    check_count(count, utterances)
    return np.arange(count)


def last(utterances: int, count: int) -> Rows:
    """The last `count`."""
    check_count(count, utterances)
    return np.arange(utterances - count, utterances)


def drawn(utterances: int, count: int, seed: int) -> Rows:
    """`count` drawn at random, each at most once; more of the same seed hold the fewer."""
    check_count(count, utterances)
    return np.sort(seeds.generator(seed, "subset").permutation(utterances)[:count])


def shortest(seconds: NDArray[np.float64], count: int) -> Rows:
    """The `count` shortest, by name where they are equal."""
    check_count(count, len(seconds))
    return np.sort(np.argsort(seconds, kind="stable")[:count])


def per_speaker(speakers: Words, count: int, seed: int) -> Rows:
    """Up to `count` of each speaker, drawn at random."""
    if count < 1:
        raise ValueError(f"{count} utterances of each speaker asked for: expected at least 1.")
    codes = np.unique(speakers, return_inverse=True)[1]
    order = np.lexsort((seeds.generator(seed, "subset").permutation(len(codes)), codes))
    begins = np.searchsorted(codes[order], codes[order])
    return np.sort(order[np.arange(len(order)) - begins < count])


def listed(names: Words, path: str | Path) -> NDArray[np.bool_]:
    """Which names are the first word of a line of a file; a warning says which of those words are no names."""
    lines = tables.read_bytes(path, may_lack_newline=True).tobytes().splitlines()
    wanted = np.array([words[0] for line in lines if (words := line.split())], dtype=np.bytes_)
    unknown = np.setdiff1d(wanted, names)
    if len(unknown):
        log.warning(
            "%s: %d of %d names are not there: %s", path, len(unknown), len(wanted), tables.first_words(unknown)
        )
    return np.isin(names, wanted)


def parts_by_utterance(utterances: int, parts: int) -> Iterator[Rows]:
    """Contiguous parts whose sizes differ by one at most."""
    check_count(parts, utterances, "parts")
    for part in range(parts):
        yield np.arange(part * utterances // parts, (part + 1) * utterances // parts)


def parts_by_speaker(speakers: Words, parts: int) -> Iterator[Rows]:
    """Parts of about equal size that follow each other by speaker; no speaker is in two of them."""
    names, codes, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    check_count(parts, len(names), "parts (no speaker is divided)")
    ends = np.cumsum(counts)
    begin = 0
    for part in range(1, parts + 1):
        wanted = part * len(codes) / parts
        nearest = int(np.abs(ends - wanted).argmin()) + 1
        end = min(max(nearest, begin + 1), len(names) - (parts - part))
        yield np.flatnonzero((codes >= begin) & (codes < end))
        begin = end
