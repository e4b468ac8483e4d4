"""Matrices as bytes: kaldiio reads what is written, and what kaldiio writes is read, whole and by rows."""

import io
import struct

import kaldiio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sslsv_tk.arks import matrices
from sslsv_tk.arks.matrices import MatrixHeader, decode_columns, decode_rows, encode, parse_header

KALDIIO_KINDS = {"FM": None, "CM": 2, "CM2": 3, "CM3": 5}  # name: kaldiio's compression_method


def features(rows: int, columns: int = 40) -> np.ndarray:
    return np.random.default_rng(rows).normal(-5, 4, (rows, columns)).astype(np.float32)


def by_kaldiio(matrix: np.ndarray, method: int | None = None) -> bytes:
    """The entry that kaldiio writes, without its key."""
    stream = io.BytesIO()
    kaldiio.save_ark(stream, {"k": matrix}, compression_method=method)
    return stream.getvalue()[2:]


def read_by_kaldiio(entry: bytes) -> np.ndarray:
    return next(iter(kaldiio.load_ark(io.BytesIO(b"k " + entry))))[1]


def test_float_entries_are_byte_for_byte_those_of_kaldiio():
    assert encode(features(17)) == by_kaldiio(features(17))


@pytest.mark.parametrize("kind", KALDIIO_KINDS)
def test_headers_and_rows_of_what_kaldiio_writes(kind):
    entry = by_kaldiio(features(23), KALDIIO_KINDS[kind])
    header = parse_header(entry[: matrices.MOST_HEADER_BYTES])
    assert header is not None and (header.kind, header.rows, header.columns) == (kind, 23, 40)
    assert header.size == len(entry)
    expected = read_by_kaldiio(entry)
    if kind == "CM":
        np.testing.assert_allclose(decode_columns(header, entry, 0, 23), expected, rtol=0, atol=5e-6)
        np.testing.assert_array_equal(decode_columns(header, entry, 5, 4), decode_columns(header, entry, 0, 23)[5:9])
    else:
        part = entry[header.place_of_row(5) : header.place_of_row(9)]
        np.testing.assert_array_equal(decode_rows(header, part), expected[5:9])


def value_of_a_byte(code: int, quantiles: list[float]) -> float:
    """As CharToFloat of Kaldi's compressed-matrix.cc has it."""
    low, first, third, high = quantiles
    if code <= 64:
        return low + (first - low) * code * (1 / 64.0)
    if code <= 192:
        return first + (third - first) * (code - 64) * (1 / 128.0)
    return third + (high - third) * (code - 192) * (1 / 63.0)


def test_every_byte_of_the_column_major_kind_is_what_kaldi_says():
    steps = np.array([[0, 100, 700, 65535], [9, 9, 9, 9], [5, 60, 61, 1000]], dtype="<u2")
    codes = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 193)]).astype(np.uint8)
    header = MatrixHeader("CM", 256, 3, -16.0, 40.0)
    entry = b"\0BCM " + struct.pack("<ffii", -16.0, 40.0, 256, 3) + steps.tobytes() + codes.tobytes()
    assert parse_header(entry) == header and header.size == len(entry)
    found = decode_columns(header, entry, 100, 156)
    assert found.shape == (156, 3) and found.dtype == np.float32 and found.flags.c_contiguous
    for column in range(3):
        quantiles = [-16.0 + 40.0 / 65535 * int(step) for step in steps[column]]
        wanted = [value_of_a_byte(int(code), quantiles) for code in codes[column, 100:]]
        np.testing.assert_allclose(found[:, column], wanted, rtol=0, atol=1e-5)


def test_doubles_are_read_as_floats():
    matrix = features(6).astype(np.float64) + 1e-12
    entry = by_kaldiio(matrix)
    header = parse_header(entry)
    assert header == MatrixHeader("DM", 6, 40) and header.size == len(entry)
    np.testing.assert_array_equal(decode_rows(header, entry[15:]), matrix.astype(np.float32))


@given(arrays.arrays(np.float32, (7, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_16_bits_are_wrong_by_half_a_step_at_most_and_kaldiio_reads_the_same(matrix):
    entry = encode(matrix, "cm2")
    header = parse_header(entry)
    assert header is not None and len(entry) == header.size == 22 + 2 * matrix.size
    found = decode_rows(header, entry[22:])
    np.testing.assert_array_equal(found, read_by_kaldiio(entry))
    rounding = 4 * np.finfo(np.float32).eps * (np.abs(matrix).max() + header.range)
    assert np.abs(found.astype(np.float64) - matrix).max() <= header.range / 65535 / 2 + rounding


def test_16_bits_of_log_mel_are_exact_to_a_thousandth():
    matrix = features(800)
    entry = encode(matrix, "cm2")
    assert np.abs(read_by_kaldiio(entry) - matrix).max() < 1e-3


def test_a_constant_matrix_stays_constant():
    for value in (0.0, -13.8, 1e6):
        matrix = np.full((4, 2), value, np.float32)
        np.testing.assert_array_equal(read_by_kaldiio(encode(matrix, "cm2")), matrix)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"RIFF....WAVEfmt ......",
        b" [\n  1 2 ]",
        b"\0BFV \4\1\0\0\0" + bytes(20),
        b"\0BFM \4\1\0\0\0\4",
        b"\0BFM \4\0\0\0\0\4\1\0\0\0" + bytes(20),
        b"\0BFM \4\xff\xff\xff\xff\4\1\0\0\0" + bytes(20),
        b"\0BFM \x08\1\0\0\0\4\1\0\0\0" + bytes(20),
        b"\0BCM2 \0\0\xc0\x7f\0\0\0\0\1\0\0\0\1\0\0\0",
    ],
    ids=["empty", "audio", "text", "vector", "cut", "no rows", "negative", "long integers", "NaN"],
)
def test_what_is_no_matrix_has_no_header(wrong):
    assert parse_header(wrong) is None


@given(st.binary(max_size=30), st.sampled_from([b"", b"\0BFM ", b"\0BDM ", b"\0BCM ", b"\0BCM2 ", b"\0BCM3 "]))
def test_any_bytes_are_a_sensible_header_or_none(rest, beginning):
    header = parse_header((beginning + rest)[: matrices.MOST_HEADER_BYTES])
    assert header is None or (header.rows > 0 and header.columns > 0 and abs(header.range) < 1e30)
