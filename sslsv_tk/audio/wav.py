"""RIFF/WAV files of 16 kHz mono 16-bit samples: their header, and where in a file the samples are.

RIFF size WAVE  fmt_ 16 (format, channels, rate, ...)  [other chunks]  data size s0 s1 s2 ...
"""

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from sslsv_tk.segments import SAMPLE_RATE_HZ

HEADER_BYTES = 44
MOST_SAMPLES = (2**32 - 1 - HEADER_BYTES) // 2
_HEADER = struct.Struct("<4sI8sIHHIIHH4sI")
_FORMAT = struct.Struct("<HHIIHH")
_UNKNOWN_LENGTH = 0x7FFFF000  # writers to a pipe put this or more into the size of the data chunk
_PCM, _EXTENSIBLE = 1, 0xFFFE
_PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


@dataclass(frozen=True)
class Samples:
    """Where the samples of a RIFF file stand, in bytes: the first, and how many it announces (None: unknown).

    `format` says what they are, `is_packed_kind` whether that is 16 kHz mono 16-bit PCM.
    """

    offset: int
    announced: int | None
    format: str
    is_packed_kind: bool


def header(samples: int) -> bytes:
    """The 44 bytes before `samples` samples of 16 kHz mono 16-bit PCM."""
    size, rate = 2 * samples, SAMPLE_RATE_HZ
    return _HEADER.pack(b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)


def describe(start: bytes) -> str:
    """What 44 bytes of header say, for a message."""
    if len(start) < HEADER_BYTES or start[:4] != b"RIFF" or start[8:16] != b"WAVEfmt ":
        return f"no RIFF header but {start[:16]!r}"
    _, _, _, _, kind, channels, rate, _, _, bits, _, size = _HEADER.unpack(start)
    samples = size // max(1, channels * bits // 8)
    return f"{_words(kind, channels, rate, bits)}, {samples} samples"


def _words(kind: int, channels: int, rate: int, bits: int) -> str:
    return f"{rate} Hz, {channels} channel(s), {bits} bit, format {kind}"


def locate(stream: BinaryIO) -> Samples | None:
    """The samples of an open RIFF file; None where it is no RIFF file or has no data chunk."""
    if stream.read(12)[:4] != b"RIFF":
        return None
    found, wanted = "no format", False
    while len(chunk := stream.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":
            return Samples(stream.tell(), None if length >= _UNKNOWN_LENGTH else length, found, wanted)
        place = stream.tell()
        body = stream.read(40 if name == b"fmt " else 0)[:length]
        if len(body) >= _FORMAT.size:
            kind, channels, rate, _, _, bits = _FORMAT.unpack_from(body)
            if kind == _EXTENSIBLE and body[24:40] == _PCM_GUID:
                kind = _PCM
            found = _words(kind, channels, rate, bits)
            wanted = (kind, channels, rate, bits) == (_PCM, 1, SAMPLE_RATE_HZ, 16)
        stream.seek(place + length + length % 2)
    return None


def missing_bytes(stream: BinaryIO) -> int:
    """How many bytes of the data chunk are not there; libsndfile reads such a file as a shorter one."""
    found = locate(stream)
    return 0 if found is None else missing_of(found, stream.seek(0, io.SEEK_END))


def missing_of(found: Samples, size: int) -> int:
    """How many of the bytes that a file of `size` bytes announces are not there."""
    return 0 if found.announced is None else max(0, found.offset + found.announced - size)


def fault_of_stretch(stream: BinaryIO, begin: int, end: int) -> str:
    """What is wrong with reading the bytes [begin, end) of a RIFF file as 16 kHz mono 16-bit samples; "" if nothing."""
    found = locate(stream)
    if found is None:
        return "no RIFF file with samples"
    if not found.is_packed_kind:
        return f"expected {_words(_PCM, 1, SAMPLE_RATE_HZ, 16)}; found {found.format}"
    size = stream.seek(0, io.SEEK_END)
    last = size if found.announced is None else min(size, found.offset + found.announced)
    if begin < found.offset or (begin - found.offset) % 2 or end > last:
        return f"expected samples in the bytes {begin} to {end}; found them in {found.offset} to {last}"
    return ""
