"""MP3 (ISO/IEC 11172-3 and 13818-3): its frames, counted, where nothing in the file says how many there are.

    [ID3 ...] frame frame frame ... [TAG ...]       a frame: 4 bytes of head, which give rate and bytes, and the rest
              ^ may hold a table (Xing, Info) with the number of frames and bytes, as most encoders write it

Without that table libsndfile estimates the length from the first bit rate, and reads no further than that.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from sslsv_tk.audio.sound import bytes_at, id3_bytes

_KILOBITS = {  # by (is it MPEG-1?, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44100, 48000, 32000)
_RATE_DIVISORS = {3: 1, 2: 2, 0: 4}  # MPEG-1, MPEG-2, MPEG-2.5 by two bits of the head
_MOST_STRAY_BYTES = 4096  # that may stand between frames or behind the last one: tags, padding


@dataclass(frozen=True)
class Frames:
    """What a file holds: rate, channels, samples of all whole frames, and what is wrong with it ("": nothing).

    `has_table` says that a table at its beginning gives its length, so that libsndfile knows it.
    """

    rate_hz: int
    channels: int
    samples: int
    has_table: bool
    fault: str = ""


@dataclass(frozen=True)
class _Head:
    rate_hz: int
    channels: int
    samples: int
    length: int
    table_at: int


def _head(word: bytes) -> _Head | None:
    """What the 4 bytes before a frame say; None where they are no head (or of a free bit rate)."""
    if len(word) < 4 or word[0] != 0xFF or word[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate, bits = word[1] >> 3 & 3, 4 - (word[1] >> 1 & 3), word[2] >> 2 & 3, word[2] >> 4
    if version not in _RATE_DIVISORS or layer == 4 or rate == 3 or not 1 <= bits <= 14:
        return None
    is_first = version == 3
    rate_hz = _RATES_HZ[rate] // _RATE_DIVISORS[version]
    bit_rate, padding = 1000 * _KILOBITS[is_first, layer][bits - 1], word[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_first else 1152
    slot = 4 if layer == 1 else 1
    length = (samples // 8 // slot * bit_rate // rate_hz + padding) * slot
    channels = 1 if word[3] >> 6 == 3 else 2
    side_bytes = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}[is_first, channels]
    return _Head(rate_hz, channels, samples, length, 4 + side_bytes)


def read_frames(stream: BinaryIO, start: int) -> Frames | None:
    """The frames of an MP3 file from byte `start` on; None where no frame begins there.

    A table at the beginning is believed where the file is as long as it says; else the frames are counted.
    """
    contents = bytes_at(stream, start, _MOST_STRAY_BYTES + 4096)
    place = _next_head(contents, 0)
    head = _head(contents[place : place + 4]) if place is not None else None
    if place is None or head is None:
        return None
    size = stream.seek(0, os.SEEK_END)
    frames, length = _table(contents[place : place + head.length], head)
    if frames is not None:
        over = 0 if length is None else size - start - place - length
        if over < -head.length:  # some encoders count the frame with the table, others do not
            fault = f"cut short: {-over} bytes that it announces are missing"
            return Frames(head.rate_hz, head.channels, 0, True, fault)
        if over <= _MOST_STRAY_BYTES:
            return Frames(head.rate_hz, head.channels, frames * head.samples, True)
    return _count(memoryview(bytes_at(stream, start, size - start)), place, frames)


def _table(frame: bytes, head: _Head) -> tuple[int | None, int | None]:
    """The numbers of frames and bytes that the table in the first frame gives; None for what it does not."""
    place = head.table_at
    if frame[place : place + 4] not in (b"Xing", b"Info"):
        return None, None
    flags = struct.unpack_from(">I", frame, place + 4)[0]
    numbers = struct.unpack_from(f">{(flags & 1) + (flags >> 1 & 1)}I", frame, place + 8)
    return (numbers[0] if flags & 1 else None), (numbers[-1] if flags & 2 else None)


def _next_head(contents: bytes | memoryview, place: int) -> int | None:
    """Where the next frame begins, at most a few bytes on, known by the head of the one after it; None: nowhere."""
    for begin in range(place, min(place + _MOST_STRAY_BYTES, len(contents) - 3)):
        found = _head(bytes(contents[begin : begin + 4]))
        if found and (begin + found.length + 4 > len(contents) or _head(bytes(contents[begin + found.length :][:4]))):
            return begin
    return None


def _count(contents: memoryview, place: int, announced: int | None) -> Frames:
    """All frames from `place` on, the one with the table not among them.

    A table that announces another number is that of one of several files which were put together.
    """
    first = _head(bytes(contents[place : place + 4]))
    assert first is not None
    samples, fault = _samples(contents, place + (first.length if announced is not None else 0), first)
    if announced is not None and samples != announced * first.samples:
        fault = fault or f"damaged: its table announces {announced} frames, {samples // first.samples} are there"
    return Frames(first.rate_hz, first.channels, samples, announced is not None, fault)


def _tag_bytes(start: bytes) -> int:
    """How long a tag between or behind the frames is, by its first 32 bytes; 0 where it is none."""
    if start[:3] == b"ID3" and len(start) >= 10:
        return 10 + id3_bytes(start)
    if start[:8] == b"APETAGEX" and len(start) == 32:
        return 32 + int(struct.unpack_from("<I", start, 12)[0])
    return 128 if start[:3] == b"TAG" else 0


def _samples(contents: memoryview, place: int, first: _Head) -> tuple[int, str]:
    """How many samples the frames from `place` on hold, and what is wrong with them."""
    samples, fault = 0, ""
    while place + 4 <= len(contents):
        head = _head(bytes(contents[place : place + 4]))
        if head is None or head.rate_hz != first.rate_hz:
            tag = _tag_bytes(bytes(contents[place : place + 32]))
            following = place + tag if tag else _next_head(contents, place + 1)
            if following is None:
                over = len(contents) - place
                if over > _MOST_STRAY_BYTES:
                    fault = f"damaged: {over} bytes that are no frames follow {samples} samples"
                break
            place = following
            continue
        if place + head.length > len(contents):
            fault = f"cut short: {place + head.length - len(contents)} bytes of its last frame are missing"
            break
        samples += head.samples
        place += head.length
    return samples, fault
