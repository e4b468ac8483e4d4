"""Tables of the size of VoxCeleb2 without its audio: names as in the corpus, arks that are holes on the disk.

Speakers and recordings get equal shares of the utterances; lengths are 4 to 12 s; all draws are of one seed.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests, records
from sslsv_tk.arks import matrices, sources
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.audio import wav
from sslsv_tk.audio.tally import Tally
from sslsv_tk.corpora.audio_files import AudioListing
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.kaldi.trials import Trials
from sslsv_tk.packing import parts
from sslsv_tk.packing.parts import Part
from sslsv_tk.records import Made

RATE = 16_000
HOP, BANDS = 160, 40
NO_CONTENTS = digests.Contents().hexdigest()  # stands in for the digest of holes
_ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", dtype=np.uint8)


@dataclass(frozen=True)
class Size:
    """How much there is; the defaults are VoxCeleb2's development set and a list of the size of VoxCeleb1-E."""

    utterances: int = 1_092_009
    recordings: int = 145_569
    speakers: int = 5_994
    trials: int = 580_000
    test_utterances: int = 145_160

    @classmethod
    def of(cls, utterances: int) -> "Size":
        """The same proportions for another number of utterances."""
        whole = cls()
        if utterances == whole.utterances:
            return whole
        counts = asdict(whole).items()
        return cls(**{name: max(4, count * utterances // whole.utterances) for name, count in counts})


def decimal(numbers: NDArray[np.int64], width: int) -> Words:
    """Numbers with leading zeros."""
    return tables.formatted(len(numbers), lambda block: [b"%0*d" % (width, n) for n in numbers[block].tolist()])


def listing(size: Size) -> AudioListing:
    """The files of dev/aac as a walk finds them: id00012/21Uxsk56VDQ/00001.m4a and their sizes."""
    generator = np.random.default_rng(0)
    recording = np.arange(size.utterances) * size.recordings // size.utterances
    speaker = np.arange(size.recordings) * size.speakers // size.recordings
    number = np.arange(size.utterances) - np.searchsorted(recording, recording) + 1
    videos = _ALPHABET[generator.integers(0, 64, (size.recordings, 11))].view("S11")[:, 0]
    of_recording = tables.joined(b"dev/aac/id", decimal(speaker, 5), b"/", videos, b"/")
    relative = tables.joined(of_recording[recording], decimal(number, 5), b".m4a")
    sizes = generator.integers(40_000, 200_000, size.utterances)
    order = np.argsort(relative)
    return AudioListing("/corpora/VoxCeleb2", relative[order], sizes[order])


def seconds(utterances: int) -> NDArray[np.float64]:
    """Lengths of utterances."""
    return np.random.default_rng(1).integers(4 * RATE, 12 * RATE, utterances) / RATE


def write_test_set(size: Size, data: Path, source: Path) -> None:
    """A test set and a trial list of it in VoxCeleb's form, `1|0 path path`."""
    generator = np.random.default_rng(2)
    speaker = np.arange(size.test_utterances) * 40 // size.test_utterances
    speakers = tables.joined(b"id", decimal(speaker + 10_000, 5))
    numbers = decimal(np.arange(size.test_utterances), 7)
    recordings = tables.joined(speakers, b"-video", numbers)
    keys = tables.joined(recordings, b"-00001")
    DataDirectory(keys, tables.joined(b"/corpora/", keys, b".wav"), speakers, recordings).write(data)
    paths = tables.joined(speakers, b"/video", numbers, b"/00001.wav")
    trials = draw_trials(size, speaker, generator)
    with open(source, "wb") as stream:
        for block in tables.blocks(size.trials):
            columns = (trials.target[block].tolist(), paths[trials.enrol[block]], paths[trials.test[block]])
            stream.writelines(b"%d %b %b\n" % line for line in zip(*columns, strict=True))


def draw_trials(size: Size, speaker: NDArray[np.int64], generator: np.random.Generator) -> Trials:
    """Random pairs; half of them are of one speaker."""
    enrol, test = generator.integers(0, size.test_utterances, (2, size.trials))
    near = (enrol + 1 + test % max(1, size.test_utterances // 80)) % size.test_utterances
    test = np.where(np.arange(size.trials) % 2 == 0, near, test)
    return Trials(enrol.astype(np.int32), test.astype(np.int32), speaker[enrol] == speaker[test])


def write_clips(folder: Path, count: int) -> None:
    """Noises, music, speech and responses as data directories, and the tables of their packed audio."""
    for name in ("musan_noise", "musan_music", "musan_speech", "rirs"):
        keys = tables.joined(name.encode() + b"-", decimal(np.arange(count), 5))
        category = tables.joined(name.removeprefix("musan_").encode(), np.zeros(count, dtype="S1"))
        made = DataDirectory(
            keys, tables.joined(b"/noises/", keys), categories=category, durations=np.full(count, 10.0)
        )
        made.write(folder / "data" / name)
        dump = folder / "dump" / name
        tables.write_table(dump / "utt2category", keys, category)
        tables.write_table(dump / "utt2samples", keys, np.full(count, 10 * RATE))
        offsets = tables.as_words(np.arange(count) * 20 * RATE + 100)
        tables.write_table(dump / "wav.scp", keys, tables.joined(b"/noises/wav.ark:", offsets))


def write_parts(data: Path, out: Path, jobs: int) -> None:
    """What the jobs of stage 3 leave: arks as long as they would be, but holes, with their tables and records."""
    whole = DataDirectory.load(data)
    for job in range(1, jobs + 1):
        part = Part(out, job, jobs)
        share = parts.take(whole, part)
        assert share.durations is not None
        samples = np.rint(share.durations * RATE).astype(np.int64)
        entries = np.char.str_len(share.keys) + 1 + wav.HEADER_BYTES + 2 * samples
        offsets = np.cumsum(entries) - 2 * samples - wav.HEADER_BYTES
        ark = part.file("wav.J.ark")
        ark.parent.mkdir(parents=True, exist_ok=True)
        with part.folder.writing(job, parts.made(share, parts.Wanted().samples)) as writer:
            with open(ark, "wb") as stream:
                stream.truncate(int(entries.sum()))
            places = tables.joined(f"{ark}:".encode(), tables.as_words(offsets))
            tables.write_table(part.file("wav.J.scp"), share.keys, places)
            tables.write_table(part.file("utt2samples.J"), share.keys, samples)
            digests_of_files = part.file("sources.J")  # of files that are not there: nothing to compare
            digests_of_files.write_bytes(bytes(16 * len(samples)))
            np.full((len(samples), 3), -1, dtype=np.int64).tofile(sources.stamps_of(digests_of_files))
            writer.contents[parts.ARK] = NO_CONTENTS
            writer.facts |= {"utterances": len(samples), "rejected": 0, **Tally().facts()}


def write_features(folder: Path, keys: Words, samples: NDArray[np.int64], jobs: int) -> None:
    """Log-mel frames as stage 3 leaves them but for their index: arks that are holes after their first header."""
    frames = samples // HOP + 1
    places = []
    for job, rows in enumerate(np.array_split(np.arange(len(keys)), jobs), start=1):
        header = matrices.encode(np.zeros((1, BANDS), dtype=np.float32))[: -4 * BANDS]
        entries = len(header) + frames[rows] * 4 * BANDS
        offsets = np.cumsum(np.char.str_len(keys[rows]) + 1 + entries) - entries
        ark = folder / "parts" / str(job) / "feats.ark"
        ark.parent.mkdir(parents=True, exist_ok=True)
        with open(ark, "wb") as stream:
            stream.write(keys[rows[0]] + b" " + header)
            stream.truncate(int(offsets[-1] + entries[-1]))
        places.append(tables.joined(f"{ark}:".encode(), tables.as_words(offsets)))
    tables.write_table(folder / "feats.scp", keys, np.concatenate(places))
    tables.write_table(folder / "utt2num_frames", keys, frames)


def write_headers(out: Path, rows: NDArray[np.int64]) -> None:
    """Keys and headers of some utterances of finished parts, so that their (silent) samples can be read."""
    archive = AudioArchive(out)
    for number, file in enumerate(archive.files.tolist()):
        with open(file, "r+b") as stream:
            for row in rows[archive.file_of_row[rows] == number].tolist():
                label = archive.keys[row] + b" "
                stream.seek(int(archive.offsets[row]) - len(label))
                stream.write(label + wav.header(int(archive.samples[row])))


def write_embeddings(folder: Path, keys: Words, dimension: int) -> None:
    """Random embeddings as stage 6 leaves them, one ark of float vectors; the length of each is that of its noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, head = np.random.default_rng(3), b"\0BFV \4" + np.int32(dimension).tobytes()
    width = keys.dtype.itemsize + 1 + len(head) + 4 * dimension
    with open(folder / "xvector.ark", "wb") as stream:
        for block in tables.blocks(len(keys)):
            vectors = generator.standard_normal((len(keys[block]), dimension), dtype=np.float32)
            for key, vector in zip(keys[block].tolist(), vectors, strict=True):
                stream.write(key.ljust(keys.dtype.itemsize) + b" " + head + vector.tobytes())
    offsets = tables.as_words(np.arange(len(keys)) * width + keys.dtype.itemsize + 1)
    tables.write_table(folder / "xvector.scp", keys, tables.joined(f"{folder / 'xvector.ark'}:".encode(), offsets))
    records.write(folder, Made({"checkpoint": "averaged"}, {}), contents="00")
