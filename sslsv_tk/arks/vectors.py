"""Kaldi float vectors in arks, all of one length: a binary FV, the number of values, and the values in fp32.

N vectors, D values.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.arks.indexes import read_scp
from sslsv_tk.kaldi.tables import Words, text

_VECTOR = np.dtype([("marker", "S6"), ("dimension", "<i4")])  # then that many float32
_MARKER = b"\0BFV \4"


def read_vectors(ark: str, offsets: NDArray[np.int64], keys: Words) -> NDArray[np.float32]:
    """(N, D) the vectors of one ark that begin at the offsets, mapped and copied; one that is not whole is named."""
    contents = np.memmap(ark, dtype=np.uint8, mode="r") if Path(ark).stat().st_size else np.zeros(0, dtype=np.uint8)
    _refuse(offsets + _VECTOR.itemsize > len(contents), ark, keys, "lie beyond the end of the file")
    headers = contents[offsets[:, None] + np.arange(_VECTOR.itemsize)].view(_VECTOR)[:, 0]
    _refuse(headers["marker"] != _MARKER, ark, keys, "are not Kaldi float vectors")
    dimension = int(headers["dimension"][0])
    _refuse(headers["dimension"] != dimension, ark, keys, f"do not have {dimension} values as the first one does")
    starts = offsets + _VECTOR.itemsize
    _refuse(starts + 4 * dimension > len(contents), ark, keys, "are cut short")
    vectors = np.empty((len(offsets), dimension), dtype=np.float32)
    for row, start in enumerate(starts.tolist()):
        vectors[row] = np.frombuffer(contents, "<f4", dimension, start)
    return vectors


def vector_blocks(scp: str | Path, rows: int = 2**15) -> Iterator[NDArray[np.float32]]:
    """All vectors of a table, in its order, up to `rows` at a time: 64 MiB of 512 values; a block is of one ark."""
    keys, arks, offsets = read_scp(Path(scp))
    borders = np.flatnonzero(arks[1:] != arks[:-1]) + 1
    for part in np.split(np.arange(len(keys)), borders):
        for first in range(0, len(part), rows):
            block = part[first : first + rows]
            yield read_vectors(text(arks[block[0]]), offsets[block], keys[block])


def _refuse(wrong: NDArray[np.bool_], ark: str, keys: Words, what: str) -> None:
    if wrong.any():
        count, first = int(wrong.sum()), text(keys[wrong.argmax()])
        raise ValueError(f"{ark}: {count} of {len(keys)} embeddings {what}, the first is {first}. Run stage 6 again.")
