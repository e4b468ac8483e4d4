"""Where the embeddings of a data directory lie, and what made them; torch is not loaded here.

Jobs take whole blocks of the list; D is the dimension of an embedding.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kaldiio
import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts
from sslsv_tk.arks.feature_archive import Archive
from sslsv_tk.arks.parted_folder import Layout, PartedFolder, require_all
from sslsv_tk.arks.writer import writing_ark
from sslsv_tk.blocks import blocks_of_job
from sslsv_tk.kaldi import tables
from sslsv_tk.records import Made

if TYPE_CHECKING:
    from sslsv_tk.extraction.embeddings import Extractor

ARK, SUMS, SCP = "parts/J/xvector.ark", "parts/J/xvector.ark.sums", "parts/J/xvector.scp"
LAYOUT = Layout(arks=(ARK,), tables=(SUMS, SCP), record=f"parts/J/{artifacts.RECORD}", scp="xvector.scp", joined=())
REMEDY = "Run stage 6 again."


@dataclass(frozen=True)
class EmbeddingFolder:
    """FOLDER/parts/J/{xvector.ark,xvector.scp,made.json} of the jobs, and FOLDER/{xvector.scp,made.json} of all.

    `options` and `inputs` say what made them. Embeddings of another state of the checkpoint are older than what is
    asked for and are made anew; those of other audio, such as of a second set of the same name, are refused. The record
    also says of which epochs the checkpoint is the mean; that follows from its file.
    """

    folder: Path
    jobs: int
    options: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def parts(self) -> PartedFolder:
        """The parts of all jobs."""
        return PartedFolder(self.folder, self.jobs, LAYOUT, follows=("checkpoint", "configuration"))

    @property
    def made(self) -> Made:
        """What decides the embeddings."""
        return Made(self.options, self.inputs)

    def part(self, job: int) -> Path:
        """The folder of job number `job`, from 1."""
        return self.parts.path(ARK, job).parent

    def has_part(self, job: int) -> bool:
        """Did job `job` finish, with these options and inputs, and is its part whole?"""
        return self.parts.part(job, self.made) is not None

    def is_complete(self) -> bool:
        """Is everything joined and whole, with these options and inputs?"""
        return self.parts.is_complete(self.made)

    def write_part(self, job: int, load: Callable[[], tuple[Extractor, list[int]]], archive: Archive) -> int:
        """Compute a job's share as float vectors in Kaldi form; returns how many.

        `load`: the extractor and the epochs that its weights are the mean of; not called for an empty share.
        """
        starts = blocks_of_job(len(archive), job, self.jobs)
        with self.parts.writing(job, self.made) as part:
            if not starts:  # more jobs than blocks
                part.clear()
                return 0
            with writing_ark(part.path(ARK)) as ark:
                extractor, part.facts["epochs"] = load()
                for start in starts:
                    for row, embedding in enumerate(extractor.block(archive, start), start):
                        ark.write(archive.keys[row], _entry(embedding))
                part.begin_replacing()
            part.contents[ARK] = ark.contents.hexdigest()
            keys = archive.keys[starts[0] : starts[0] + len(ark.offsets)]
            tables.write_table(part.path(SCP), keys, ark.places(part.path(ARK)))
        return len(keys)

    def join(self, archive: Archive) -> None:
        """Write xvector.scp over all parts after checking that every utterance is there once."""
        records = [self.parts.require(job, self.made, REMEDY) for job in range(1, self.jobs + 1)]
        keys, places, _ = self.parts.read_tables(SCP)
        require_all(self.parts.folder, archive.keys, keys, f"{REMEDY[:-1]} with --force true.")
        facts = next((record.facts for record in records if "epochs" in record.facts), {})
        with self.parts.joining(self.made, records, facts):
            tables.write_table(self.folder / "xvector.scp", keys, places)


def _entry(embedding: NDArray[np.float32]) -> bytes:
    """A float vector as Kaldi writes it, without its key."""
    buffer = io.BytesIO()
    kaldiio.save_ark(buffer, {"": embedding})
    return buffer.getvalue()[1:]
