"""Headers and samples of audio files: lengths without decoding, and decoding to 16 bits."""

import concurrent.futures
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from sslsv_tk.segments import SAMPLE_RATE_HZ

_UNKNOWN_LENGTH = 0x7FFFF000  # writers to a pipe put this or more into the size of the data chunk
_FEW = 512  # files whose headers are read without a pool of processes


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


def read_header(path: str) -> Header:
    """The header of a file; UnreadableAudio where it is damaged, has no samples, or announces more than there is."""
    with _opened(path) as file:
        return _checked_header(path, file)


def _checked_header(path: str, file: soundfile.SoundFile) -> Header:
    header = Header(file.samplerate, file.channels, file.frames)
    if header.samples <= 0 or header.samples > 2**48:
        raise UnreadableAudio(f"{path}: no samples in it")
    missing = _missing_bytes(path)
    if missing:
        raise UnreadableAudio(
            f"{path}: cut short: {missing} bytes of the samples that its header announces are missing"
        )
    return header


def _opened(path: str) -> soundfile.SoundFile:
    try:
        if os.path.getsize(path) == 0:
            raise UnreadableAudio(f"{path}: an empty file")
        return soundfile.SoundFile(path)
    except (OSError, soundfile.SoundFileError) as error:
        reason = error.strerror if isinstance(error, OSError) else getattr(error, "error_string", str(error))
        raise UnreadableAudio(f"{path}: {reason}") from None


def _missing_bytes(path: str) -> int:
    """How many bytes of the data chunk of a RIFF file are not there; libsndfile reads such a file as a shorter one."""
    with open(path, "rb") as stream:
        if stream.read(12)[:4] != b"RIFF":
            return 0
        size = os.fstat(stream.fileno()).st_size
        while len(chunk := stream.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                return 0 if length >= _UNKNOWN_LENGTH else max(0, stream.tell() + length - size)
            stream.seek(length + length % 2, os.SEEK_CUR)
    return 0


def read_headers(paths: Sequence[str]) -> Iterator[Header | UnreadableAudio]:
    """The header of each path in order, or what is wrong with it; many files are read by a pool of processes."""
    if len(paths) <= _FEW:
        yield from map(_header_or_fault, paths)
        return
    with concurrent.futures.ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(_header_or_fault, paths, chunksize=256)


def _header_or_fault(path: str) -> Header | UnreadableAudio:
    try:
        return read_header(path)
    except UnreadableAudio as fault:
        return fault


def read_pcm16(path: str, channel: int | None = None, seconds: tuple[float, float] | None = None) -> NDArray[np.int16]:
    """The samples of a 16 kHz file, (samples,) int16; 16-bit PCM comes out bit for bit.

    `channel` counts from 1 and says which one to take; None demands a mono file. `seconds` is a stretch of the
    file. Other sample formats are rounded to 16 bits and limited to full scale.
    """
    with _opened(path) as file:
        announced = _checked_header(path, file)
        _check_format(path, announced, channel)
        start, end = 0, announced.samples
        if seconds is not None:
            start, end = (round(second * SAMPLE_RATE_HZ) for second in seconds)
        if end > announced.samples:
            raise UnreadableAudio(f"{path}: a cut ends at sample {end}, but the file has {announced.samples}")
        found = _decode(path, file, start, end - start)
    if len(found) != end - start:
        raise UnreadableAudio(f"{path}: cut short: expected {end - start} samples from {start}, found {len(found)}")
    return _as_pcm16(path, found[:, (channel or 1) - 1])


def _check_format(path: str, found: Header, channel: int | None) -> None:
    if found.rate_hz != SAMPLE_RATE_HZ or (channel is None and found.channels != 1):
        raise ValueError(
            f"{path}: expected {SAMPLE_RATE_HZ} Hz mono, found {found.rate_hz} Hz, {found.channels} channel(s)."
            " Convert the files first."
        )
    if channel is not None and not 1 <= channel <= found.channels:
        raise ValueError(f"{path}: channel {channel} asked for, found {found.channels} channel(s).")


def _decode(path: str, file: soundfile.SoundFile, start: int, count: int) -> NDArray[np.int16] | NDArray[np.float64]:
    """(count, channels): int16 where the file has 16-bit PCM, else float64 in [-1, 1]."""
    try:
        file.seek(start)
        return file.read(count, dtype="int16" if file.subtype == "PCM_16" else "float64", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UnreadableAudio(f"{path}: {error}") from None


def _as_pcm16(path: str, waveform: NDArray[np.int16] | NDArray[np.float64]) -> NDArray[np.int16]:
    if waveform.dtype == np.int16:
        return np.ascontiguousarray(waveform, dtype=np.int16)
    if not np.isfinite(waveform).all():
        raise UnreadableAudio(f"{path}: NaN or infinite samples")
    return np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
