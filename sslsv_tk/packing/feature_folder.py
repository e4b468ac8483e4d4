"""Where the features of a set lie, and what made them; torch is not loaded here.

OUT/parts/J/{feats.ark,feats.scp,utt2num_frames,made.json}        what job J of N computed
OUT/{feats.scp,utt2num_frames,wav.scp,utt2spk,...,made.json}      all of it, made.json last
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.arks import indexes, matrices
from sslsv_tk.arks.audio_archive import AUDIO, AudioArchive
from sslsv_tk.arks.feature_archive import FEATURES
from sslsv_tk.blocks import BLOCK, blocks_of_job
from sslsv_tk.corpora import copies, copy_tables
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words, text

Frames = Iterator[NDArray[np.float32]]
_ARKS = "arks (bytes)"
log = logs.logger("features")


@dataclass(frozen=True)
class FeatureSource:
    """Of what features are computed: packed audio, and for an offline copy its data directory and the packed clips."""

    audio: Path
    copy: Path | None
    clips: Path

    @cached_property
    def archive(self) -> AudioArchive:
        """The clean audio."""
        return AudioArchive(self.audio)

    @cached_property
    def kind(self) -> copies.Kind | None:
        """Which copy; None: the clean set itself."""
        return None if self.copy is None else copy_tables.kind_of(self.copy)

    @cached_property
    def clip_folder(self) -> Path | None:
        """The packed noises or responses that the copy needs."""
        return None if self.kind is None else self.clips / copies.CLIPS[self.kind]

    @cached_property
    def keys(self) -> Words:
        """(N,) sorted ids of the features."""
        if self.kind is None:
            return self.archive.keys
        return copies.copy_keys(self.archive.keys, self.kind)[self.rows]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(N,) rows of the clean audio in the order of `keys`."""
        if self.kind is None:
            return np.arange(len(self.archive))
        return np.argsort(copies.copy_keys(self.archive.keys, self.kind), kind="stable")

    def inputs(self) -> dict[str, str]:
        """What decides the features, as digests by name."""
        found = _digests(self.audio, "the audio")
        if self.copy is not None and self.clip_folder is not None:
            found[copies.TABLE] = artifacts.file_digest(self.copy / copies.TABLE)
            found |= _digests(self.clip_folder, self.clip_folder.name)
        return found

    def tables(self) -> DataDirectory:
        """The tables of the set, with the packed audio as wav.scp."""
        clean = DataDirectory.load(self.audio).select(self.rows)
        speakers = clean.speakers
        if speakers is not None and (speakers == clean.keys).all():
            speakers = self.keys  # unknown stays unknown
        return DataDirectory(self.keys, clean.values, speakers, clean.recordings, clean.durations)


def _digests(folder: Path, called: str) -> dict[str, str]:
    """Digests of the tables of packed audio."""
    names = (AUDIO.scp, AUDIO.lengths)
    return {f"{name} of {called}": artifacts.file_digest(AUDIO.require(folder, name)) for name in names}


@dataclass(frozen=True)
class FeatureFolder:
    """The features of `source` in `out`, computed by `jobs` jobs with `options` (front end and compression)."""

    out: Path
    source: FeatureSource
    jobs: int
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--num-jobs {self.jobs}: expected at least 1.")

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of what decides the features."""
        return self.source.inputs()

    @property
    def _part_options(self) -> dict[str, Any]:
        return {**self.options, "num_jobs": self.jobs}

    def part(self, job: int) -> Path:
        """The folder of job number `job`, from 1."""
        if not 1 <= job <= self.jobs:
            raise ValueError(f"--job {job} of --num-jobs {self.jobs}: expected 1 to {self.jobs}.")
        return self.out / "parts" / str(job)

    def is_complete(self) -> bool:
        """Is everything joined and are all arks whole? Raises StaleArtifact when it was made otherwise."""
        found = artifacts.read_record(self.out)
        if found is None:
            return False
        arks = found["inputs"].get(_ARKS, "none")
        artifacts.made_as(self.out, self.options, {**self.inputs, _ARKS: arks})
        names = ("feats.scp", "utt2num_frames", "wav.scp")
        return arks == self._sizes() and all((self.out / name).is_file() for name in names)

    def _sizes(self) -> str:
        sizes = {ark.parent.name: ark.stat().st_size for ark in (self.out / "parts").glob("*/feats.ark")}
        return " ".join(f"{name}:{sizes[name]}" for name in sorted(sizes))

    def has_part(self, job: int) -> bool:
        """Did job `job` finish, with these options and inputs, and is its ark whole?"""
        part = self.part(job)
        try:
            size = (part / "feats.ark").stat().st_size
            return artifacts.made_as(part, self._part_options, {**self.inputs, _ARKS: str(size)})
        except FileNotFoundError:
            return False
        except artifacts.StaleArtifact as difference:
            log.info("%s", difference)
            return False

    def write_part(
        self, job: int, make: Callable[[], Callable[[int], Frames]], compression: matrices.Compression
    ) -> int:
        """Compute and write a job's share; returns how many.

        `make` gives the function from the first row of a block of the list to the frames of its utterances, in order;
        it is not called for an empty share.
        """
        part = self.part(job)
        for folder in (self.out, part):
            (folder / artifacts.RECORD).unlink(missing_ok=True)
        directories.remove_temporaries(part)
        places, lengths = array("q"), array("q")
        starts = blocks_of_job(len(self.source.keys), job, self.jobs)
        with artifacts.replacing(part / "feats.ark", "wb") as stream:
            frames_of = make() if starts else None
            for start in starts:
                assert frames_of is not None
                for row, frames in enumerate(frames_of(start), start):
                    stream.write(self.source.keys[row] + b" ")
                    places.append(stream.tell())
                    lengths.append(len(frames))
                    stream.write(matrices.encode(frames, compression))
        self._write_tables(part, starts, places, lengths)
        size = (part / "feats.ark").stat().st_size
        artifacts.record(part, self._part_options, {**self.inputs, _ARKS: str(size)})
        return len(lengths)

    def _write_tables(self, part: Path, starts: range, places: array[int], lengths: array[int]) -> None:
        if not places:
            log.warning("%s is empty: fewer blocks of %d utterances than jobs", part, BLOCK)
            for name in ("feats.scp", "utt2num_frames"):
                (part / name).unlink(missing_ok=True)
            return
        keys = self.source.keys[starts[0] : starts[0] + len(places)]
        ark = str(part / "feats.ark").encode()
        tables.write_table(part / "feats.scp", keys, tables.joined(ark, b":", tables.as_words(np.array(places))))
        tables.write_table(part / "utt2num_frames", keys, np.array(lengths))

    def join(self) -> None:
        """Write the tables over all parts after checking that every utterance is there once."""
        columns = [self._read_part(job) for job in range(1, self.jobs + 1)]
        filled = [column for column in columns if column is not None]
        keys, places, lengths = (np.concatenate(column) for column in zip(*filled, strict=True))
        if len(keys) != len(self.source.keys) or (keys != self.source.keys).any():
            missing = np.setdiff1d(self.source.keys, keys)
            raise ValueError(
                f"{self.out}: expected {len(self.source.keys)} utterances, found {len(keys)}; missing:"
                f" {tables.first_words(missing) or 'none, but some are there twice'}. Run stage 3 with --force true."
            )
        (self.out / artifacts.RECORD).unlink(missing_ok=True)
        directories.remove_temporaries(self.out)
        tables.write_table(self.out / "feats.scp", keys, places)
        tables.write_table(self.out / "utt2num_frames", keys, lengths)
        self.source.tables().write(self.out)
        indexes.load(self.out, FEATURES)  # makes features.index
        for stray in (self.out / "parts").iterdir():
            if stray.is_dir() and (not stray.name.isdigit() or int(stray.name) > self.jobs):
                shutil.rmtree(stray)
        artifacts.record(self.out, self.options, {**self.inputs, _ARKS: self._sizes()})
        log.info("%s: %d utterances, %d frames", self.out, len(keys), int(lengths.sum()))

    def _read_part(self, job: int) -> tuple[Words, Words, NDArray[np.int64]] | None:
        """Keys, places and lengths of a part; None for an empty one."""
        part = self.part(job)
        if not self.has_part(job):
            raise ValueError(f"{part}: job {job} of {self.jobs} is missing, broken or of other inputs. Run it again.")
        if not (part / "feats.scp").is_file():
            return None
        keys, places = tables.read_table(part / "feats.scp")
        counted, words = tables.read_table(part / "utt2num_frames")
        if len(keys) != len(counted) or (keys != counted).any():
            raise ValueError(f"{part}: feats.scp and utt2num_frames disagree; first: {text(keys[0])}. Remove {part}.")
        return keys, places, tables.integers(words, part / "utt2num_frames")
