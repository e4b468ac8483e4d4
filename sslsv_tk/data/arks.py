"""16-bit waveforms packed into Kaldi arks, and a reader that takes only the bytes it needs, of arks or of wav files.

One entry of an ark, as kaldiio writes and reads it; the scp names the offset of RIFF:

    id10270-x6uYqmx31kE-00001 RIFF....WAVEfmt ................data....s0s1s2s3...
    ^ key and one space       ^ offset: 44 bytes of header             ^ 16-bit little-endian samples
"""

import functools
import io
import os
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts
from sslsv_tk.data import audio_index, riff, tables
from sslsv_tk.data.audio_index import AudioIndex, read_scp
from sslsv_tk.data.tables import Words, text

__all__ = ["AudioArchive", "read_scp", "write_pcm_ark"]
_MOST_OPEN_FILES = 256
T = TypeVar("T", bound=np.generic)


def write_pcm_ark(
    utterances: Iterable[tuple[str, NDArray[np.int16]]], ark: str | Path, scp: str | Path, utt2samples: str | Path
) -> int:
    """Write waveforms (samples,) int16 at 16 kHz as one ark with its scp and lengths; returns how many.

    Keys come sorted. The ark streams through a temporary name, so any number of utterances fits, and appears
    before the tables that point into it.
    """
    labels = bytearray()
    ends, offsets, samples = array("q"), array("q"), array("q")
    with artifacts.replacing(ark, "wb") as stream:
        position = 0
        for key, waveform in utterances:
            if waveform.dtype != np.int16 or waveform.ndim != 1 or not 0 < len(waveform) <= riff.MOST_SAMPLES:
                raise ValueError(f"{key}: expected (samples,) int16, found {waveform.shape} {waveform.dtype}.")
            label = key.encode() + b" "
            position += stream.write(label)
            offsets.append(position)
            samples.append(len(waveform))
            position += stream.write(riff.header(len(waveform)))
            position += stream.write(waveform.astype("<i2", copy=False).tobytes())
            labels += label
            ends.append(len(labels) - 1)
    keys = _words(labels, np.array(ends))
    tables.write_table(scp, keys, tables.joined(str(ark).encode(), b":", tables.as_words(np.array(offsets))))
    tables.write_table(utt2samples, keys, np.array(samples))
    return len(keys)


def _words(labels: bytearray, ends: NDArray[np.int64]) -> Words:
    """Words that stand one after the other, each with a space after its end."""
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    return tables.gather(np.frombuffer(labels, dtype=np.uint8), starts, ends)


def looped(read: Callable[[int, int], NDArray[T]], length: int, start: int, count: int) -> NDArray[T]:
    """`count` rows from `start` (modulo the length) of what is repeated without end; `read` takes start and count."""
    start %= length
    if start + count <= length:
        return read(start, count)
    if count <= length:
        head = read(0, count - (length - start))
        return np.concatenate([read(start, length - start), head])
    return read(0, length)[(start + np.arange(count)) % length]


def codes_of(name: str, keys: Words, values: Words) -> NDArray[np.int32] | None:
    """The values of the table `name` as codes; None for an utt2spk that maps every utterance to itself."""
    if name == "utt2spk" and (values == keys).all():
        return None
    return np.unique(values, return_inverse=True)[1].astype(np.int32)


class AudioArchive:
    """The packed waveforms of a folder such as dump/raw/voxceleb2: rows in the order of its wav.scp.

    `keys` (N,) fixed-width bytes, `samples` (N,) lengths and `files` (the arks, or wav files where nothing was packed)
    are arrays, mapped from audio.index where it is there, and no Python object is kept per utterance. Paths are taken
    as wav.scp gives them, so relative ones start at the current folder. Files are opened when first read, per process;
    the archive can be pickled for loader workers, who map the same index. The first read of each row compares the
    file with the tables, later ones read the samples alone.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._take(audio_index.load(self.folder), audio_index.is_in_place(self.folder))

    def _take(self, index: AudioIndex, in_place: bool) -> None:
        self._index, self._in_place = index, in_place
        self.keys, self.samples, self.offsets = index.keys, index.samples, index.offsets
        self.files, self.file_of_row = index.files, index.file_of_row
        self._verified = np.zeros(len(self.keys) // 8 + 1, dtype=np.uint8)
        self._open_files: dict[int, io.FileIO] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        head = self._index.head
        index = self._index if head is None else None
        return {"folder": self.folder, "in_place": self._in_place, "head": head, "index": index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.folder = state["folder"]
        self._take(state["index"] or audio_index.mapped_again(self.folder, state["head"]), state["in_place"])

    def read_codes(self, name: str) -> NDArray[np.int32] | None:
        """A table such as utt2rec or utt2spk as one code per row: the place of its name among the sorted names.

        None when the folder has no such table, and for an utt2spk that maps every utterance to itself.
        """
        if not (self.folder / name).is_file():
            return None
        return codes_of(name, self.keys, audio_index.column(self.folder, name, self.keys))

    def read(self, row: int, start: int, count: int) -> NDArray[np.int16]:
        """Samples [start, start + count) of an utterance, (count,) int16."""
        if start < 0 or count < 0 or start + count > self.samples[row]:
            raise ValueError(
                f"{text(self.keys[row])} has {self.samples[row]} samples; [{start}, {start + count}) is not inside."
            )
        if not self._verified[row >> 3] & (1 << (row & 7)):
            (self._verify_file if self._in_place else self._verify_entry)(row)
            self._verified[row >> 3] |= 1 << (row & 7)
        begin = int(self.offsets[row]) + (0 if self._in_place else riff.HEADER_BYTES) + 2 * start
        return np.frombuffer(self._bytes(row, begin, 2 * count), dtype="<i2").astype(np.int16)

    def read_looped(self, row: int, start: int, count: int) -> NDArray[np.int16]:
        """(count,) int16 from sample `start` (modulo the length) of the utterance repeated without end."""
        return looped(functools.partial(self.read, row), int(self.samples[row]), start, count)

    def _verify_entry(self, row: int) -> None:
        """Do key and header in the ark say what wav.scp and utt2samples say?"""
        label = self.keys[row] + b" "
        begin, ark = int(self.offsets[row]) - len(label), self._path(row)
        found = self._bytes(row, begin, len(label) + riff.HEADER_BYTES) if begin >= 0 else b""
        if found[: len(label)] != label:
            raise ValueError(
                f"{ark}: expected the key {text(label.rstrip())} before offset {self.offsets[row]}, found"
                f" {text(found[: len(label)])!r}: {self.folder}/wav.scp is not of this ark."
                " Run stage 3 with --force true."
            )
        expected, header = riff.header(int(self.samples[row])), found[len(label) :]
        if header != expected:
            raise ValueError(
                f"{ark}:{self.offsets[row]}: {text(self.keys[row])}: expected {riff.describe(expected)};"
                f" found {riff.describe(header)}. Run stage 3 with --force true."
            )

    def _verify_file(self, row: int) -> None:
        """Is the wav file still one whose samples stand where the tables say?"""
        begin, end = int(self.offsets[row]), int(self.offsets[row]) + 2 * int(self.samples[row])
        with open(self._open(row).fileno(), "rb", closefd=False) as stream:
            stream.seek(0)
            fault = riff.fault_of_stretch(stream, begin, end)
        if fault:
            raise ValueError(
                f"{self._path(row)}: {fault}: not the file that {text(self.keys[row])} was indexed from."
                " Run stage 3 with --force true."
            )

    def _bytes(self, row: int, begin: int, count: int) -> bytes:
        """Exactly `count` bytes of the file that holds `row`."""
        file = self._open(row)
        found = os.pread(file.fileno(), count, begin)
        while len(found) < count and (more := os.pread(file.fileno(), count - len(found), begin + len(found))):
            found += more
        if len(found) < count:
            raise ValueError(
                f"{self._path(row)}: cut short: expected {count} bytes at offset {begin} for {text(self.keys[row])},"
                f" found {len(found)}. Run stage 3 with --force true."
            )
        return found

    def _path(self, row: int) -> str:
        return text(self.files[self.file_of_row[row]])

    def _open(self, row: int) -> io.FileIO:
        """The file of a row; beyond a number of open files the oldest is let go (its readers keep it alive)."""
        number = int(self.file_of_row[row])
        file = self._open_files.get(number)
        if file is None:
            try:
                file = io.FileIO(os.fsdecode(self.files[number]))
            except FileNotFoundError:
                raise ValueError(
                    f"{self.folder}/wav.scp points to {self._path(row)}, which does not exist. Relative paths start"
                    " at the folder where stage 3 ran; else run stage 3 again."
                ) from None
            self._open_files[number] = file
            if len(self._open_files) > _MOST_OPEN_FILES:
                del self._open_files[next(iter(self._open_files))]
        return file
