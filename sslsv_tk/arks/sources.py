"""What the audio files of a set held when it was packed: a digest for each utterance, of the file that it was cut from.

OUT/sources            16 bytes for each row of OUT/wav.scp, in its order; zeros where a command gave the samples
OUT/.sources.stamps    for each row size, time and inode (8 bytes each): a file that still has them is not hashed again
"""

import contextlib
import os
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests
from sslsv_tk.audio import sound, wav
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.stamps import RACY_NS, Stamp, stamp_of

SOURCES = "sources"
_CHUNK_BYTES = 2**18
_NONE = bytes(16)
_UNKNOWN = (-1, -1, -1)


@dataclass(frozen=True)
class KnownSamples:
    """Samples that were hashed already: how many bytes they have, and their digests.of_stretch."""

    count: int
    stretch: bytes


class SourceDigests:
    """The digests of files as they are packed, an utterance after the other."""

    def __init__(self) -> None:
        self._digests, self._stamps = bytearray(), array("q")
        self._last: tuple[bytes, bytes, Stamp] | None = None

    def add(self, value: bytes, known: KnownSamples | None = None) -> None:
        """The next utterance was cut from this file, or comes from this command.

        `known` are its samples, where the utterance is the whole file as it is: then they are not hashed again.
        """
        if self._last is None or self._last[0] != value:
            self._last = (value, *_look_at(value, known))
        self._digests += self._last[1]
        self._stamps.extend(self._last[2])

    def write(self, path: Path) -> None:
        """Write digests and, beside them, stamps."""
        _write(path, self._digests, np.array(self._stamps, dtype=np.int64))


def _look_at(value: bytes, known: KnownSamples | None = None) -> tuple[bytes, Stamp]:
    """Digest and stamp of a file."""
    path = os.fsdecode(value)
    if sound.is_command(path):
        return _NONE, _UNKNOWN
    stamp = stamp_of(_file_of(path))
    is_racy = stamp[1] + RACY_NS > time.time_ns()
    return bytes.fromhex(_digest_of(_file_of(path), known)), _UNKNOWN if is_racy else stamp


def _file_of(path: str) -> str:
    """The file that holds a value of wav.scp: of an entry of an ark the ark."""
    entry = sound.ark_entry(path)
    return path if entry is None else entry[0]


def _digest_of(path: str, known: KnownSamples | None) -> str:
    """The digest of every byte of a file; of a wav file like those of an ark its samples are one stretch of it."""
    with open(path, "rb") as stream:
        found = wav.locate(stream)
        if found is None or not found.is_packed_kind or not found.announced:
            return digests.of_file(path)
        stream.seek(0)
        head = stream.read(found.offset)
        if known is not None and known.count == found.announced:
            stretch = known.stretch
            stream.seek(found.offset + known.count)
        else:
            stretch = digests.of_stretch_in(stream, found.announced)
        return digests.of_chunks([head, stretch, *iter(lambda: stream.read(_CHUNK_BYTES), b"")])


def stamps_of(path: Path) -> Path:
    """Where the stamps lie that belong to digests."""
    return path.with_name(f".{path.name}.stamps")


def _write(path: Path, found: bytes | bytearray, stamps: NDArray[np.int64]) -> None:
    with artifacts.replacing(path, "wb") as stream:
        stream.write(found)
    stamps.tofile(stamps_of(path))


def join(parts: list[Path], path: Path, order: NDArray[np.intp] | None = None) -> None:
    """Digests and stamps of all parts as those of the whole; `order` (N,): where its rows stand in the parts."""
    found = np.concatenate([np.fromfile(part, dtype="V16") for part in parts])
    stamps = np.concatenate([np.fromfile(stamps_of(part), dtype=np.int64) for part in parts]).reshape(-1, 3)
    if order is not None:
        found, stamps = found[order], stamps[order]
    _write(path, found.tobytes(), stamps)


def changed(folder: Path, values: Words, every: bool = False) -> list[str]:
    """The files, of the `values` (N,) of a wav.scp, that have other contents than those that `folder` was packed of.

    A file that is gone is not one of them: its audio is packed. `every`: also files with unchanged stamps are hashed.
    """
    path = folder / SOURCES
    known = np.fromfile(path, dtype=np.dtype("V16"))
    stamps = _read_stamps(path, len(known))
    if len(known) != len(values):
        raise ValueError(f"{path} is not of the utterances of {folder}/wav.scp. Run stage 3 with --force true.")
    faults, hashed, last = [], False, b""
    for row, value in enumerate(values.tolist()):
        if value == last or known[row].tobytes() == _NONE:
            continue
        last = value
        try:
            if not every and tuple(stamps[row].tolist()) == stamp_of(_file_of(os.fsdecode(value))):
                continue
            digest, stamp = _look_at(value)
        except FileNotFoundError:
            continue
        if digest != known[row].tobytes():
            faults.append(text(value))
        else:
            stamps[row], hashed = stamp, True
    if hashed:
        with contextlib.suppress(OSError):  # without stamps the files are hashed once more
            stamps.tofile(stamps_of(path))
    return faults


def _read_stamps(path: Path, rows: int) -> NDArray[np.int64]:
    """(N, 3); those of nothing where they are missing or damaged."""
    try:
        found = np.fromfile(stamps_of(path), dtype=np.int64)
    except OSError:
        found = np.zeros(0, dtype=np.int64)
    return found.reshape(-1, 3) if len(found) == 3 * rows else np.full((rows, 3), -1, dtype=np.int64)
