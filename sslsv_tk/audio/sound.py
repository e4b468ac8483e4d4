"""What a file of sound is: opening it, its kind by its first bytes, its header, the error where it is unusable."""

import io
import math
import os
import re
import stat
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.kaldi.tables import Words

FileFormat = Literal["mp4", "adts", "other"]
_TOP_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")
_PIPE = "|"
MOST_OVERSHOOT_SECONDS = 0.5  # of the ends of segments, as in Kaldi's extract-segments
_ARK_ENTRY = re.compile(r"(.+\.ark):(\d+)")


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


class _FromByte(io.FileIO):
    """A file that begins at a byte of another one."""

    def __init__(self, path: str, first: int) -> None:
        super().__init__(path)
        self._first = first
        self.seek(0)

    def seek(self, place: int, whence: int = io.SEEK_SET, /) -> int:
        """Places count from the first byte."""
        return super().seek(place + self._first if whence == io.SEEK_SET else place, whence) - self._first

    def tell(self) -> int:
        """Places count from the first byte."""
        return super().tell() - self._first


def is_command(path: str) -> bool:
    """Is a value of wav.scp a command, whose output is the audio?"""
    return path.rstrip().endswith(_PIPE)


def are_commands(values: Words) -> NDArray[np.bool_]:
    """(N,) the same for a column."""
    return np.char.endswith(np.char.rstrip(values), _PIPE.encode())


def ark_entry(path: str) -> tuple[str, int] | None:
    """The ark and the byte of `file.ark:byte`, which Kaldi's and ESPnet's tables use; None for a plain file."""
    match = _ARK_ENTRY.fullmatch(path)
    return (match[1], int(match[2])) if match and not os.path.exists(path) else None


def open_file(path: str) -> BinaryIO:
    """Open a file, or an entry of an ark, for reading; OSError or UnreadableAudio where it cannot be."""
    entry = ark_entry(path)
    if entry is None:
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            raise UnreadableAudio(f"{path}: a pipe or a device, not a file")  # opening it could wait for ever
        return open(path, "rb")
    size = os.path.getsize(entry[0])
    if entry[1] >= size:
        raise UnreadableAudio(f"{path}: the ark has {size} bytes only")
    return io.BufferedReader(_FromByte(*entry))


def kind_of_file(stream: BinaryIO) -> FileFormat:
    """What an open file is by its first bytes; ID3 tags before the audio are passed over."""
    start = bytes_at(stream, start_of(stream), 10)
    if start[4:8] in _TOP_ATOMS:
        return "mp4"
    return "adts" if is_adts(start) else "other"


def start_of(stream: BinaryIO) -> int:
    """The byte at which an open file begins behind its ID3 tags."""
    place = 0
    while (start := bytes_at(stream, place, 10))[:3] == b"ID3" and len(start) == 10:
        place += 10 + id3_bytes(start)
    return place


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


def samples_of_cut(seconds: tuple[float, float] | None, rate_hz: int, samples: int) -> tuple[int, int]:
    """First and last sample (exclusive) of a cut of a file of so many samples; an infinite end is that of the file.

    An end up to 0.5 s behind that of the file is cut there, as Kaldi does: times in tables are rounded. UnreadableAudio
    where it is later, and where the cut is empty.
    """
    if seconds is None:
        return 0, samples
    first, last = seconds[0] * rate_hz, seconds[1] * rate_hz
    if not math.isinf(seconds[1]) and not last <= samples + MOST_OVERSHOOT_SECONDS * rate_hz:
        raise UnreadableAudio(
            f"a cut ends at {seconds[1]:g} s, more than {MOST_OVERSHOOT_SECONDS} s behind the file of"
            f" {samples / rate_hz:g} s"
        )
    end = min(samples, samples if math.isinf(last) else round(last))
    start = round(min(first, end))
    if end <= start:
        cut, length = f"{seconds[0]:g} s to {seconds[1]:g} s", samples / rate_hz
        raise UnreadableAudio(f"a cut from {cut} has no samples in a file of {length:g} s")
    return start, end


def overshoots(seconds: tuple[float, float] | None, rate_hz: int, samples: int) -> bool:
    """Was a cut to end behind the file? To the end of the file is not behind it."""
    return seconds is not None and not math.isinf(seconds[1]) and round(seconds[1] * rate_hz) > samples
