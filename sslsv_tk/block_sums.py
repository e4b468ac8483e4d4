"""A checksum for each 64 KiB block of a file, so that any stretch of it can be compared without the rest.

`wav.1.ark.sums` holds the CRC-32 of the blocks of wav.1.ark, 4 bytes each (little-endian), one after the other. A CRC
notices every single flipped bit, and misses one of four billion other changes of a block. The digest of the sums
stands in the record of whatever wrote the file (records.py), which links the blocks to all that is made of them.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts

BLOCK_BYTES = 2**16
_READ_BLOCKS = 64
Sums = NDArray[np.uint32]


def path_of(file: str | Path) -> Path:
    """Where the sums of a file lie: beside it."""
    return Path(f"{file}.sums")


class BlockSums:
    """The sums of a file that is being written, piece by piece."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._sum, self._filled = 0, 0

    def update(self, piece: bytes | memoryview) -> None:
        """The next bytes of the file."""
        view = memoryview(piece).cast("B")
        while len(view):
            part = view[: BLOCK_BYTES - self._filled]
            self._sum = zlib.crc32(part, self._sum)
            self._filled += len(part)
            if self._filled == BLOCK_BYTES:
                self._end_block()
            view = view[len(part) :]

    def _end_block(self) -> None:
        self._done += self._sum.to_bytes(4, "little")
        self._sum, self._filled = 0, 0

    def write(self, path: Path) -> None:
        """Write the sums of all that was given; the last block may be short."""
        if self._filled:
            self._end_block()
        with artifacts.replacing(path, "wb") as stream:
            stream.write(self._done)


def read(file: str | Path) -> Sums:
    """The sums (blocks,) that lie beside a file."""
    return np.fromfile(path_of(file), dtype="<u4")


def beside(file: str | Path) -> Sums | None:
    """The sums of a file, None where there are none."""
    return read(file) if path_of(file).is_file() else None


def of_stretch(contents: bytes) -> Iterator[int]:
    """The sum of each block of bytes that begin with a block."""
    view = memoryview(contents)
    for begin in range(0, len(view), BLOCK_BYTES):
        yield zlib.crc32(view[begin : begin + BLOCK_BYTES])


def first_damaged(contents: bytes, sums: Sums) -> int | None:
    """The number of the first block of `contents`, which begin with a block, that has not the sum it should have."""
    for number, found in enumerate(of_stretch(contents)):
        if number >= len(sums) or sums[number] != found:
            return number
    return None


def damaged_blocks(file: str | Path) -> list[int]:
    """The numbers of the blocks that are not as they were written, of a file that is read whole.

    A block that is missing, or that no sum is known of, is one of them.
    """
    sums, found = read(file), list[int]()
    with open(file, "rb") as stream:
        while chunk := stream.read(BLOCK_BYTES * _READ_BLOCKS):
            found += of_stretch(chunk)
    most = max(len(sums), len(found))
    return [block for block in range(most) if block >= min(len(sums), len(found)) or sums[block] != found[block]]
