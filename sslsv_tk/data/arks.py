"""16-bit waveforms packed into Kaldi arks, and a reader that takes only the bytes it needs.

One entry, as kaldiio writes and reads it; the scp names the offset of RIFF:

    id10270-x6uYqmx31kE-00001 RIFF....WAVEfmt ................data....s0s1s2s3...
    ^ key and one space       ^ offset: 44 bytes of header             ^ 16-bit little-endian samples
"""

import io
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts
from sslsv_tk.data import tables
from sslsv_tk.data.tables import Words, text
from sslsv_tk.segments import SAMPLE_RATE_HZ

HEADER_BYTES = 44
_HEADER = struct.Struct("<4sI8sIHHIIHH4sI")
_MOST_OPEN_FILES = 256
_MOST_SAMPLES = (2**32 - 1 - HEADER_BYTES) // 2


def riff_header(samples: int) -> bytes:
    """The 44 bytes before `samples` samples of 16 kHz mono 16-bit PCM."""
    size, rate = 2 * samples, SAMPLE_RATE_HZ
    return _HEADER.pack(b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)


def _describe(header: bytes) -> str:
    """What a header says, for a message."""
    if len(header) < HEADER_BYTES or header[:4] != b"RIFF" or header[8:16] != b"WAVEfmt ":
        return f"no RIFF header but {header[:16]!r}"
    _, _, _, _, kind, channels, rate, _, _, bits, _, size = _HEADER.unpack(header)
    samples = size // max(1, channels * bits // 8)
    return f"{rate} Hz, {channels} channel(s), {bits} bit, format {kind}, {samples} samples"


def write_pcm_ark(
    utterances: Iterable[tuple[str, NDArray[np.int16]]], ark: str | Path, scp: str | Path, utt2samples: str | Path
) -> int:
    """Write waveforms (samples,) int16 at 16 kHz as one ark with its scp and lengths; returns how many.

    Keys come sorted. The ark streams through a temporary name, so any number of utterances fits, and appears
    before the tables that point into it.
    """
    keys: list[str] = []
    offsets: list[int] = []
    samples: list[int] = []
    position = 0
    with artifacts.replacing(ark, "wb") as stream:
        for key, waveform in utterances:
            if waveform.dtype != np.int16 or waveform.ndim != 1 or not 0 < len(waveform) <= _MOST_SAMPLES:
                raise ValueError(f"{key}: expected (samples,) int16, found {waveform.shape} {waveform.dtype}.")
            label = key.encode() + b" "
            stream.write(label + riff_header(len(waveform)))
            stream.write(waveform.astype("<i2", copy=False).tobytes())
            keys.append(key)
            offsets.append(position + len(label))
            samples.append(len(waveform))
            position += len(label) + HEADER_BYTES + 2 * len(waveform)
    tables.write_table(scp, keys, [f"{ark}:{offset}" for offset in offsets])
    tables.write_table(utt2samples, keys, np.asarray(samples))
    return len(keys)


def _runs(words: Words) -> tuple[Words, NDArray[np.int32]]:
    """The distinct words and, for each row, the number of its word; cheap when equal words stand together."""
    first_of_run = np.concatenate([[True], words[1:] != words[:-1]])
    distinct, number_of_run = np.unique(words[first_of_run], return_inverse=True)
    return distinct, number_of_run.astype(np.int32)[np.cumsum(first_of_run) - 1]


def read_scp(path: str | Path) -> tuple[Words, Words, NDArray[np.int64]]:
    """Keys, ark paths and byte offsets of a scp whose values are `path.ark:offset`."""
    keys, values = tables.read_table(path)
    characters = tables.characters(values)
    width = characters.shape[1]
    colon = width - 1 - (characters[:, ::-1] == ord(":")).argmax(axis=1)
    wrong = characters[np.arange(len(values)), colon] != ord(":")
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(
            f"{path}:{line + 1}: expected {text(keys[line])} path.ark:offset, found {text(values[line])!r}."
        )
    begins = np.arange(len(values), dtype=np.int64) * width
    ends = begins + np.char.str_len(values)
    flat = characters.reshape(-1)
    offsets = tables.integers(tables.gather(flat, begins + colon + 1, ends), path)
    return keys, tables.gather(flat, begins, begins + colon), offsets


class AudioArchive:
    """The packed waveforms of a folder such as dump/raw/voxceleb2: rows in the order of its wav.scp.

    `keys` (N,) fixed-width bytes and `samples` (N,) lengths are arrays, and no Python object is kept per
    utterance. Ark paths are taken as wav.scp gives them, so relative ones start at the current folder. Files are
    opened when first read, per process; the archive can be pickled for loader workers. The first read of each row
    compares the ark with the tables, later ones read the samples alone.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        for name in ("wav.scp", "utt2samples"):
            if not (self.folder / name).is_file():
                raise ValueError(f"{self.folder}: no {name}, so not a folder of packed audio. Run stage 3 to make it.")
        self.keys, arks, self.offsets = read_scp(self.folder / "wav.scp")
        self.samples = tables.integers(self._column("utt2samples"), self.folder / "utt2samples")
        if not (self.samples > 0).all():
            line = int((self.samples == 0).argmax()) + 1
            raise ValueError(f"{self.folder}/utt2samples:{line}: an utterance without samples. Run stage 3 again.")
        distinct, self.ark_of_row = _runs(arks)
        self.arks = [text(ark) for ark in distinct.tolist()]
        self._verified = np.zeros(len(self.keys) // 8 + 1, dtype=np.uint8)
        self._files: dict[int, io.FileIO] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def _column(self, name: str) -> Words:
        """The values of a table whose keys must be those of wav.scp, in the same order."""
        keys, values = tables.read_table(self.folder / name)
        if len(keys) != len(self.keys) or (keys != self.keys).any():
            raise ValueError(
                f"{self.folder}: {name} and wav.scp do not list the same utterances in the same order."
                " Run stage 3 again."
            )
        return values

    def read_codes(self, name: str) -> NDArray[np.int32] | None:
        """A table such as utt2rec or utt2spk as one code per row: the place of its name among the sorted names.

        None when the folder has no such table, and for an utt2spk that maps every utterance to itself.
        """
        if not (self.folder / name).is_file():
            return None
        values = self._column(name)
        if name == "utt2spk" and (values == self.keys).all():
            return None
        return np.unique(values, return_inverse=True)[1].astype(np.int32)

    def read(self, row: int, start: int, count: int) -> NDArray[np.int16]:
        """Samples [start, start + count) of an utterance, (count,) int16."""
        if start < 0 or count < 0 or start + count > self.samples[row]:
            raise ValueError(
                f"{text(self.keys[row])} has {self.samples[row]} samples; [{start}, {start + count}) is not inside."
            )
        if not self._verified[row >> 3] & (1 << (row & 7)):
            self._verify(row)
            self._verified[row >> 3] |= 1 << (row & 7)
        begin = int(self.offsets[row]) + HEADER_BYTES + 2 * start
        return np.frombuffer(self._bytes(row, begin, 2 * count), dtype="<i2").astype(np.int16)

    def read_looped(self, row: int, start: int, count: int) -> NDArray[np.int16]:
        """(count,) int16 from sample `start` (modulo the length) of the utterance repeated without end."""
        samples = int(self.samples[row])
        start %= samples
        if start + count <= samples:
            return self.read(row, start, count)
        if count <= samples:
            head = self.read(row, 0, count - (samples - start))
            return np.concatenate([self.read(row, start, samples - start), head])
        return self.read(row, 0, samples)[(start + np.arange(count)) % samples]

    def _verify(self, row: int) -> None:
        """Do key and header in the ark say what wav.scp and utt2samples say?"""
        label = self.keys[row] + b" "
        begin, ark = int(self.offsets[row]) - len(label), self.arks[self.ark_of_row[row]]
        found = self._bytes(row, begin, len(label) + HEADER_BYTES) if begin >= 0 else b""
        if found[: len(label)] != label:
            raise ValueError(
                f"{ark}: expected the key {text(label.rstrip())} before offset {self.offsets[row]}, found"
                f" {text(found[: len(label)])!r}: {self.folder}/wav.scp is not of this ark."
                " Run stage 3 with --force true."
            )
        expected, header = riff_header(int(self.samples[row])), found[len(label) :]
        if header != expected:
            raise ValueError(
                f"{ark}:{self.offsets[row]}: {text(self.keys[row])}: expected {_describe(expected)};"
                f" found {_describe(header)}. Run stage 3 with --force true."
            )

    def _bytes(self, row: int, begin: int, count: int) -> bytes:
        """Exactly `count` bytes of the ark that holds `row`."""
        file = self._open(int(self.ark_of_row[row]))
        found = os.pread(file.fileno(), count, begin)
        while len(found) < count and (more := os.pread(file.fileno(), count - len(found), begin + len(found))):
            found += more
        if len(found) < count:
            raise ValueError(
                f"{file.name}: cut short: expected {count} bytes at offset {begin} for {text(self.keys[row])},"
                f" found {len(found)}. Run stage 3 with --force true."
            )
        return found

    def _open(self, number: int) -> io.FileIO:
        """The ark's file; beyond a number of open files the oldest is let go (its readers keep it alive)."""
        file = self._files.get(number)
        if file is None:
            try:
                file = io.FileIO(self.arks[number])
            except FileNotFoundError:
                raise ValueError(
                    f"{self.folder}/wav.scp points to {self.arks[number]}, which does not exist. Relative paths start"
                    " at the folder where stage 3 ran; else run stage 3 again."
                ) from None
            self._files[number] = file
            if len(self._files) > _MOST_OPEN_FILES:
                del self._files[next(iter(self._files))]
        return file
