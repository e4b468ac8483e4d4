"""Where the embeddings of a data directory lie, and what made them; torch is not loaded here.

Jobs take whole blocks of the list; D is the dimension of an embedding.
"""

from __future__ import annotations

import logging
import shutil
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kaldiio
import numpy as np

from sslsv_tk import artifacts
from sslsv_tk.arks.feature_archive import Archive
from sslsv_tk.blocks import blocks_of_job
from sslsv_tk.kaldi import directories, tables

if TYPE_CHECKING:
    from sslsv_tk.extraction.embeddings import Extractor

_log = logging.getLogger("extraction")


@dataclass(frozen=True)
class EmbeddingFolder:
    """FOLDER/parts/J/{xvector.ark,xvector.scp,made.json} of the jobs, and FOLDER/{xvector.scp,made.json} of all.

    `options` and `inputs` say what made them; embeddings made otherwise (another checkpoint file, another list)
    are older than what is asked for and are made anew. The record also says of which epochs the checkpoint is the
    mean; that follows from its file.
    """

    folder: Path
    jobs: int
    options: Mapping[str, Any]
    inputs: Mapping[str, str]

    def part(self, job: int) -> Path:
        """The folder of job number `job`, from 1."""
        return self.folder / "parts" / str(job)

    def _is_current(self, folder: Path) -> bool:
        try:
            return artifacts.made_as(folder, {**self.options, **_epochs(folder)}, self.inputs)
        except artifacts.StaleArtifact as difference:
            _log.info("%s", difference)
            return False

    def has_part(self, job: int) -> bool:
        """Did job `job` finish, with these options and inputs?"""
        return self.has_all() or self._is_current(self.part(job))

    def has_all(self) -> bool:
        """Is everything joined, with these options and inputs?"""
        return self._is_current(self.folder)

    def write_part(self, job: int, load: Callable[[], tuple[Extractor, list[int]]], archive: Archive) -> int:
        """Compute a job's share as float vectors in Kaldi form; returns how many.

        `load`: the extractor and the epochs that its weights are the mean of; not called for an empty share.
        """
        (self.folder / artifacts.RECORD).unlink(missing_ok=True)
        part = self.part(job)
        (part / artifacts.RECORD).unlink(missing_ok=True)
        directories.remove_temporaries(part)
        places, options = array("q"), dict(self.options)
        starts = blocks_of_job(len(archive), job, self.jobs)
        with artifacts.replacing(part / "xvector.ark", "wb") as stream:
            if starts:
                extractor, options["epochs"] = load()
            for start in starts:
                for row, embedding in enumerate(extractor.block(archive, start), start):
                    key = archive.keys[row]
                    places.append(stream.tell() + len(key) + 1)
                    kaldiio.save_ark(stream, {key.decode(): embedding})
        if places:
            ark = f"{part / 'xvector.ark'}:".encode()
            keys = archive.keys[starts[0] : starts[0] + len(places)]
            tables.write_table(part / "xvector.scp", keys, tables.joined(ark, tables.as_words(np.array(places))))
        else:  # more jobs than blocks
            (part / "xvector.scp").unlink(missing_ok=True)
        artifacts.record(part, options, self.inputs)
        return len(places)

    def join(self, archive: Archive) -> None:
        """Write xvector.scp over all parts after checking that every utterance is there once."""
        directories.remove_temporaries(self.folder)
        columns, epochs = [], dict[str, Any]()
        for job in range(1, self.jobs + 1):
            part = self.part(job)
            if not self._is_current(part):
                raise ValueError(f"{part}: job {job} of {self.jobs} has not finished. Run stage 6 again.")
            if (part / "xvector.scp").is_file() and (part / "xvector.scp").stat().st_size:
                columns.append(tables.read_rows(part / "xvector.scp"))
            epochs |= _epochs(part)
        keys, places = (tables.concatenate([column[side] for column in columns]) for side in (0, 1))
        if len(keys) != len(archive) or (keys != archive.keys).any():
            missing = np.setdiff1d(archive.keys, keys)
            names = tables.first_words(missing) if len(missing) else "none, but some are there twice"
            raise ValueError(
                f"{self.folder}: expected {len(archive)} embeddings, found {len(keys)}; missing: {names}. "
                "Run stage 6 again with --force true."
            )
        tables.write_table(self.folder / "xvector.scp", keys, places)
        for stray in (self.folder / "parts").iterdir():
            if not stray.name.isdigit() or int(stray.name) > self.jobs:
                shutil.rmtree(stray)
        artifacts.record(self.folder, {**self.options, **epochs}, self.inputs)


def _epochs(folder: Path) -> dict[str, Any]:
    """The epochs in the record of a folder, as an option; empty where it does not say."""
    options = (artifacts.read_record(folder) or {"options": {}})["options"]
    return {"epochs": options["epochs"]} if "epochs" in options else {}
