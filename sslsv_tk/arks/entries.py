"""Entries of Kaldi arks by row of a scp, and exact stretches of their bytes: what readers of all kinds share."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import block_sums
from sslsv_tk.arks.indexes import ArchiveKind, Index
from sslsv_tk.block_sums import BLOCK_BYTES, Sums
from sslsv_tk.kaldi.tables import text
from sslsv_tk.stamps import distrust

_MOST_OPEN_FILES = 256
T = TypeVar("T", bound=np.generic)


def _read(file: io.FileIO, begin: int, count: int) -> bytes:
    """`count` bytes from `begin` on, fewer where the file ends."""
    contents = os.pread(file.fileno(), count, begin)
    while len(contents) < count and (more := os.pread(file.fileno(), count - len(contents), begin + len(contents))):
        contents += more
    return contents


def _other_contents(path: str, block: int, remedy: str) -> ValueError:
    distrust(path)
    begin = block * BLOCK_BYTES
    return ValueError(f"{path}: other contents than were written, in the {BLOCK_BYTES} bytes from {begin} on. {remedy}")


class Renamings:
    """By which prefix and suffix the utterances of each ark may have been renamed since it was made.

    Who renames a data directory (copy_data_dir) leaves arks of others as they are: of all renamed rows of a file it
    must be the same prefix and the same suffix.
    """

    def __init__(self) -> None:
        self._affixes: dict[int, set[tuple[bytes, bytes]]] = {}

    def fits(self, file: int, key: bytes, old: bytes, is_whole: bool) -> bool:
        """May `key` have been `old`, or an end of it unless `is_whole`, as other rows of this file were?"""
        known = self._affixes.get(file)
        if known is None:  # every stretch of the key that could be the old one, which ends as `old` does
            ends = [end for end in range(1, len(key) + 1) if key[end - 1 : end] == old[-1:]]
            known = {(key[:start], key[end:]) for end in ends for start in range(end)}
        fitting = {
            (prefix, suffix)
            for prefix, suffix in known
            if (middle := key[len(prefix) : len(key) - len(suffix)])
            and prefix + middle + suffix == key
            and (old == middle or (not is_whole and old.endswith(middle)))
        }
        if fitting:
            self._affixes[file] = fitting
        return bool(fitting)


class Entries(Generic[T]):
    """The entries of a folder, rows in the order of its scp, with `lengths` (N,) in samples or frames.

    `keys` (N,) fixed-width bytes, `files`, `file_of_row`, `offsets` and `lengths` are arrays, mapped from the index of
    the folder; no Python object is kept per utterance. Paths are taken as the scp gives them, so relative ones start at
    the current folder. Files are opened when first read, per process. Pickled for loader workers it is its folder and
    the first line of its index: they map the same one.
    """

    def __init__(self, folder: Path, kind: ArchiveKind, index: Index) -> None:
        self.folder, self.kind, self._head = folder, kind, index.head
        self.keys, self.lengths, self.offsets = index.keys, index.lengths, index.offsets
        self.files, self.file_of_row = index.files, index.file_of_row
        self.compares = False
        """Is every block of an ark that is read compared with its sum (block_sums.py), where the ark has sums?"""
        self._open_files: dict[int, io.FileIO] = {}
        self._sums: dict[int, Sums | None] = {}
        self._renamings = Renamings()

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder, self._head), {"compares": self.compares}

    def read_codes(self, name: str) -> NDArray[np.int32] | None:
        """A table such as utt2rec or utt2spk as one code per row: the place of its name among the sorted names.

        None when the folder has no such table, and for an utt2spk that maps every utterance to itself.
        """
        if not (self.folder / name).is_file():
            return None
        values = self.kind.column(self.folder, name, self.keys)
        if name == "utt2spk" and (values == self.keys).all():
            return None
        return np.unique(values, return_inverse=True)[1].astype(np.int32)

    def read(self, row: int, start: int, count: int) -> NDArray[T]:
        """Samples or frames [start, start + count) of an utterance, (count, ...)."""
        raise NotImplementedError

    def read_looped(self, row: int, start: int, count: int) -> NDArray[T]:
        """(count, ...) from sample or frame `start` (modulo the length) of the utterance repeated without end."""
        length = int(self.lengths[row])
        start %= length
        if start + count <= length:
            return self.read(row, start, count)
        if count <= length:
            head = self.read(row, 0, count - (length - start))
            return np.concatenate([self.read(row, start, length - start), head])
        return self.read(row, 0, length)[(start + np.arange(count)) % length]

    def require_inside(self, row: int, start: int, count: int) -> None:
        """ValueError unless [start, start + count) is a part of the utterance."""
        if start < 0 or count < 0 or start + count > self.lengths[row]:
            raise ValueError(
                f"{text(self.keys[row])} has {self.lengths[row]} {self.kind.unit}; [{start}, {start + count}) is not"
                " inside."
            )

    def path(self, row: int) -> str:
        """The file that holds a row."""
        return text(self.files[self.file_of_row[row]])

    def place(self, row: int) -> str:
        """File, offset and key of a row, for messages."""
        return f"{self.path(row)}:{self.offsets[row]}: {text(self.keys[row])}"

    def head(self, row: int, count: int) -> bytes:
        """At most `count` bytes from the offset of a row, after a check that its key stands before them."""
        key, offset = self.keys[row], int(self.offsets[row])
        begin = max(0, offset - len(key) - 1)
        contents = self._pread(row, begin, offset - begin + count)
        if len(contents) < offset - begin:
            raise self.cut_short(row, begin, offset - begin + count, len(contents))
        before = contents[: offset - begin]
        if before != key + b" " and not self._is_renamed(row, before, is_whole=begin == 0):
            raise ValueError(
                f"{self.path(row)}: expected the key {text(key)} before offset {offset}, found {text(before)!r}:"
                f" {self.folder}/{self.kind.scp} is not of this ark. {self.remedy}"
            )
        return contents[offset - begin :]

    def _is_renamed(self, row: int, before: bytes, is_whole: bool) -> bool:
        """Does an ark of others have the old key of a row, in a directory that was renamed since?"""
        if not before.endswith(b" ") or not self.kind.is_of_others(self.folder):
            return False
        return self._renamings.fits(int(self.file_of_row[row]), self.keys[row], before[:-1], is_whole)

    @property
    def remedy(self) -> str:
        """What to do about arks that are not what the tables say, for messages."""
        if self.kind.is_of_others(self.folder):
            return f"The ark was made elsewhere: take {self.kind.scp} and its arks anew from there."
        return f"Run {self.kind.stage} {'and' if ' with ' in self.kind.stage else 'with'} --force true."

    def stretch(self, row: int, begin: int, count: int) -> bytes:
        """Exactly `count` bytes from `begin` bytes after the offset of a row."""
        begin += int(self.offsets[row])
        contents = self._pread(row, begin, count)
        if len(contents) < count:
            raise self.cut_short(row, begin, count, len(contents))
        return contents

    def cut_short(self, row: int, begin: int, expected: int, found: int) -> ValueError:
        """The error for bytes from `begin` on that are not there."""
        return ValueError(
            f"{self.path(row)}: cut short: expected {expected} bytes at offset {begin} for {text(self.keys[row])},"
            f" found {found}. {self.remedy}"
        )

    def _pread(self, row: int, begin: int, count: int) -> bytes:
        """`count` bytes of the file that holds a row, fewer where it ends."""
        file = self.open(row)
        there = max(0, os.fstat(file.fileno()).st_size - begin)
        if there < count or not self.compares or (sums := self._sums_of(row)) is None:
            return _read(file, begin, min(count, there))  # a damaged header may ask for any amount
        first = begin // BLOCK_BYTES
        lead = begin - first * BLOCK_BYTES
        contents = _read(file, begin - lead, lead + count + -(lead + count) % BLOCK_BYTES)
        if (damaged := block_sums.first_damaged(contents, sums[first:])) is not None:
            raise _other_contents(self.path(row), first + damaged, self.remedy)
        return contents[lead : lead + count]

    def _sums_of(self, row: int) -> Sums | None:
        """The sums of the ark of a row; None for files of others, which have none."""
        number = int(self.file_of_row[row])
        if number not in self._sums:
            self._sums[number] = block_sums.beside(os.fsdecode(self.files[number]))
        return self._sums[number]

    def open(self, row: int) -> io.FileIO:
        """The file of a row; beyond a number of open files the oldest is let go (its readers keep it alive)."""
        number = int(self.file_of_row[row])
        file = self._open_files.get(number)
        if file is None:
            try:
                file = io.FileIO(os.fsdecode(self.files[number]), opener=_without_waiting)
            except FileNotFoundError:
                raise ValueError(
                    f"{self.folder}/{self.kind.scp} points to {self.path(row)}, which does not exist. Relative paths"
                    f" start at the folder where {self.kind.stage} ran. Else: {self.remedy}"
                ) from None
            self._open_files[number] = file
            if len(self._open_files) > _MOST_OPEN_FILES:
                del self._open_files[next(iter(self._open_files))]
        return file


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; OSError for a pipe, whose other end might never come."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ESPIPE, "a pipe, not a file", path)
    return descriptor
