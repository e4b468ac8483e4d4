"""Embeddings of full-length utterances, the same bits whatever the number of jobs.

Batches are formed on the whole list, in blocks of fixed size, before the blocks are dealt to jobs; a batch holds
utterances of exactly one length, so that nothing is padded. Shapes: B utterances, T samples, D dimension.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from sslsv_tk.data import tables
from sslsv_tk.data.arks import AudioArchive
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.extraction.folder import BLOCK
from sslsv_tk.frontend.features import FrontEnd

_MOST_SAMPLES = 16_000 * 120  # of audio in a batch, which bounds memory


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
