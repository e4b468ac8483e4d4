"""Where the entries of a folder stand, row by row: from its text tables, or from a binary copy that is mapped.

audio.index (of wav.scp) and features.index (of feats.scp) hold the columns of an Index as they are in memory, so that
all loader workers and jobs of a machine share one copy of their pages, and opening a million rows takes as long as
hashing the files:

    a line of JSON, padded with spaces: tables and their digests, columns and their places, digest of what follows
    keys ... files ... file_of_row ... offsets ... lengths ...        each column begins at a multiple of 64 bytes

The tables are what counts: an index that is missing, damaged or not theirs is made when the folder is opened. Where it
cannot be written, the tables are read.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests, logs
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.tables import Words, text

log = logs.logger("indexes")
_VERSION = "sslsv_tk index 3"
_ALIGNMENT = 64
_MOST_BYTES_OF_HEAD = 2**16
_CHUNK_BYTES = 2**20
_SECONDS_OF_A_WRITER = 3600.0  # a temporary file that is older was left by a killed process


@dataclass(frozen=True)
class Index:
    """One row per utterance: its key, the row of its file in `files`, an offset in bytes and its length.

    `head` says of which tables it is: the first line of the file that the columns are mapped from, and without a
    newline where they are in memory.
    """

    keys: Words
    files: Words
    file_of_row: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    head: bytes = b""


_COLUMNS = [field.name for field in fields(Index) if field.name != "head"]


@dataclass(frozen=True)
class ArchiveKind:
    """What a folder holds, and the tables that say where: `read` makes the index of a folder out of them.

    `is_of_others` says whether the arks of a folder were made elsewhere (or nobody knows where).
    """

    name: str  # of the index
    scp: str
    lengths: str
    others: tuple[str, ...]
    holds: str  # this and the next two for messages
    unit: str
    stage: str
    read: Callable[[Path], Index]
    is_of_others: Callable[[Path], bool] = lambda folder: False

    def require(self, folder: Path, name: str) -> Path:
        """The path of a table that has to be there."""
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name}, so not a folder of {self.holds}. Run {self.stage} to make it.")
        return folder / name

    def column(self, folder: Path, name: str, keys: Words) -> Words:
        """The values of a table whose keys must be `keys`, those of the scp, in the same order."""
        found, values = tables.read_table(folder / name)
        if len(found) != len(keys) or (found != keys).any():
            raise ValueError(
                f"{folder}: {name} and {self.scp} do not list the same utterances in the same order."
                f" Run {self.stage} again."
            )
        return values

    def digests(self, folder: Path) -> dict[str, str]:
        """A digest of each table that an index is made of."""
        names = (self.scp, self.lengths, *self.others)
        return {name: digests.of_file(folder / name) for name in names if (folder / name).is_file()}

    def stat(self, folder: Path, files: Words) -> list[os.stat_result]:
        """Size and times of the files that the scp names; ValueError for one that is not there."""
        found = []
        for file in files.tolist():
            try:
                found.append(os.stat(os.fsdecode(file)))
            except FileNotFoundError:
                raise ValueError(
                    f"{folder}/{self.scp} points to {text(file)}, which does not exist. Relative paths start at the"
                    f" folder where {self.stage} ran. Is its disk mounted?"
                ) from None
        return found

    def sizes(self, folder: Path, files: Words) -> str:
        """What stands in for a table of lengths where there is none: sizes of the files, and when they were written."""
        if (folder / self.lengths).is_file():
            return ""
        found = self.stat(folder, files)
        return digests.of_value([[file.st_size, file.st_mtime_ns] for file in found])


def read_scp(path: str | Path) -> tuple[Words, Words, NDArray[np.int64]]:
    """Keys, ark paths and byte offsets of a scp whose values are `path.ark:offset`."""
    keys, values = tables.read_table(path)
    characters = tables.characters(values)
    width = characters.shape[1]
    colon = width - 1 - (characters[:, ::-1] == ord(":")).argmax(axis=1)
    wrong = characters[np.arange(len(values)), colon] != ord(":")
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(
            f"{path}:{line + 1}: expected {text(keys[line])} path.ark:offset, found {text(values[line])!r}."
        )
    begins = np.arange(len(values), dtype=np.int64) * width
    ends = begins + np.char.str_len(values)
    flat = characters.reshape(-1)
    offsets = tables.integers(tables.gather(flat, begins + colon + 1, ends), path)
    return keys, tables.gather(flat, begins, begins + colon), offsets


def of_columns(keys: Words, paths: Words, offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> Index:
    """The index of rows that each name their file; cheap when rows of a file stand together."""
    first_of_run = np.concatenate([[True], paths[1:] != paths[:-1]])
    files, number_of_run = np.unique(paths[first_of_run], return_inverse=True)
    file_of_row = number_of_run.astype(np.int32)[np.cumsum(first_of_run) - 1]
    return Index(keys, files, file_of_row, offsets, lengths)


def load(folder: Path, kind: ArchiveKind, opened: bytes = b"") -> Index:
    """The index of a folder: mapped, and made first unless it is there; in memory where it cannot be written.

    `opened` is the head of what another process has: the same rows, or a ValueError. A file of it is known by its
    first line, and not hashed once more.
    """
    found = _mapped_as(folder, kind, opened) if opened.endswith(b"\n") else _open(folder, kind)
    if found is None or (opened and _tables_of(found.head) != _tables_of(opened)):
        raise ValueError(f"{folder}: {kind.name} or its tables were changed while in use. Start this step again.")
    return found


def mapped(folder: Path, kind: ArchiveKind) -> Index | None:
    """The columns of the index on disk; None where it is missing, damaged, or not of the tables that are there."""
    try:
        with open(folder / kind.name, "rb") as stream:
            head = _head(stream)
            about = artifacts.from_json(head)
            if (about["version"], about["tables"]) != (_VERSION, kind.digests(folder)):
                log.info("%s/%s is not of the tables beside it", folder, kind.name)
                return None
            chunks = iter(lambda: stream.read(_CHUNK_BYTES), b"")
            if _digest_of(about, chunks) != about["digest"]:
                raise ValueError("its contents are not those that were written")
            found = _map(stream, head)
        if about["sizes"] == kind.sizes(folder, found.files):
            return found
        log.info("%s/%s is not of the files that its tables name", folder, kind.name)
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, OSError) as error:
        log.warning("%s/%s is damaged (%s)", folder, kind.name, error)
    return None


def _open(folder: Path, kind: ArchiveKind) -> Index:
    found = mapped(folder, kind)
    if found is not None:
        return found
    found = _of_tables(folder, kind)
    try:
        directories.remove_temporaries(folder, kind.name, _SECONDS_OF_A_WRITER)
        head = _write(folder, kind, found)
    except OSError as error:
        log.info("%s: its tables are read, since %s cannot be written (%s)", folder, kind.name, error)
        return found
    return _mapped_as(folder, kind, head) or found


def _mapped_as(folder: Path, kind: ArchiveKind, head: bytes) -> Index | None:
    """The index on disk if its first line is `head`."""
    try:
        with open(folder / kind.name, "rb") as stream:
            return _map(stream, head) if _head(stream) == head else None
    except (OSError, ValueError):
        return None


def _tables_of(head: bytes) -> Any:
    """The digests of the tables that an index is of."""
    return artifacts.from_json(head)["tables"]


def _of_tables(folder: Path, kind: ArchiveKind) -> Index:
    """The rows by the tables, which are hashed before they are read: of what changes between, no index comes to fit."""
    kind.require(folder, kind.scp)
    head = json.dumps({"version": _VERSION, "tables": kind.digests(folder)}).encode()
    return replace(kind.read(folder), head=head)


def _write(folder: Path, kind: ArchiveKind, index: Index) -> bytes:
    """Write the columns below a first line, which is returned."""
    end, places = 0, {}
    for name in _COLUMNS:
        values = getattr(index, name)
        places[name] = [values.dtype.str, len(values), end]
        end += values.nbytes + -values.nbytes % _ALIGNMENT
    about = {**json.loads(index.head), "sizes": kind.sizes(folder, index.files), "columns": places}
    line = json.dumps({**about, "digest": _digest_of(about, _stretches(index))}).encode()
    head = line + b" " * (-(len(line) + 1) % _ALIGNMENT) + b"\n"
    with artifacts.replacing(folder / kind.name, "wb") as stream:
        stream.write(head)
        stream.writelines(_stretches(index))
    return head


def _digest_of(about: Mapping[str, Any], columns: Iterable[memoryview | bytes]) -> str:
    """The digest of the first line and of the columns."""
    line = json.dumps([about[name] for name in ("version", "tables", "sizes", "columns")]).encode()
    return digests.of_chunks(itertools.chain([line], columns))


def _stretches(index: Index) -> Iterator[memoryview | bytes]:
    """The bytes of each column, and what fills them up to a multiple of the alignment."""
    for name in _COLUMNS:
        values = np.ascontiguousarray(getattr(index, name)).view(np.uint8)
        yield values.data
        yield bytes(-values.nbytes % _ALIGNMENT)


def _head(stream: BinaryIO) -> bytes:
    head = stream.readline(_MOST_BYTES_OF_HEAD)
    if not head.endswith(b"\n") or len(head) % _ALIGNMENT:
        raise ValueError("no index")
    return head


def _map(stream: BinaryIO, head: bytes) -> Index:
    contents = np.memmap(stream, dtype=np.uint8, mode="r")
    columns = {}
    for name in _COLUMNS:
        kind, rows, begin = json.loads(head)["columns"][name]
        dtype = np.dtype(kind)
        if not dtype.isnative:
            raise ValueError("made on a machine with another order of bytes")
        stretch = np.asarray(contents[len(head) + begin :][: rows * dtype.itemsize])
        columns[name] = stretch.view(dtype)
    return Index(**columns, head=head)
