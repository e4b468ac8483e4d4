"""The table segments: which stretch of which file an utterance is.

utterance  file  12.30  14.75  1
^ key      ^ id in wav.scp     ^ channel, counted from 0, as Kaldi's extract-segments has it (a column may lack)
                 ^ start and end in seconds; -1 is the end of the file
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.tables import Words, text

_TO_END, _ANY_CHANNEL = -1.0, -1


@dataclass(frozen=True)
class Cuts:
    """For each utterance the file that it is cut from, and where, in seconds; an infinite end is that of the file."""

    files: Words
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]


@dataclass(frozen=True)
class Segments:
    """The table in the order of its lines; `channels` count from 1, as in utt2channel (None: it does not say)."""

    keys: Words
    cuts: Cuts
    channels: NDArray[np.int64] | None


def read(path: str | Path) -> Segments:
    """The table in a file; ValueError where a line has neither four words nor five, or no numbers."""
    keys, files, starts, ends, *channels = tables.read_columns(path, (4, 5))
    last = tables.numbers(ends, path)
    cuts = Cuts(files, tables.numbers(starts, path), np.where(last == _TO_END, np.inf, last))
    return Segments(keys, cuts, _read_channels(channels[0], path) if channels else None)


def _read_channels(words: Words, path: str | Path) -> NDArray[np.int64] | None:
    """Channels from 1; -1 throughout is no choice of a channel."""
    numbers = tables.numbers(words, path)
    if (numbers == _ANY_CHANNEL).all():
        return None
    wrong = (numbers < 0) | (numbers != np.rint(numbers)) | (numbers > 1000)
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(
            f"{path}:{line + 1}: expected a channel, counted from 0, found {text(words[line])!r}. -1 (any) may stand in"
            " all lines only."
        )
    return numbers.astype(np.int64) + 1
