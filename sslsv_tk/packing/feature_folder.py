"""Where the features of a set lie, and what made them; torch is not loaded here.

OUT/parts/J/{feats.ark,feats.ark.sums,feats.scp,utt2num_frames,made.json}   what job J of N computed
OUT/{feats.scp,utt2num_frames,wav.scp,utt2spk,...,made.json}      all of it, made.json last
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests, logs
from sslsv_tk.arks import identity, indexes, matrices
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.arks.feature_archive import FEATURES
from sslsv_tk.arks.parted_folder import Layout, PartedFolder, require_all
from sslsv_tk.arks.writer import writing_ark
from sslsv_tk.blocks import BLOCK, blocks_of_job
from sslsv_tk.corpora import copies, copy_tables
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.records import Made

Frames = Iterator[NDArray[np.float32]]
ARK, SUMS = "parts/J/feats.ark", "parts/J/feats.ark.sums"
SCP, FRAMES = "parts/J/feats.scp", "parts/J/utt2num_frames"
LAYOUT = Layout(
    arks=(ARK,),
    tables=(SUMS, SCP, FRAMES),
    record=f"parts/J/{artifacts.RECORD}",
    scp=directories.FEATURES,
    joined=(directories.FRAMES, *directories.TABLES, "rejected"),
)
REMEDY = "Run stage 3 again."
log = logs.logger("features")


@dataclass(frozen=True)
class FeatureSource:
    """Of what features are computed: packed audio, and for an offline copy its data directory and the packed clips."""

    audio: Path
    copy: Path | None
    clips: Path

    @cached_property
    def archive(self) -> AudioArchive:
        """The clean audio, every block of which is compared with its sum when it is read."""
        found = AudioArchive(self.audio)
        found.compares = True
        return found

    @cached_property
    def kind(self) -> copies.CopyKind | None:
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
        found = {"audio": identity.contents(self.audio)}
        if self.copy is not None and self.clip_folder is not None:
            found[copies.TABLE] = digests.of_file(self.copy / copies.TABLE)
            found[self.clip_folder.name] = identity.contents(self.clip_folder)
        return found

    def tables(self) -> DataDirectory:
        """The tables of the set, with the packed audio as wav.scp."""
        clean = DataDirectory.load(self.audio).select(self.rows)
        speakers = clean.speakers
        if speakers is not None and (speakers == clean.keys).all():
            speakers = self.keys  # unknown stays unknown
        return DataDirectory(self.keys, clean.values, speakers, clean.recordings, clean.durations)


@dataclass(frozen=True)
class FeatureFolder:
    """The features of `source` in `out`, computed by `jobs` jobs with `options` (front end and compression)."""

    out: Path
    source: FeatureSource
    jobs: int
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.parts.path(LAYOUT.record, 1)

    @property
    def parts(self) -> PartedFolder:
        """The parts of all jobs."""
        return PartedFolder(self.out, self.jobs, LAYOUT)

    @cached_property
    def made(self) -> Made:
        """What decides the features."""
        return Made(self.options, self.source.inputs())

    def part(self, job: int) -> Path:
        """The folder of job number `job`, from 1."""
        return self.parts.path(ARK, job).parent

    def is_complete(self) -> bool:
        """Is everything joined and whole? Raises StaleArtifact when it was made otherwise."""
        return self.parts.is_complete(self.made)

    def has_part(self, job: int) -> bool:
        """Did job `job` finish, with these options and inputs, and is its part whole?"""
        return self.parts.part(job, self.made) is not None

    def write_part(
        self, job: int, make: Callable[[], Callable[[int], Frames]], compression: matrices.Compression
    ) -> int:
        """Compute and write a job's share; returns how many.

        `make` gives the function from the first row of a block of the list to the frames of its utterances, in order;
        it is not called for an empty share.
        """
        starts, lengths = blocks_of_job(len(self.source.keys), job, self.jobs), array("q")
        with self.parts.writing(job, self.made) as part:
            if not starts:
                log.warning("%s is empty: fewer blocks of %d utterances than jobs", self.part(job), BLOCK)
                part.clear()
                return 0
            with writing_ark(part.path(ARK)) as ark:
                frames_of = make()
                for start in starts:
                    for row, frames in enumerate(frames_of(start), start):
                        lengths.append(len(frames))
                        ark.write(self.source.keys[row], matrices.encode(frames, compression))
                part.begin_replacing()
            part.contents[ARK] = ark.contents.hexdigest()
            keys = self.source.keys[starts[0] : starts[0] + len(lengths)]
            tables.write_table(part.path(SCP), keys, ark.places(part.path(ARK)))
            tables.write_table(part.path(FRAMES), keys, np.array(lengths))
        return len(lengths)

    def _copy_rejected(self) -> None:
        """What the audio lacks the features lack, and trial lists may name it."""
        (self.out / "rejected").unlink(missing_ok=True)
        if self.source.copy is None and (self.source.audio / "rejected").is_file():
            with artifacts.replacing(self.out / "rejected", "wb") as stream:
                stream.write((self.source.audio / "rejected").read_bytes())

    def join(self) -> None:
        """Write the tables over all parts after checking that every utterance is there once."""
        records = [self.parts.require(job, self.made, REMEDY) for job in range(1, self.jobs + 1)]
        keys, places, (lengths,) = self.parts.read_tables(SCP, FRAMES)
        require_all(self.parts.folder, self.source.keys, keys, REMEDY)
        with self.parts.joining(self.made, records, {}):
            tables.write_table(self.out / "feats.scp", keys, places)
            tables.write_table(self.out / "utt2num_frames", keys, lengths)
            self.source.tables().write(self.out)
            self._copy_rejected()
            indexes.load(self.out, FEATURES)  # makes features.index
        log.info("%s: %d utterances, %d frames", self.out, len(keys), int(lengths.sum()))
