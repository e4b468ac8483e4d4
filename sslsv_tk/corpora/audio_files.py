"""Audio files below a folder: which there are, their sizes, and a digest that tells a changed folder.

A listing holds arrays, not objects: a million files take about a hundred bytes each.
"""

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests, logs
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.kaldi.utterance_ids import AUDIO_SUFFIXES, without_suffix

log = logs.logger("corpora")
SUFFIXES = AUDIO_SUFFIXES
_READ = frozenset(suffix.encode() for suffix in SUFFIXES)
_CONVERTIBLE = frozenset(
    (
        b".sph",
        b".amr",
        b".wma",
        b".webm",
        b".mka",
        b".mkv",
        b".aif",
        b".aiff",
        b".au",
        b".raw",
        b".caf",
        b".w64",
        b".rf64",
        b".oga",
        b".3gp",
        b".mp2",
        b".wv",
        b".ape",
    )
)


@dataclass(frozen=True)
class AudioListing:
    """Audio files below `folder`: relative paths sorted as bytes, sizes in bytes (0: a link that points nowhere)."""

    folder: str
    relative: Words
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.relative)

    def paths(self) -> Words:
        """Absolute paths."""
        return tables.joined(os.fsencode(self.folder) + b"/", self.relative)

    def stems(self) -> Words:
        """Paths below the folder without suffix."""
        return without_suffix(self.relative)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "AudioListing":
        """Some of the files."""
        return AudioListing(self.folder, self.relative[rows], self.sizes[rows])

    def digest(self) -> str:
        """A digest of paths and sizes: tells a changed corpus without reading its audio."""
        return digest([self])


def digest(listings: Iterable[AudioListing]) -> str:
    """The digest of several listings, in this order."""
    return digests.of_chunks(lines for listing in listings for lines in _lines(listing))


def _lines(listing: AudioListing) -> Iterator[bytes]:
    """A path and a size per line, many lines at a time."""
    for block in tables.blocks(len(listing)):
        pairs = zip(listing.relative[block].tolist(), listing.sizes[block].tolist(), strict=True)
        yield b"".join(b"%b %d\n" % pair for pair in pairs)


def find(folder: str | Path) -> AudioListing:
    """All audio files at any depth; hidden files are passed over, links are followed, files of other kinds are said.

    ValueError where the folder is missing, has none, or holds a link to a folder around it.
    """
    top = os.path.abspath(folder)
    if not os.path.isdir(top):
        raise ValueError(f"{folder}: no such folder. Give the folder that holds the audio.")
    walk = _Walk(os.fsencode(top))
    if not walk.sizes:
        hint = f" There are files such as {walk.first_other}, which need conversion first." if walk.others else ""
        raise ValueError(f"{folder}: no audio file at any depth; expected {', '.join(SUFFIXES)}.{hint}")
    if walk.others:
        kinds = ", ".join(f"{count} {kind.decode()}" for kind, count in sorted(walk.others.items()))
        words = (folder, kinds, walk.first_other, ", ".join(SUFFIXES))
        log.warning("%s: passed over: %s, such as %s; convert them to have them used: only %s are read", *words)
    ends = np.frombuffer(walk.ends, dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    relative = tables.gather(np.frombuffer(walk.names, dtype=np.uint8), starts, ends)
    order = np.argsort(relative, kind="stable")
    return AudioListing(top, relative[order], np.frombuffer(walk.sizes, dtype=np.int64)[order])


class _Walk:
    """The files below a folder in growing buffers: all names one after the other, where each ends, and the sizes."""

    def __init__(self, top: bytes) -> None:
        self.top = top
        self.names = bytearray()
        self.ends, self.sizes = array("q"), array("q")
        self.others: Counter[bytes] = Counter()
        self.first_other = ""
        waiting = [b""]
        while waiting:
            waiting += self._list(waiting.pop())

    def _list(self, below: bytes) -> list[bytes]:
        """Take the files of one folder; returns the folders in it."""
        folders = []
        with os.scandir(self.top + b"/" + below) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                relative = below + entry.name
                if _is_folder(entry):
                    if entry.is_symlink():
                        self._refuse_loop(relative)
                    folders.append(relative + b"/")
                else:
                    self._take(relative, entry)
        return folders

    def _take(self, relative: bytes, entry: "os.DirEntry[bytes]") -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in _READ:
            self.names += relative
            self.ends.append(len(self.names))
            self.sizes.append(_size(entry))
        elif suffix in _CONVERTIBLE:
            self.first_other = self.first_other or os.fsdecode(self.top + b"/" + relative)
            self.others[suffix] += 1

    def _refuse_loop(self, relative: bytes) -> None:
        """A link to a folder that holds the link would be walked for ever."""
        target, parts = os.stat(self.top + b"/" + relative), relative.split(b"/")
        for depth in range(len(parts)):
            around = b"/".join([self.top, *parts[:depth]])
            if os.path.samestat(target, os.stat(around)):
                raise ValueError(
                    f"{os.fsdecode(self.top + b'/' + relative)} is a link to {os.fsdecode(around)}, the folder around"
                    " it. Remove the link."
                )


def _is_folder(entry: "os.DirEntry[bytes]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle of links
        return False


def _size(entry: "os.DirEntry[bytes]") -> int:
    """Bytes; 0 for a link that points nowhere (it is named as unreadable when its header is read)."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0
