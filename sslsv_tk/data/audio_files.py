"""Audio files of corpora: finding them below a folder, and what identifies them."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".wav", ".flac")
_CONVERTIBLE = (".m4a", ".aac", ".mp3", ".ogg", ".opus", ".sph")


@dataclass(frozen=True, order=True)
class AudioFile:
    """A file below a corpus folder: its path relative to that folder, the folder, and its size in bytes."""

    relative: str
    folder: str
    size: int

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.relative}"

    @property
    def stem(self) -> str:
        """The relative path without the suffix."""
        return self.relative.rpartition(".")[0]


def find(folder: str | Path) -> list[AudioFile]:
    """All wav and flac files at any depth, sorted by path; hidden files are passed over.

    ValueError where the folder is missing or has none.
    """
    top = os.path.abspath(folder)
    if not os.path.isdir(top):
        raise ValueError(f"{folder}: no such folder. Give the folder that holds the audio.")
    others: list[str] = []
    found = sorted(_walk(top, "", others))
    if not found:
        hint = f" There are files such as {others[0]}, which need conversion to wav or flac first." if others else ""
        raise ValueError(f"{folder}: no .wav or .flac file at any depth.{hint}")
    return found


def _walk(top: str, below: str, others: list[str]) -> Iterator[AudioFile]:
    with os.scandir(f"{top}/{below}") as entries:
        for entry in entries:
            relative, suffix = below + entry.name, os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(top, f"{relative}/", others)
            elif suffix in SUFFIXES:
                yield AudioFile(relative, top, _size(entry))
            elif suffix in _CONVERTIBLE:
                others.append(f"{top}/{relative}")


def _size(entry: "os.DirEntry[str]") -> int:
    """Bytes; 0 for a link that points nowhere (it is named as unreadable when its header is read)."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def check_name(file: AudioFile, key: str) -> str:
    """`key`, or a ValueError where the path cannot give a key of a table."""
    if len(key.split()) != 1 or not key.isprintable():
        raise ValueError(
            f"{file.path!r}: white space, control characters or bytes that are not UTF-8 cannot be in an id. Rename it."
        )
    return key


def listing(files: Iterable[AudioFile]) -> str:
    """A digest of the paths and sizes of files: tells a changed corpus without reading its audio."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative} {file.size}\n".encode("utf-8", errors="surrogateescape"))
    return digest.hexdigest()[:16]
