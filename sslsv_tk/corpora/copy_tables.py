"""The table `augmentation` of an offline copy, read again: rows of it as numbers, without the rest.

B utterances, K clip slots; see copies.py for what the table looks like.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.corpora.copies import KINDS, NOTHING, SLOTS, TABLE, CopyKind
from sslsv_tk.kaldi import directories
from sslsv_tk.kaldi.tables import Words, text

_CHUNK = 2**24  # bytes in which line ends are looked for at a time


@dataclass(frozen=True)
class Drawn:
    """What the table says of some utterances."""

    response_B: NDArray[np.int64]  # row among the responses; -1: none
    snr_B: NDArray[np.float32]  # dB; +inf: no noise
    clip_BK: NDArray[np.int64]  # row among the clips; -1: none
    start_BK: NDArray[np.int64]  # first sample in each clip

    def select(self, places: NDArray[np.int64]) -> "Drawn":
        """The same of some of the utterances."""
        return Drawn(self.response_B[places], self.snr_B[places], self.clip_BK[places], self.start_BK[places])


def kind_of(copy: str | Path) -> CopyKind:
    """The kind that a copy's table names; ValueError where the folder is no offline copy."""
    path = Path(copy) / TABLE
    if not path.is_file():
        raise ValueError(
            f"{copy}: no table {TABLE}, so not an offline copy. Stage 2 with --feats-type fbank makes them."
        )
    with open(path, "rb") as stream:
        words = stream.readline().split()
    found = [kind for kind in KINDS if len(words) > 1 and words[1] == kind.encode()]
    if not found:
        raise _damaged(path, 0, b" ".join(words), f"a key and one of {', '.join(KINDS)}")
    return found[0]


class CopyTable:
    """The table of one copy; the place of every line is kept, the lines are not."""

    def __init__(self, copy: Path, clips: Words) -> None:
        """`clips`: sorted keys of the packed noises or responses, among which those of the table are looked up."""
        self.path, self.kind, self.clips = copy / TABLE, kind_of(copy), clips
        self.keys = directories.DataDirectory.load(copy).keys
        self._starts = _line_starts(self.path)
        if len(self._starts) != len(self.keys) + 1:
            raise ValueError(
                f"{self.path}: {len(self._starts) - 1} lines for {len(self.keys)} utterances of {copy}."
                " Run stage 2 with --force true."
            )

    def read(self, rows: NDArray[np.integer]) -> Drawn:
        """What the table says of ascending rows of the copy, best near each other."""
        width = 4 + 2 * SLOTS[self.kind]
        begin, end = int(self._starts[rows[0]]), int(self._starts[rows[-1] + 1])
        with open(self.path, "rb") as stream:
            lines = os.pread(stream.fileno(), end - begin, begin).split(b"\n")
        words = [lines[row - int(rows[0])].split() for row in rows.tolist()]
        for row, line in zip(rows.tolist(), words, strict=True):
            key = self.keys[row]
            if len(line) != width or line[0] != key or line[1] != self.kind.encode():
                expected = f"{width} words that begin {text(key)} {self.kind}"
                raise _damaged(self.path, row, b" ".join(line), expected)
        return self._parse(rows, np.array(words, dtype=np.bytes_).reshape(len(rows), width))

    def _parse(self, rows: NDArray[np.integer], words: NDArray[np.bytes_]) -> Drawn:
        """Words of some lines as numbers; `rows` are their line numbers (from 0), for messages."""
        response_B = self._rows_of(words[:, 2], rows)
        clip_BK = self._rows_of(words[:, 4::2].reshape(-1), np.repeat(rows, SLOTS[self.kind]))
        try:
            snr_B = np.where(words[:, 3] == NOTHING, b"inf", words[:, 3]).astype(np.float32)
            start_BK = words[:, 5::2].astype(np.int64)
        except (ValueError, OverflowError):
            raise _damaged(
                self.path, int(rows[0]), b"", "numbers for SNR and first samples, here or soon after"
            ) from None
        if np.isnan(snr_B).any() or (start_BK < 0).any():
            raise _damaged(self.path, int(rows[0]), b"", "an SNR and first samples >= 0, here or soon after")
        return Drawn(response_B, snr_B, clip_BK.reshape(len(rows), -1), start_BK)

    def _rows_of(self, names: Words, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """The row of each clip, -1 for none; `rows` says on which line (from 0) each name stands."""
        found = np.where(names == NOTHING, -1, directories.find_rows(self.clips, names))
        unknown = (found < 0) & (names != NOTHING)
        if unknown.any():
            place = int(unknown.argmax())
            raise ValueError(
                f"{self.path}:{rows[place] + 1}: {text(names[place])} is not among the packed clips: it was left out as"
                " unreadable, or the clips are others. Run stages 2 and 3 with --force true."
            )
        return found


def _line_starts(path: Path) -> NDArray[np.int64]:
    """(N + 1,) where each line begins, and where the last one ends."""
    ends, position = [np.zeros(1, dtype=np.int64)], 0
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            ends.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + position + 1)
            position += len(chunk)
    return np.concatenate(ends)


def _damaged(path: Path, row: int, found: bytes, expected: str) -> ValueError:
    instead = f", found {text(found[:60])!r}" if found else ""
    return ValueError(f"{path}:{row + 1}: expected {expected}{instead}. Run stage 2 with --force true.")
