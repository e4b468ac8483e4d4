"""16-bit waveforms packed into Kaldi arks, and a reader that takes only the bytes it needs, of arks or of wav files.

One entry of an ark, as kaldiio writes and reads it; the scp names the offset of RIFF:

    id10270-x6uYqmx31kE-00001 RIFF....WAVEfmt ................data....s0s1s2s3...
    ^ key and one space       ^ offset: 44 bytes of header             ^ 16-bit little-endian samples
"""

import os
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.arks import indexes
from sslsv_tk.arks.entries import Entries
from sslsv_tk.arks.indexes import ArchiveKind, Index
from sslsv_tk.arks.writer import writing_ark
from sslsv_tk.audio import wav
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words, text

OFFSETS = "utt2offset"  # only where audio lies in files of its own: the byte of the first sample


def write_pcm_ark(
    utterances: Iterable[tuple[str, NDArray[np.int16]] | tuple[str, NDArray[np.int16], bytes]],
    ark: str | Path,
    scp: str | Path,
    utt2samples: str | Path,
) -> tuple[int, str]:
    """Write waveforms (samples,) int16 at 16 kHz as one ark with its scp and lengths; how many, and their digest.

    Keys come sorted, each with its waveform and, where that is known already, `digests.of_stretch` of its bytes. The
    ark streams through a temporary name, so any number of utterances fits, and appears before the tables that point
    into it.
    """
    labels = bytearray()
    ends, samples = array("q"), array("q")
    with writing_ark(ark) as writer:
        for key, waveform, *known in utterances:
            if waveform.dtype != np.int16 or waveform.ndim != 1 or not 0 < len(waveform) <= wav.MOST_SAMPLES:
                raise ValueError(f"{key}: expected (samples,) int16, found {waveform.shape} {waveform.dtype}.")
            word = key.encode()
            stretch = known[0] if known else None
            writer.write(word, bytes_of(waveform), wav.header(len(waveform)), stretch)
            samples.append(len(waveform))
            labels += word + b" "
            ends.append(len(labels) - 1)
    keys = _words(labels, np.array(ends))
    tables.write_table(scp, keys, writer.places(Path(ark)))
    tables.write_table(utt2samples, keys, np.array(samples))
    return len(keys), writer.contents.hexdigest()


def bytes_of(waveform: NDArray[np.int16]) -> memoryview:
    """The samples (samples,) as they stand in a wav file."""
    return waveform.astype("<i2", copy=False).view(np.uint8).data


def _words(labels: bytearray, ends: NDArray[np.int64]) -> Words:
    """Words that stand one after the other, each with a space after its end."""
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    return tables.gather(np.frombuffer(labels, dtype=np.uint8), starts, ends)


def is_in_place(folder: Path) -> bool:
    """Does the audio of the folder lie in wav files of its own, and not in arks?"""
    return (folder / OFFSETS).is_file()


def of_tables(folder: Path) -> Index:
    """The index by wav.scp, utt2samples and, where it is there, utt2offset (and segments).

    Offsets are those of wav.scp, before the header of an ark's entry, or of the first sample in a wav file.
    """
    path = AUDIO.require(folder, "utt2samples")
    if is_in_place(folder):
        directory = DataDirectory.load(folder)
        keys, paths = directory.keys, directory.values
        offsets = tables.integers(AUDIO.column(folder, OFFSETS, keys), folder / OFFSETS)
    else:
        keys, paths, offsets = indexes.read_scp(folder / "wav.scp")
    samples = tables.integers(AUDIO.column(folder, "utt2samples", keys), path)
    wrong = (samples < 1) | (samples > wav.MOST_SAMPLES)
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(
            f"{path}:{line + 1}: expected 1 to {wav.MOST_SAMPLES} samples, found {samples[line]}. Run stage 3 again."
        )
    return indexes.of_columns(keys, paths, offsets, samples)


AUDIO = ArchiveKind(
    "audio.index", "wav.scp", "utt2samples", ("segments", OFFSETS), "packed audio", "samples", "stage 3", of_tables
)


class AudioArchive(Entries[np.int16]):
    """The packed waveforms of a folder such as dump/raw/voxceleb2, or wav files where nothing was packed.

    The first read of each row compares the file with the tables, later ones read the samples alone.
    """

    def __init__(self, folder: str | Path, opened: bytes = b"") -> None:
        """`opened`: the head of the index that another process has of the folder."""
        super().__init__(Path(folder), AUDIO, indexes.load(Path(folder), AUDIO, opened))
        self._in_place = is_in_place(self.folder)
        self._verified = np.zeros(len(self) // 8 + 1, dtype=np.uint8)

    @property
    def samples(self) -> NDArray[np.int64]:
        """(N,) lengths."""
        return self.lengths

    def read(self, row: int, start: int, count: int) -> NDArray[np.int16]:
        """Samples [start, start + count) of an utterance, (count,) int16."""
        self.require_inside(row, start, count)
        self._verify(row)
        return np.frombuffer(self.stretch(row, self._begin + 2 * start, 2 * count), dtype="<i2").astype(np.int16)

    def read_segments(self, row_B: NDArray[np.int64], start_B: NDArray[np.int64], count: int) -> NDArray[np.int16]:
        """(B, count), what `read_looped` gives for each row: straight into the batch, in the order of the disk."""
        segment_BT = np.empty((len(row_B), count), dtype="<i2")
        inside_B = (start_B >= 0) & (start_B + count <= self.lengths[row_B]) & (not self.compares)
        begin_B = self.offsets[row_B] + self._begin + 2 * start_B
        order_B = np.lexsort((begin_B, self.file_of_row[row_B]))
        rows, starts, begins, inside = (column.tolist() for column in (row_B, start_B, begin_B, inside_B))
        for place in order_B.tolist():
            row = rows[place]
            if inside[place]:
                self._verify(row)
                if os.preadv(self.open(row).fileno(), [segment_BT[place]], begins[place]) == 2 * count:
                    continue
            segment_BT[place] = self.read_looped(row, starts[place], count)  # also says what is wrong with a cut file
        return segment_BT.astype(np.int16, copy=False)

    @property
    def _begin(self) -> int:
        """Bytes from the offset of a row to its first sample."""
        return 0 if self._in_place else wav.HEADER_BYTES

    def _verify(self, row: int) -> None:
        """At the first read of a row: is there what the tables say?"""
        if not self._verified[row >> 3] & (1 << (row & 7)):
            (self._verify_file if self._in_place else self._verify_entry)(row)
            self._verified[row >> 3] |= 1 << (row & 7)

    def _verify_entry(self, row: int) -> None:
        """Do key and header in the ark say what wav.scp and utt2samples say?"""
        found, expected = self.head(row, wav.HEADER_BYTES), wav.header(int(self.samples[row]))
        if len(found) < len(expected):
            raise self.cut_short(row, int(self.offsets[row]), len(expected), len(found))
        if found != expected:
            raise ValueError(
                f"{self.place(row)}: expected {wav.describe(expected)}; found {wav.describe(found)}."
                " Run stage 3 with --force true."
            )

    def _verify_file(self, row: int) -> None:
        """Is the wav file still one whose samples stand where the tables say?"""
        begin, end = int(self.offsets[row]), int(self.offsets[row]) + 2 * int(self.samples[row])
        with open(self.open(row).fileno(), "rb", closefd=False) as stream:
            stream.seek(0)
            fault = wav.fault_of_stretch(stream, begin, end)
        if fault:
            raise ValueError(
                f"{self.path(row)}: {fault}: not the file that {text(self.keys[row])} was indexed from."
                " Run stage 3 with --force true."
            )
