"""Where the samples of each utterance of dump/raw/SET stand: from its tables, or from a binary copy that is mapped.

audio.index holds the columns of an AudioIndex as they are in memory, so that all loader workers and jobs of a machine
share one copy of its pages, and opening a million rows takes as long as hashing the files:

    a line of JSON, padded with spaces: tables and their digests, columns and their places, digest of what follows
    keys ... files ... file_of_row ... offsets ... samples ...        each column begins at a multiple of 64 bytes

The tables are what counts: an index that is not theirs, or is damaged, is passed over.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.data import riff, tables
from sslsv_tk.data.directories import DataDirectory
from sslsv_tk.data.tables import Words, text

log = logs.logger("audio_index")
NAME = "audio.index"
OFFSETS = "utt2offset"  # only where audio lies in files of its own: the byte of the first sample
_TABLES = ("wav.scp", "segments", "utt2samples", OFFSETS)
_VERSION = "sslsv_tk audio index 1"
_ALIGNMENT = 64
_MOST_BYTES_OF_HEAD = 2**16
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class AudioIndex:
    """One row per utterance: its key, the row of its file in `files`, an offset in bytes and its length in samples.

    Offsets are those of wav.scp, before the header of an ark's entry, or, where the folder has utt2offset, of the first
    sample in a wav file. `head` is the first line of the file that the columns are mapped from, None where they are
    in memory.
    """

    keys: Words
    files: Words
    file_of_row: NDArray[np.int32]
    offsets: NDArray[np.int64]
    samples: NDArray[np.int64]
    head: bytes | None = None


_COLUMNS = [field.name for field in fields(AudioIndex) if field.name != "head"]


def load(folder: Path) -> AudioIndex:
    """The index of a folder: mapped where audio.index is of its tables, read from the tables otherwise."""
    for name in ("wav.scp", "utt2samples"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name}, so not a folder of packed audio. Run stage 3 to make it.")
    found = mapped(folder)
    return from_tables(folder) if found is None else found


def is_in_place(folder: Path) -> bool:
    """Does the audio of the folder lie in wav files of its own, and not in arks?"""
    return (folder / OFFSETS).is_file()


def from_tables(folder: Path) -> AudioIndex:
    """The index by wav.scp, utt2samples and, where it is there, utt2offset (and segments)."""
    if is_in_place(folder):
        directory = DataDirectory.load(folder)
        keys, paths = directory.keys, directory.values
        offsets = tables.integers(column(folder, OFFSETS, keys), folder / OFFSETS)
    else:
        keys, paths, offsets = read_scp(folder / "wav.scp")
    samples = tables.integers(column(folder, "utt2samples", keys), folder / "utt2samples")
    wrong = (samples < 1) | (samples > riff.MOST_SAMPLES)
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(
            f"{folder}/utt2samples:{line + 1}: expected 1 to {riff.MOST_SAMPLES} samples, found {samples[line]}."
            " Run stage 3 again."
        )
    files, file_of_row = runs(paths)
    return AudioIndex(keys, files, file_of_row, offsets, samples)


def column(folder: Path, name: str, keys: Words) -> Words:
    """The values of a table whose keys must be `keys`, in the same order."""
    found, values = tables.read_table(folder / name)
    if len(found) != len(keys) or (found != keys).any():
        raise ValueError(
            f"{folder}: {name} and wav.scp do not list the same utterances in the same order. Run stage 3 again."
        )
    return values


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


def runs(words: Words) -> tuple[Words, NDArray[np.int32]]:
    """The distinct words and, for each row, the number of its word; cheap when equal words stand together."""
    first_of_run = np.concatenate([[True], words[1:] != words[:-1]])
    distinct, number_of_run = np.unique(words[first_of_run], return_inverse=True)
    return distinct, number_of_run.astype(np.int32)[np.cumsum(first_of_run) - 1]


def write(folder: Path) -> None:
    """Write audio.index from the tables of the folder, unless the one there is of them."""
    if mapped(folder) is not None:
        return
    index = from_tables(folder)
    end, places = 0, {}
    for name in _COLUMNS:
        values = getattr(index, name)
        places[name] = [values.dtype.str, len(values), end]
        end += len(_padded(values))
    about: dict[str, Any] = {"version": _VERSION, "tables": _digests(folder), "columns": places}
    digest = _digest_of(about)
    for name in _COLUMNS:
        digest.update(_padded(getattr(index, name)))
    head = json.dumps({**about, "digest": digest.hexdigest()}).encode()
    with artifacts.replacing(folder / NAME, "wb") as stream:
        stream.write(head + b" " * (-(len(head) + 1) % _ALIGNMENT) + b"\n")
        for name in _COLUMNS:
            stream.write(_padded(getattr(index, name)))


def _digest_of(about: Mapping[str, Any]) -> "hashlib._Hash":
    """A digest that has taken in the first line, and waits for the columns."""
    return hashlib.sha256(json.dumps([about[name] for name in ("version", "tables", "columns")]).encode())


def _padded(values: NDArray[Any]) -> bytes:
    """The bytes of a column up to a multiple of the alignment."""
    contents = np.ascontiguousarray(values).tobytes()
    return contents + bytes(-len(contents) % _ALIGNMENT)


def _digests(folder: Path) -> dict[str, str]:
    """A digest of each table that an index is made of."""
    found = {}
    for name in _TABLES:
        if (folder / name).is_file():
            with open(folder / name, "rb") as stream:
                found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def mapped(folder: Path) -> AudioIndex | None:
    """The columns of audio.index; None where it is missing, damaged, or not of the tables that are there."""
    try:
        with open(folder / NAME, "rb") as stream:
            head = _head(stream)
            about = artifacts.from_json(head)
            if about["version"] != _VERSION or about["tables"] != _digests(folder):
                log.warning("%s/%s is not of the tables beside it, which are read instead", folder, NAME)
                return None
            digest = _digest_of(about)
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
            if digest.hexdigest() != about["digest"]:
                raise ValueError("its contents are not those that were written")
        return _map(folder / NAME, head)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        log.warning("%s/%s is damaged (%s); the tables are read instead", folder, NAME, error)
        return None


def mapped_again(folder: Path, head: bytes) -> AudioIndex:
    """What another process has mapped: the file is known by its first line, and not hashed once more."""
    try:
        with open(folder / NAME, "rb") as stream:
            if _head(stream) == head:
                return _map(folder / NAME, head)
    except (OSError, ValueError):
        pass
    raise ValueError(f"{folder}/{NAME} was changed or removed while it was in use. Start this step again.")


def _head(stream: BinaryIO) -> bytes:
    head = stream.readline(_MOST_BYTES_OF_HEAD)
    if not head.endswith(b"\n") or len(head) % _ALIGNMENT:
        raise ValueError("no index")
    return head


def _map(path: Path, head: bytes) -> AudioIndex:
    contents = np.memmap(path, dtype=np.uint8, mode="r", offset=0)
    columns = {}
    for name in _COLUMNS:
        kind, rows, begin = json.loads(head)["columns"][name]
        dtype = np.dtype(kind)
        stretch = np.asarray(contents[len(head) + begin :][: rows * dtype.itemsize])
        columns[name] = stretch.view(dtype)
    return AudioIndex(**columns, head=head)
