"""What a file of sound is: its kind by its first bytes, its header, and the error where it is unusable."""

from dataclasses import dataclass
from typing import BinaryIO, Literal

Kind = Literal["mp4", "adts", "other"]
_TOP_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")


class UnreadableAudio(ValueError):
    """An audio file without usable samples: missing, empty, cut short, damaged, or with NaN in it."""


@dataclass(frozen=True)
class Header:
    """What the header of an audio file says; `samples` are per channel."""

    rate_hz: int
    channels: int
    samples: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate_hz


def kind_of_file(stream: BinaryIO) -> Kind:
    """What an open file is by its first bytes; ID3 tags before the audio are passed over."""
    place = 0
    while (start := bytes_at(stream, place, 10))[:3] == b"ID3" and len(start) == 10:
        place += 10 + id3_bytes(start)
    if start[4:8] in _TOP_ATOMS:
        return "mp4"
    return "adts" if is_adts(start) else "other"


def is_adts(start: bytes) -> bool:
    """Do twelve bits of synchronisation and the layer 0 of AAC stand there? (MP3 has another layer.)"""
    return len(start) >= 2 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0


def id3_bytes(start: bytes) -> int:
    """Length of a tag after its first ten bytes: four times seven bits."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=True))


def bytes_at(stream: BinaryIO, place: int, count: int) -> bytes:
    """Up to `count` bytes from `place` on."""
    stream.seek(place)
    return stream.read(count)
