r"""Matrices in Kaldi arks as bytes: what a header says, and rows of a matrix without the rest of it.

    \0B FM  \4 rows \4 columns           float32, row after row
    \0B DM  \4 rows \4 columns           float64, row after row
    \0B CM2 minimum range rows columns   16-bit, row after row: minimum + range / 65535 * value
    \0B CM3 minimum range rows columns   8-bit, row after row: minimum + range / 255 * value
    \0B CM  minimum range rows columns   four quantiles per column, then 8-bit, column after column

Of all but the last, rows [start, start + count) are one stretch of bytes; CM is read whole.
(Kaldi, src/matrix/compressed-matrix.h.)
"""

import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Compression = Literal["none", "cm2"]
KINDS = ("FM", "DM", "CM2", "CM3", "CM")
COLUMN_MAJOR = "CM"
MOST_HEADER_BYTES = 22
_HEADER_BYTES = {"FM": 15, "DM": 15, "CM2": 22, "CM3": 22, "CM": 21}
_ITEMS: dict[str, np.dtype[Any]] = {
    "FM": np.dtype("<f4"),
    "DM": np.dtype("<f8"),
    "CM2": np.dtype("<u2"),
    "CM3": np.dtype("u1"),
}
_STEPS = {"CM2": np.float32(65535.0), "CM3": np.float32(255.0)}
_MOST_VALUE = 1e30  # beyond it 65,535 steps of a damaged header overflow in float32
_PLAIN = struct.Struct("<4xxbibi")  # after \0BFM and a space: size of an integer, rows, size, columns
_COMPRESSED = struct.Struct("<ffii")


@dataclass(frozen=True)
class MatrixHeader:
    """Kind and size of a matrix; of the compressed kinds also what turns integers into values."""

    kind: str
    rows: int
    columns: int
    minimum: float = 0.0
    range: float = 0.0

    def place_of_row(self, row: int) -> int:
        """Bytes from the start of the entry to a row."""
        return _HEADER_BYTES[self.kind] + row * self.columns * _ITEMS[self.kind].itemsize

    @property
    def size(self) -> int:
        """Bytes of the whole entry, its header included."""
        if self.kind == COLUMN_MAJOR:
            return _HEADER_BYTES[self.kind] + self.columns * (8 + self.rows)
        return self.place_of_row(self.rows)


def parse_header(found: bytes) -> MatrixHeader | None:
    """The header at the beginning of `found`; None where none begins, or one of no sensible size or values."""
    name = found[2:6].partition(b" ")[0].decode("ascii", errors="replace")
    if found[:2] != b"\0B" or name not in KINDS or len(found) < _HEADER_BYTES[name]:
        return None
    if name in ("FM", "DM"):
        row_size, rows, column_size, columns = _PLAIN.unpack_from(found)
        header = MatrixHeader(name, rows, columns) if (row_size, column_size) == (4, 4) else None
    else:
        minimum, extent, rows, columns = _COMPRESSED.unpack_from(found, _HEADER_BYTES[name] - _COMPRESSED.size)
        in_range = abs(minimum) < _MOST_VALUE and abs(extent) < _MOST_VALUE  # false for what is no number
        header = MatrixHeader(name, rows, columns, minimum, extent) if in_range else None
    return header if header is not None and header.rows > 0 and header.columns > 0 else None


def decode_rows(header: MatrixHeader, stretch: bytes) -> NDArray[np.float32]:
    """Rows of any kind but CM from their bytes: (rows, columns)."""
    items = np.frombuffer(stretch, dtype=_ITEMS[header.kind]).reshape(-1, header.columns)
    if header.kind not in _STEPS:
        return items.astype(np.float32)
    values = items.astype(np.float32)
    return np.float32(header.minimum) + values * np.float32(header.range) / _STEPS[header.kind]


def decode_columns(header: MatrixHeader, entry: bytes, start: int, count: int) -> NDArray[np.float32]:
    """Rows [start, start + count) of the column-major kind CM from its whole entry: (count, columns).

    A byte stands for a value between two of the column's quantiles (0, 1/4, 3/4 and 1 of its values): 0 to 64, 64 to
    192 and 192 to 255 run from one to the next.
    """
    begin = _HEADER_BYTES[COLUMN_MAJOR]
    quantiles = np.frombuffer(entry, "<u2", 4 * header.columns, begin).reshape(-1, 4).astype(np.float32)
    quantiles = np.float32(header.minimum) + np.float32(header.range / 65535.0) * quantiles
    codes = np.frombuffer(entry, np.uint8, offset=begin + 8 * header.columns).reshape(header.columns, header.rows)
    codes = codes[:, start : start + count].astype(np.float32)
    low, first, third, high = (quantiles[:, number, None] for number in range(4))
    values = np.where(
        codes <= 64,
        low + (first - low) * codes / 64,
        np.where(
            codes <= 192, first + (third - first) * (codes - 64) / 128, third + (high - third) * (codes - 192) / 63
        ),
    )
    return np.ascontiguousarray(values.T)


def encode(matrix: NDArray[np.float32], compression: Compression = "none") -> bytes:
    """A matrix (rows, columns) as an entry, from the header on: float32, or 16 bits that span its values."""
    rows, columns = matrix.shape
    if compression == "none":
        return struct.pack("<2s3sbibi", b"\0B", b"FM ", 4, rows, 4, columns) + matrix.astype("<f4").tobytes()
    minimum, maximum = np.float32(matrix.min()), np.float32(matrix.max())
    extent = maximum - minimum if maximum > minimum else np.float32(1.0 + abs(minimum))
    steps = np.rint((matrix.astype(np.float64) - minimum) / np.float64(extent) * 65535.0)
    header = b"\0BCM2 " + _COMPRESSED.pack(minimum, extent, rows, columns)
    return header + np.clip(steps, 0, 65535).astype("<u2").tobytes()
