"""Entries written into an ark one after the other, with the place of each, the digest of all, and sums of blocks."""

import contextlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from sslsv_tk import artifacts, block_sums, digests
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.tables import Words


class ArkWriter:
    """Writes `key entry` to a stream from its beginning on; `offsets` are where the entries begin, after their keys."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._end = stream, 0
        self.offsets = array("q")
        self.contents, self.sums = digests.Contents(), block_sums.BlockSums()

    def write(self, key: bytes, body: bytes | memoryview, header: bytes = b"", stretch: bytes | None = None) -> None:
        """Write one entry: key, header and body; `stretch` is digests.of_stretch of the body where that is known."""
        label = key + b" "
        self.offsets.append(self._end + len(label))
        for piece in (label + header, body):
            self._stream.write(piece)
            self._end += len(piece)
            self.sums.update(piece)
        self.contents.add(label + header, stretch or digests.of_stretch(body))

    def places(self, ark: Path) -> Words:
        """`ark:offset` of each entry, the values of a scp."""
        return tables.joined(str(ark).encode(), b":", tables.as_words(np.array(self.offsets)))


@contextlib.contextmanager
def writing_ark(path: str | Path) -> Iterator[ArkWriter]:
    """A block that writes an ark: it appears whole when the block ends without an error, its sums after it."""
    with artifacts.replacing(path, "wb") as stream:
        writer = ArkWriter(stream)
        yield writer
    writer.sums.write(block_sums.path_of(path))
