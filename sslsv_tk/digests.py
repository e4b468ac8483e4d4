"""Digests of contents: of bytes, files, columns and values, and of the entries of arks.

All are the first 128 bits of SHA-256, written as 32 hexadecimal digits: processors of today have instructions for it,
so it takes a fifth of the time of BLAKE2b (docs/log.md). They tell damaged and mistaken contents, and are no proof
against somebody who forges them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

SEAL = "digest"
"""The key of the digest that a sealed table holds of all the rest of it."""
_BYTES = 16
_CHUNK_BYTES = 2**18
_MODULUS: int = 2 ** (8 * _BYTES)


def of_chunks(chunks: Iterable[bytes | memoryview]) -> str:
    """The digest of stretches of bytes that stand one after the other."""
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()[: 2 * _BYTES]


def of_stretch(contents: bytes | memoryview) -> bytes:
    """32 bytes that stand for a long stretch of bytes in the digest of whatever it is a part of.

    So bytes that are part of two things, as the samples of a wav file and of an ark, are hashed once.
    """
    return hashlib.sha256(contents).digest()


def of_stretch_in(stream: BinaryIO, count: int) -> bytes:
    """The same of the next `count` bytes of a stream, or of as many as there are, a part of them at a time."""
    found, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    while count and (read := stream.readinto(buffer[:count])):  # type: ignore[attr-defined]
        found.update(buffer[:read])
        count -= read
    return found.digest()


def of_file(path: str | Path) -> str:
    """The digest of a whole file, whatever its size."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[: 2 * _BYTES]


def of_files(paths: Iterable[str | Path]) -> str:
    """The digest of whole files in this order: it knows where one ends and the next begins."""
    return of_value([of_file(path) for path in paths])


def of_value(value: Any) -> str:
    """The digest of a value that JSON can hold; the order of keys does not count."""
    return of_chunks([json.dumps(value, sort_keys=True).encode()])


def sealed(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table that JSON can hold, with a digest of all that it says."""
    value = json.loads(json.dumps(table))
    return {**value, SEAL: of_value(value)}


def unsealed(found: Any) -> dict[str, Any] | None:
    """What was sealed; None where it says something else than was written. KeyError or TypeError where nothing was."""
    digest = found[SEAL]
    value = {name: found[name] for name in found if name != SEAL}
    return value if of_value(value) == digest else None


def of_columns(columns: Iterable[NDArray[Any] | None]) -> str:
    """The digest of arrays with their types and lengths; None counts as well."""
    return of_chunks(_stretches(columns))


def _stretches(columns: Iterable[NDArray[Any] | None]) -> Iterator[bytes | memoryview]:
    for column in columns:
        if column is None:
            yield b"-"
        else:
            yield f"{column.dtype.str}{len(column)}:".encode()
            yield np.ascontiguousarray(column).view(np.uint8).data


class Contents:
    """The digest of entries, the same whatever their order and in how many files they lie.

    Each entry is hashed with its key, and the hashes are added modulo 2^128 (the additive hash of Bellare and
    Micciancio, 1997). So the parts that jobs wrote give the digest of the whole, however many jobs there were. Of an
    entry the long last piece (samples, frames) is hashed by itself, and its digest with what stands before it.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, head: bytes, stretch: bytes) -> None:
        """Take in one entry: its key and what else stands before its last piece, and the `of_stretch` of that."""
        found = hashlib.sha256(head + stretch)
        self._sum = (self._sum + int.from_bytes(found.digest()[:_BYTES], "little")) % _MODULUS

    def hexdigest(self) -> str:
        """The digest of what has been added."""
        return self._sum.to_bytes(_BYTES, "little").hex()


def joined(contents: Iterable[str]) -> str:
    """The digest of the entries of several files, of the digest of Contents of each."""
    total = sum(int.from_bytes(bytes.fromhex(each), "little") for each in contents) % _MODULUS
    return total.to_bytes(_BYTES, "little").hex()
