"""Entries of Kaldi arks by row of a scp: where each begins, and exact stretches of their bytes."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.data import tables
from sslsv_tk.data.arks import codes_of
from sslsv_tk.data.audio_index import read_scp, runs
from sslsv_tk.data.tables import Words, text

_MOST_OPEN_FILES = 256


class ArkEntries:
    """The entries that a scp of a folder lists (`key path.ark:offset`), rows in its order.

    Everything per row is an array; relative ark paths start at the current folder. Files are opened when first read,
    per process, and entries can be pickled for loader workers.
    """

    def __init__(self, folder: str | Path, scp: str, stage: str) -> None:
        """`stage` says what to run where something is missing or broken, for messages."""
        self.folder, self.scp, self.stage = Path(folder), scp, stage
        if not (self.folder / scp).is_file():
            raise ValueError(f"{self.folder}: no {scp} in it. Run {stage} to make it.")
        self.keys, paths, self.offsets = read_scp(self.folder / scp)
        distinct, self.ark_of_row = runs(paths)
        self.arks = [text(path) for path in distinct.tolist()]
        self._files: dict[int, io.FileIO] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def column(self, name: str) -> Words:
        """The values of a table of the folder, whose keys must be those of the scp in the same order."""
        keys, values = tables.read_table(self.folder / name)
        if len(keys) != len(self.keys) or (keys != self.keys).any():
            raise ValueError(
                f"{self.folder}: {name} and {self.scp} do not list the same utterances in the same order."
                f" Run {self.stage} again."
            )
        return values

    def read_codes(self, name: str) -> NDArray[np.int32] | None:
        """A table such as utt2rec or utt2spk as one code per row: the place of its name among the sorted names.

        None when the folder has no such table, and for an utt2spk that maps every utterance to itself.
        """
        if not (self.folder / name).is_file():
            return None
        return codes_of(name, self.keys, self.column(name))

    def place(self, row: int) -> str:
        """Ark, offset and key of a row, for messages."""
        return f"{self.arks[self.ark_of_row[row]]}:{self.offsets[row]}: {text(self.keys[row])}"

    def head(self, row: int, count: int) -> bytes:
        """At most `count` bytes from the offset of a row, after a check that its key stands before them."""
        label = self.keys[row] + b" "
        begin = int(self.offsets[row]) - len(label)
        found = self._pread(row, begin, len(label) + count) if begin >= 0 else b""
        if found[: len(label)] != label:
            raise ValueError(
                f"{self.place(row)}: expected this key before the offset, found {text(found[: len(label)])!r}:"
                f" {self.folder}/{self.scp} is not of this ark. Run {self.stage} with --force true."
            )
        return found[len(label) :]

    def stretch(self, row: int, begin: int, count: int) -> bytes:
        """Exactly `count` bytes from `begin` bytes after the offset of a row."""
        found = self._pread(row, int(self.offsets[row]) + begin, count)
        if len(found) < count:
            raise ValueError(
                f"{self.place(row)}: cut short: expected {count} bytes, found {len(found)}."
                f" Run {self.stage} with --force true."
            )
        return found

    def _pread(self, row: int, begin: int, count: int) -> bytes:
        """`count` bytes of the ark that holds a row, fewer where it ends."""
        file = self._open(int(self.ark_of_row[row]))
        count = min(count, max(0, os.fstat(file.fileno()).st_size - begin))  # a damaged header may ask for any amount
        found = os.pread(file.fileno(), count, begin)
        while len(found) < count and (more := os.pread(file.fileno(), count - len(found), begin + len(found))):
            found += more
        return found

    def _open(self, number: int) -> io.FileIO:
        """The ark's file; beyond a number of open files the oldest is let go (its readers keep it alive)."""
        file = self._files.get(number)
        if file is None:
            try:
                file = io.FileIO(self.arks[number])
            except FileNotFoundError:
                raise ValueError(
                    f"{self.folder}/{self.scp} points to {self.arks[number]}, which does not exist. Relative paths"
                    f" start at the folder where {self.stage} ran; else run it again."
                ) from None
            self._files[number] = file
            if len(self._files) > _MOST_OPEN_FILES:
                del self._files[next(iter(self._files))]
        return file
