"""Embeddings of full-length utterances, the same bits whatever the number of jobs.

Batches are formed on the whole list, in blocks of fixed size, before the blocks are dealt to jobs; a batch holds
utterances of exactly one length, so that nothing is padded. Shapes: B utterances, T samples, D dimension.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import torch
from numpy.typing import NDArray

from sslsv_tk import artifacts
from sslsv_tk.data import directories, tables
from sslsv_tk.data.arks import AudioArchive
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.frontend.features import FrontEnd

BLOCK = 128  # utterances; part of what makes embeddings independent of the number of jobs
_log = logging.getLogger("extraction")
_MOST_SAMPLES = 16_000 * 120  # of audio in a batch, which bounds memory


def blocks_of_job(utterances: int, job: int, jobs: int) -> range:
    """First rows of the blocks that job number `job` (from 1) of `jobs` computes."""
    starts = range(0, utterances, BLOCK)
    share = len(starts) / jobs
    return starts[round((job - 1) * share) : round(job * share)]


def batches_of_block(samples_N: NDArray[np.integer], start: int) -> Iterator[NDArray[np.int64]]:
    """Rows of the block that begins at `start`, in batches of one length."""
    rows = np.arange(start, min(start + BLOCK, len(samples_N)))
    rows = rows[np.argsort(samples_N[rows], kind="stable")]
    for group in np.split(rows, np.flatnonzero(np.diff(samples_N[rows])) + 1):
        size = max(1, _MOST_SAMPLES // int(samples_N[group[0]]))
        for first in range(0, len(group), size):
            yield group[first : first + size]


class Extractor:
    """Runs an encoder in evaluation mode over whole utterances."""

    def __init__(self, encoder: Encoder, front_end: FrontEnd, device: torch.device) -> None:
        self.encoder, self.front_end = encoder.to(device).eval(), front_end.to(device)
        self.device = device

    @torch.no_grad()
    def embed(self, archive: AudioArchive, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, D) embeddings of utterances of one length, not normalised."""
        count = int(archive.samples[rows[0]])
        waveform_BT = torch.from_numpy(np.stack([archive.read(int(row), 0, count) for row in rows]))
        try:
            found = self.encoder(self.front_end(waveform_BT.to(self.device))).float().cpu().numpy()
        except ValueError as error:
            raise ValueError(f"{tables.text(archive.keys[rows[0]])}: {error}") from None
        broken = ~np.isfinite(found).all(1)
        if broken.any():
            key = tables.text(archive.keys[rows[int(broken.argmax())]])
            raise ValueError(f"{key}: its embedding is not finite. Listen to the file, or take it out of the list.")
        return found

    def block(self, archive: AudioArchive, start: int) -> NDArray[np.float32]:
        """Embeddings of a block in the order of its rows."""
        stop = min(start + BLOCK, len(archive))
        block = np.empty((stop - start, self.encoder.dimension), dtype=np.float32)
        for rows in batches_of_block(archive.samples, start):
            block[rows - start] = self.embed(archive, rows)
        return block


@dataclass(frozen=True)
class EmbeddingFolder:
    """FOLDER/parts/J/{xvector.ark,xvector.scp,made.json} of the jobs, and FOLDER/{xvector.scp,made.json} of all.

    `options` and `inputs` say what made them; embeddings made otherwise (another checkpoint file, another list)
    are older than what is asked for and are made anew.
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
            return artifacts.made_as(folder, self.options, self.inputs)
        except artifacts.StaleArtifact as difference:
            _log.info("%s", difference)
            return False

    def has_part(self, job: int) -> bool:
        """Did job `job` finish, with these options and inputs?"""
        return self.has_all() or self._is_current(self.part(job))

    def has_all(self) -> bool:
        """Is everything joined, with these options and inputs?"""
        return self._is_current(self.folder)

    def write_part(self, job: int, extractor: Extractor, archive: AudioArchive) -> int:
        """Compute a job's share as float vectors in Kaldi form; returns how many."""
        (self.folder / artifacts.RECORD).unlink(missing_ok=True)
        part = self.part(job)
        (part / artifacts.RECORD).unlink(missing_ok=True)
        directories.remove_temporaries(part)
        ark, lines = part / "xvector.ark", []
        with artifacts.replacing(ark, "wb") as stream:
            for start in blocks_of_job(len(archive), job, self.jobs):
                for row, embedding in enumerate(extractor.block(archive, start), start):
                    key = tables.text(archive.keys[row])
                    lines.append(f"{key} {ark}:{stream.tell() + len(key.encode()) + 1}\n")
                    kaldiio.save_ark(stream, {key: embedding})
        with artifacts.replacing(part / "xvector.scp") as scp:  # may be empty: more jobs than blocks
            scp.writelines(lines)
        artifacts.record(part, self.options, self.inputs)
        return len(lines)

    def join(self, archive: AudioArchive) -> None:
        """Write xvector.scp over all parts after checking that every utterance is there once."""
        directories.remove_temporaries(self.folder)
        lines: list[str] = []
        for job in range(1, self.jobs + 1):
            if not self._is_current(self.part(job)):
                raise ValueError(f"{self.part(job)}: job {job} of {self.jobs} has not finished. Run stage 6 again.")
            lines += (self.part(job) / "xvector.scp").read_text(encoding="utf-8").splitlines()
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
        artifacts.record(self.folder, self.options, self.inputs)
