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
_UNKNOWN_LENGTHS = ((0x7FFFF000, 0x80000000), (0xFFFFF000, 0xFFFFFFFF))  # what writers to a pipe put there: sox, ffmpeg
_MOST_STRAY_BYTES = 1024  # behind the samples that are no chunk: tags, padding
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
    magic = stream.read(12)[:4]
    if magic not in (b"RIFF", b"RIFX"):
        return None
    found, wanted, order = "no format", False, "<" if magic == b"RIFF" else ">"
    while len(chunk := stream.read(8)) == 8:
        name, length = struct.unpack(f"{order}4sI", chunk)
        if name == b"data":
            is_unknown = any(least <= length <= most for least, most in _UNKNOWN_LENGTHS)
            return Samples(stream.tell(), None if is_unknown else length, found, wanted)
        place = stream.tell()
        body = stream.read(40 if name == b"fmt " else 0)[:length]
        if len(body) >= _FORMAT.size and order == "<":
            kind, channels, rate, _, _, bits = _FORMAT.unpack_from(body)
            if kind == _EXTENSIBLE and body[24:40] == _PCM_GUID:
                kind = _PCM
            found = _words(kind, channels, rate, bits)
            wanted = (kind, channels, rate, bits) == (_PCM, 1, SAMPLE_RATE_HZ, 16)
        stream.seek(place + length + length % 2)
    return None


def cut_short(missing: int) -> str:
    """The words for a file that lacks so many bytes."""
    return f"cut short: {missing} bytes of the samples that its header announces are missing"


def fault(stream: BinaryIO, alone: bool = True) -> str:
    """What is wrong with the length that a RIFF file announces, or ""; libsndfile would read it as a shorter one.

    `alone` is False for an entry of an ark, behind which others follow.
    """
    found = locate(stream)
    return "" if found is None else fault_of(found, stream, alone)


def fault_of(found: Samples, stream: BinaryIO, alone: bool = True) -> str:
    """The same of a file whose samples were located."""
    if found.announced is None:
        return ""
    size, end = stream.seek(0, io.SEEK_END), found.offset + found.announced
    if end > size:
        return cut_short(end - size)
    over = _stray_bytes(stream, end + end % 2, size) if alone else 0
    if over > _MOST_STRAY_BYTES or (found.announced == 0 and over > 1):
        return (
            f"its header announces {found.announced} bytes of samples, and {over} bytes that belong to nothing follow:"
            " was it closed by its writer? Write it anew (sox --ignore-length in.wav out.wav)"
        )
    return ""


def _stray_bytes(stream: BinaryIO, place: int, size: int) -> int:
    """How many bytes from `place` to the end of the file are in no chunk."""
    while place + 8 <= size:
        stream.seek(place)
        name, length = struct.unpack("<4sI", stream.read(8))
        if not (name.isascii() and name.decode().isprintable()) or place + 8 + length > size:
            break
        place += 8 + length + length % 2
    return max(0, size - place)


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
