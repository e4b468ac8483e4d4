"""One channel of a stretch of a file, as libsndfile reads it or as ffmpeg decoded it, at the rate it has."""

import io
import subprocess
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from sslsv_tk.audio import headers, resampling, sound, wav
from sslsv_tk.audio.resampling import Channel, Samples
from sslsv_tk.audio.sound import Header, UnreadableAudio

_BLOCK = 2**20  # samples that are mixed at a time
Stretch = tuple[float, float] | None


@dataclass(frozen=True)
class Source:
    """What to decode: a file, or a command that ends with "|" and writes one; which channel; seconds to cut from it."""

    path: str
    channel: Channel = "mix"
    seconds: Stretch = None

    def __post_init__(self) -> None:
        resampling.check_channel(self.channel)

    @property
    def is_command(self) -> bool:
        return sound.is_command(self.path)


@dataclass(frozen=True)
class Waveform:
    """Samples (n,) of one channel (int16, or full scale at 1), their rate, and how many channels there were."""

    samples: Samples
    rate_hz: int
    channels: int


def bounds(source: Source, header: Header) -> tuple[int, int]:
    """First and last sample (exclusive) of the stretch; UnreadableAudio where that is not in the file."""
    try:
        return sound.samples_of_cut(source.seconds, header.rate_hz, header.samples)
    except UnreadableAudio as fault:
        raise UnreadableAudio(f"{source.path}: {fault}") from None


def of_decoded(source: Source, samples: NDArray[np.float32], rate_hz: int) -> Waveform:
    """The stretch of samples (n, channels) that ffmpeg decoded."""
    start, end = bounds(source, Header(rate_hz, samples.shape[1], len(samples)))
    return Waveform(resampling.one_channel(source.path, samples[start:end], source.channel), rate_hz, samples.shape[1])


def of_file(source: Source) -> Waveform:
    """The stretch of a file that libsndfile knows."""
    with headers.opened(source.path, source.path) as file:
        return _read(source, file)


def of_command(source: Source) -> Waveform:
    """What a command writes to its standard output; UnreadableAudio with its words where it fails."""
    done = subprocess.run(
        ["sh", "-c", source.path.rstrip().removesuffix("|")], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
    if done.returncode != 0:
        raise UnreadableAudio(f"{source.path}: exit status {done.returncode}: {said or 'no message'}")
    output = io.BytesIO(done.stdout)
    try:
        if wav.missing_bytes(output):
            raise UnreadableAudio(f"{source.path}: cut short: its output is shorter than its header announces: {said}")
        output.seek(0)
        with headers.opened(source.path, output) as file:
            return _read(source, file)
    except headers.UnknownFormat as fault:
        raise UnreadableAudio(f"{fault}{f' ({said})' if said else ''}") from None


def _read(source: Source, file: soundfile.SoundFile) -> Waveform:
    header = headers.checked(source.path, Header(file.samplerate, file.channels, file.frames))
    start, end = bounds(source, header)
    kind = "int16" if file.subtype == "PCM_16" else "float32"
    blocks: list[Samples] = []
    try:
        file.seek(start)
        for begin in range(start, end, _BLOCK):
            block = file.read(min(_BLOCK, end - begin), dtype=kind, always_2d=True)
            blocks.append(resampling.one_channel(source.path, block, source.channel))
    except soundfile.SoundFileError as error:
        raise UnreadableAudio(f"{source.path}: {headers.reason(error)}") from None
    found: NDArray[Any] = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    if len(found) != end - start or len(found) == 0:
        raise UnreadableAudio(
            f"{source.path}: cut short: expected {end - start} samples from {start}, found {len(found)}"
        )
    return Waveform(found, header.rate_hz, header.channels)
