"""Audio files of any kind to 16 kHz mono 16-bit samples, and their headers.

libsndfile reads wav, flac, ogg, opus, mp3 and what else it knows; ffmpeg decodes MPEG-4 (m4a, mp4), ADTS (aac) and
what libsndfile does not know, many files by one process. Which of the two a file needs is seen from its first bytes.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs
from sslsv_tk.audio import ffmpeg, headers, resampling, waveforms
from sslsv_tk.audio.ffmpeg import Decoded
from sslsv_tk.audio.headers import UnknownFormat
from sslsv_tk.audio.resampling import Channel
from sslsv_tk.audio.sound import Header, UnreadableAudio, ark_entry
from sslsv_tk.audio.waveforms import Source
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.segments import SAMPLE_RATE_HZ

log = logs.logger("decoding")
_MOST_SOURCES = 1024  # of a batch
_MOST_FILES = 32  # that one ffmpeg process decodes: two file descriptors each
_MOST_BYTES = 2**26  # of samples that a batch of ffmpeg's keeps, unless one file has more
_BYTES_PER_COMPRESSED_BYTE = 32  # what samples take where the length is not known
_ALWAYS_FFMPEG = (b".m4a", b".mp4", b".aac")


@dataclass
class Tally:
    """How many sources had which rate and how many channels, to be said once."""

    rates_hz: Counter[int] = field(default_factory=Counter)
    mixed: Counter[int] = field(default_factory=Counter)

    def count(self, rate_hz: int, channels: int, channel: Channel) -> None:
        self.rates_hz[rate_hz] += 1
        if channel == "mix" and channels > 1:
            self.mixed[channels] += 1

    def add(self, rates_hz: Mapping[str, int], mixed: Mapping[str, int]) -> None:
        """Take in the counts of another tally, as JSON has them."""
        self.rates_hz.update({int(rate): int(count) for rate, count in rates_hz.items()})
        self.mixed.update({int(channels): int(count) for channels, count in mixed.items()})

    def say(self) -> None:
        """Log what was resampled and mixed; nothing where nothing was."""
        rates = {rate: count for rate, count in sorted(self.rates_hz.items()) if rate != SAMPLE_RATE_HZ}
        if rates:
            counts = ", ".join(f"{count} from {rate} Hz" for rate, count in rates.items())
            log.info("resampled to %d Hz: %s; of %d utterances", SAMPLE_RATE_HZ, counts, self.rates_hz.total())
        if self.mixed:
            counts = ", ".join(f"{count} with {channels} channels" for channels, count in sorted(self.mixed.items()))
            log.info("mixed down to one channel: %s; of %d utterances", counts, self.rates_hz.total())


def check_programs(paths: Words) -> None:
    """ValueError where files by these names need ffmpeg and it is not installed: said before any work is done."""
    for suffix in _ALWAYS_FFMPEG:
        needing = np.char.endswith(np.char.lower(paths), suffix)
        if needing.any():
            ffmpeg.require(text(paths[needing.argmax()]))


def decode(
    files: Iterable[Source], tally: Tally | None = None
) -> Iterator[tuple[int, NDArray[np.int16] | UnreadableAudio]]:
    """The number of each source and its samples at 16 kHz, (samples,) int16, or what is wrong with it, in order.

    16-bit samples at 16 kHz of one channel come out bit for bit, all others as resampling.py says. Commands are run:
    whoever takes sources from a table asks the user first. Memory holds the samples of one batch of ffmpeg's (64 MiB
    or one file) and of one source.
    """
    tally = tally or Tally()
    for batch in _batches(files):
        found = ffmpeg.decode(batch.files)
        for row, source in batch.sources:
            yield row, _samples_or_fault(source, batch, found, tally)


@dataclass
class _Batch:
    """Sources that are decoded together; `files` are those for ffmpeg, `faults` what libsndfile cannot read."""

    sources: list[tuple[int, Source]] = field(default_factory=list)
    files: dict[str, Header | None] = field(default_factory=dict)
    faults: dict[str, UnreadableAudio] = field(default_factory=dict)
    expected_bytes: int = 0

    def is_full(self) -> bool:
        return (
            len(self.sources) >= _MOST_SOURCES
            or len(self.files) >= _MOST_FILES
            or (bool(self.files) and self.expected_bytes >= _MOST_BYTES)
        )

    def add(self, row: int, source: Source) -> None:
        """Take one more source; a file that is decoded already serves it too."""
        self.sources.append((row, source))
        path = source.path
        if source.is_command or path in self.files or path in self.faults:
            return
        try:
            header, is_container = headers.inspect(path)
            if is_container:
                self.files[path] = header
                self.expected_bytes += 4 * header.samples * header.channels
        except UnreadableAudio as fault:
            self.faults[path] = fault
            if isinstance(fault, UnknownFormat) and ffmpeg.is_installed() and not ark_entry(path):
                self.files[path] = None
                self.expected_bytes += _BYTES_PER_COMPRESSED_BYTE * os.path.getsize(path)


def _batches(files: Iterable[Source]) -> Iterator[_Batch]:
    batch = _Batch()
    for row, source in enumerate(files):
        if batch.is_full() and source.path not in batch.files:
            yield batch
            batch = _Batch()
        batch.add(row, source)
    yield batch


def _samples_or_fault(
    source: Source, batch: _Batch, found: Mapping[str, Decoded | UnreadableAudio], tally: Tally
) -> NDArray[np.int16] | UnreadableAudio:
    fault, decoded = batch.faults.get(source.path), found.get(source.path)
    if isinstance(decoded, UnreadableAudio):
        return UnreadableAudio(f"{fault}; {str(decoded).removeprefix(f'{source.path}: ')}") if fault else decoded
    if fault is not None and decoded is None:
        return fault
    try:
        if decoded is not None:
            waveform = waveforms.of_decoded(source, decoded.samples, decoded.rate_hz)
        else:
            waveform = waveforms.of_command(source) if source.is_command else waveforms.of_file(source)
        tally.count(waveform.rate_hz, waveform.channels, source.channel)
        return resampling.to_pcm16(source.path, waveform.samples, waveform.rate_hz)
    except UnreadableAudio as error:
        return error
