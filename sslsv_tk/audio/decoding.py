"""Audio files of any kind to 16 kHz mono 16-bit samples, and their headers.

libsndfile reads wav, flac, ogg, opus, mp3 and what else it knows; ffmpeg decodes MPEG-4 (m4a, mp4), ADTS (aac), MP3
without a table of its length and what libsndfile does not know, many files by one process. Which of the two a file
needs is seen from its first bytes.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.audio import conversion, ffmpeg, headers, waveforms
from sslsv_tk.audio.commands import CommandOutputs
from sslsv_tk.audio.ffmpeg import Decoded
from sslsv_tk.audio.headers import UnknownFormat
from sslsv_tk.audio.sound import Header, UnreadableAudio, ark_entry
from sslsv_tk.audio.tally import Tally
from sslsv_tk.audio.waveforms import Source
from sslsv_tk.kaldi.tables import Words, text

_MOST_SOURCES = 1024  # of a batch
_MOST_FILES = 32  # that one ffmpeg process decodes: two file descriptors each
_MOST_BYTES = 2**26  # of samples that a batch of ffmpeg's keeps, unless one file has more
_BYTES_PER_COMPRESSED_BYTE = 32  # what samples take where the length is not known
_ALWAYS_FFMPEG = (b".m4a", b".mp4", b".aac")


def check_programs(paths: Words) -> None:
    """ValueError where files by these names need ffmpeg and it is not installed: said before any work is done."""
    for suffix in _ALWAYS_FFMPEG:
        needing = np.char.endswith(np.char.lower(paths), suffix)
        if needing.any():
            ffmpeg.require(text(paths[needing.argmax()]))


def decode(
    files: Iterable[Source], tally: Tally | None = None, uses: Mapping[str, int] | None = None
) -> Iterator[tuple[int, NDArray[np.int16] | UnreadableAudio]]:
    """The number of each source and its samples at 16 kHz, (samples,) int16, or what is wrong with it, in order.

    16-bit samples at 16 kHz of one channel come out bit for bit, all others as conversion.py says. Commands are run
    (whoever takes sources from a table asks the user first), each once for all of its `uses`, of which there is one
    where that is not said. Memory holds the samples of one batch of ffmpeg's (64 MiB or one file) and of one source.
    """
    tally = tally or Tally()
    with CommandOutputs(uses or {}) as commands:
        for batch in _batches(files):
            found = ffmpeg.decode(batch.files)
            for row, source in batch.sources:
                yield row, _samples_or_fault(source, _Decoder(batch, found, commands), tally)


@dataclass
class _Batch:
    """Sources that are decoded together.

    `files` are those for ffmpeg, `headers` those of libsndfile's, `faults` what it cannot read.
    """

    sources: list[tuple[int, Source]] = field(default_factory=list)
    files: dict[str, Header | None] = field(default_factory=dict)
    headers: dict[str, Header] = field(default_factory=dict)
    faults: dict[str, UnreadableAudio] = field(default_factory=dict)
    expected_bytes: int = 0

    def is_full(self) -> bool:
        return (
            len(self.sources) >= _MOST_SOURCES
            or len(self.files) >= _MOST_FILES
            or (bool(self.files) and self.expected_bytes >= _MOST_BYTES)
        )

    def knows(self, path: str) -> bool:
        """Was this file looked at already?"""
        return path in self.files or path in self.headers or path in self.faults

    def add(self, row: int, source: Source) -> None:
        """Take one more source; a file that is known already serves it too."""
        self.sources.append((row, source))
        path = source.path
        if source.is_command or self.knows(path):
            return
        try:
            header, is_for_ffmpeg = headers.inspect(path)
            if is_for_ffmpeg:
                self.files[path] = header
                self.expected_bytes += 4 * header.samples * header.channels
            else:
                self.headers[path] = header
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


@dataclass(frozen=True)
class _Decoder:
    """Where the samples of the sources of a batch are."""

    batch: _Batch
    decoded: Mapping[str, Decoded | UnreadableAudio]
    commands: CommandOutputs

    def waveform(self, source: Source) -> waveforms.Waveform:
        """The stretch that is asked for; UnreadableAudio where it cannot be had."""
        path, fault = source.path, self.batch.faults.get(source.path)
        if source.is_command:
            output, header = self.commands.of(path)
            return waveforms.of_file(source, header, output)
        if path in self.batch.headers:
            return waveforms.of_file(source, self.batch.headers[path])
        found = self.decoded.get(path)
        if isinstance(found, UnreadableAudio) and fault:
            raise UnreadableAudio(f"{fault}; {str(found).removeprefix(f'{path}: ')}")
        if isinstance(found, UnreadableAudio):
            raise found
        if found is None:
            raise fault or UnreadableAudio(f"{path}: not decoded")
        return waveforms.of_decoded(source, found.samples, found.rate_hz)


def _samples_or_fault(source: Source, decoder: _Decoder, tally: Tally) -> NDArray[np.int16] | UnreadableAudio:
    try:
        return conversion.to_pcm16(decoder.waveform(source), tally)
    except UnreadableAudio as error:
        return error
    except MemoryError:
        return UnreadableAudio(f"{source.path}: too long for the memory of this machine: cut it by a table of segments")
