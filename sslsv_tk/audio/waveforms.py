"""The samples of a stretch of a file in blocks, as libsndfile reads it or as ffmpeg decoded it, at the rate it has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from sslsv_tk.audio import headers, resampling, sound
from sslsv_tk.audio.resampling import Channel
from sslsv_tk.audio.sound import Header, UnreadableAudio

_BLOCK = 2**20  # samples that are treated at a time
Stretch = tuple[float, float] | None


@dataclass(frozen=True)
class Source:
    """What to decode.

    `path` is a file, or a command that ends with "|" and writes one; `channel` is the one to take; `seconds` are those
    to cut from it. `is_response` says that it is a room response.
    """

    path: str
    channel: Channel = "mix"
    seconds: Stretch = None
    is_response: bool = False

    def __post_init__(self) -> None:
        resampling.check_channel(self.channel)

    @property
    def is_command(self) -> bool:
        return sound.is_command(self.path)


@dataclass(frozen=True)
class Waveform:
    """Blocks (n, channels), int16 or with full scale at 1, of `samples` in all; one with an error ends the reading.

    `overshoots` says that the stretch was to end behind the file, whose end it has now.
    """

    source: Source
    blocks: Iterator[NDArray[Any]]
    samples: int
    rate_hz: int
    channels: int
    overshoots: bool


def of_decoded(source: Source, samples: NDArray[np.floating], rate_hz: int) -> Waveform:
    """The stretch of samples (n, channels) that ffmpeg decoded, of either byte order."""
    header = Header(rate_hz, samples.shape[1], len(samples))
    start, end, overshoots = _bounds(source, header)
    blocks = (
        samples[begin : min(begin + _BLOCK, end)].astype(np.float32, copy=False) for begin in range(start, end, _BLOCK)
    )
    return Waveform(source, blocks, end - start, rate_hz, header.channels, overshoots)


def of_file(source: Source, header: Header, path: str = "") -> Waveform:
    """The stretch of a file that libsndfile knows, which lies at `path` where the source is a command."""
    start, end, overshoots = _bounds(source, header)
    blocks = _read(source.path, path or source.path, start, end)
    return Waveform(source, blocks, end - start, header.rate_hz, header.channels, overshoots)


def _bounds(source: Source, header: Header) -> tuple[int, int, bool]:
    """First and last sample (exclusive) of the stretch, and whether it was to end later."""
    try:
        start, end = sound.samples_of_cut(source.seconds, header.rate_hz, header.samples)
    except UnreadableAudio as fault:
        raise UnreadableAudio(f"{source.path}: {fault}") from None
    return start, end, sound.overshoots(source.seconds, header.rate_hz, header.samples)


def _read(name: str, path: str, start: int, end: int) -> Iterator[NDArray[Any]]:
    """Blocks of the samples [start, end); UnreadableAudio where there are fewer than the header says."""
    found = 0
    with headers.opened(name, path) as file:
        kind = "int16" if file.subtype == "PCM_16" else "float32"
        try:
            _go_to(file, start)
            for begin in range(start, end, _BLOCK):
                block = file.read(min(_BLOCK, end - begin), dtype=kind, always_2d=True)
                found += len(block)
                yield block
        except soundfile.SoundFileError as error:
            raise UnreadableAudio(f"{name}: {headers.reason(error)}") from None
    if found != end - start:
        raise UnreadableAudio(f"{name}: cut short: expected {end - start} samples from {start}, found {found}")


def _go_to(file: soundfile.SoundFile, start: int) -> None:
    """Set a file to a sample; one that does not know its length cannot seek and is read up to there."""
    if headers.knows_length(file):
        file.seek(start)
        return
    for begin in range(0, start, _BLOCK):
        file.read(min(_BLOCK, start - begin), dtype="int16")
