"""Where the embeddings of a data directory lie, and what made them; torch is not loaded here.

Jobs take whole blocks of the list; D is the dimension of an embedding.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kaldiio
import numpy as np

from sslsv_tk import artifacts
from sslsv_tk.data import directories, tables
from sslsv_tk.data.features import Archive

if TYPE_CHECKING:
    from sslsv_tk.extraction.embeddings import Extractor

BLOCK = 128  # utterances; part of what makes embeddings independent of the number of jobs
_log = logging.getLogger("extraction")


def blocks_of_job(utterances: int, job: int, jobs: int) -> range:
    """First rows of the blocks that job number `job` (from 1) of `jobs` computes."""
    starts = range(0, utterances, BLOCK)
    share = len(starts) / jobs
    return starts[round((job - 1) * share) : round(job * share)]


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
        ark, lines, options = part / "xvector.ark", [], dict(self.options)
        with artifacts.replacing(ark, "wb") as stream:
            starts = blocks_of_job(len(archive), job, self.jobs)
            if starts:
                extractor, options["epochs"] = load()
            for start in starts:
                for row, embedding in enumerate(extractor.block(archive, start), start):
                    key = tables.text(archive.keys[row])
                    lines.append(f"{key} {ark}:{stream.tell() + len(key.encode()) + 1}\n")
                    kaldiio.save_ark(stream, {key: embedding})
        with artifacts.replacing(part / "xvector.scp") as scp:  # may be empty: more jobs than blocks
            scp.writelines(lines)
        artifacts.record(part, options, self.inputs)
        return len(lines)

    def join(self, archive: Archive) -> None:
        """Write xvector.scp over all parts after checking that every utterance is there once."""
        directories.remove_temporaries(self.folder)
        lines: list[str] = []
        epochs: dict[str, Any] = {}
        for job in range(1, self.jobs + 1):
            if not self._is_current(self.part(job)):
                raise ValueError(f"{self.part(job)}: job {job} of {self.jobs} has not finished. Run stage 6 again.")
            lines += (self.part(job) / "xvector.scp").read_text(encoding="utf-8").splitlines()
            epochs |= _epochs(self.part(job))
        found = {line.partition(" ")[0].encode() for line in lines}
        missing = [key for key in archive.keys.tolist() if key not in found]
        if missing or len(lines) != len(archive):
            names = tables.first_words(np.array(missing)) if missing else "none, but some are there twice"
            raise ValueError(
                f"{self.folder}: expected {len(archive)} embeddings, found {len(lines)}; missing: {names}. "
                "Run stage 6 again with --force true."
            )
        with artifacts.replacing(self.folder / "xvector.scp") as stream:
            stream.writelines(line + "\n" for line in lines)
        for stray in (self.folder / "parts").iterdir():
            if not stray.name.isdigit() or int(stray.name) > self.jobs:
                shutil.rmtree(stray)
        artifacts.record(self.folder, {**self.options, **epochs}, self.inputs)


def _epochs(folder: Path) -> dict[str, Any]:
    """The epochs in the record of a folder, as an option; empty where it does not say."""
    options = (artifacts.read_record(folder) or {"options": {}})["options"]
    return {"epochs": options["epochs"]} if "epochs" in options else {}
