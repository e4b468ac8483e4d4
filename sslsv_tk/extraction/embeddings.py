"""Embeddings of full-length utterances, the same bits whatever the number of jobs.

Batches are formed on the whole list, in blocks of fixed size, before the blocks are dealt to jobs; a batch holds
utterances of exactly one length, so that nothing is padded. Shapes: B utterances, T samples, L frames, F bands,
D dimension.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sslsv_tk.arks.feature_archive import Archive, FeatureArchive
from sslsv_tk.blocks import BLOCK
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.kaldi import tables

_MOST_SAMPLES = 16_000 * 120  # of audio in a batch, which bounds memory
_MOST_FRAMES = 100 * 120  # of features


def batches_of_rows(lengths_N: NDArray[np.integer], rows: NDArray[np.int64], most: int) -> Iterator[NDArray[np.int64]]:
    """The rows in batches of one length, of `most` samples (or frames) together."""
    if len(rows) == 0:
        return
    rows = rows[np.argsort(lengths_N[rows], kind="stable")]
    for group in np.split(rows, np.flatnonzero(np.diff(lengths_N[rows])) + 1):
        size = max(1, most // int(lengths_N[group[0]]))
        for first in range(0, len(group), size):
            yield group[first : first + size]


def _lengths(archive: Archive) -> NDArray[np.int64]:
    """(N,) frames of features, samples of audio."""
    return archive.frames if isinstance(archive, FeatureArchive) else archive.samples


class Extractor:
    """Runs an encoder in evaluation mode over whole utterances."""

    def __init__(
        self, encoder: Encoder, front_end: FrontEnd, device: torch.device, precision: Literal["fp32", "bf16"] = "fp32"
    ) -> None:
        """`precision` is that of the encoder, by autocast as in training; frames and embeddings are fp32."""
        self.encoder, self.front_end = encoder.to(device).eval(), front_end.to(device)
        self.device, self.precision = device, precision

    @torch.no_grad()
    def embed(self, archive: Archive, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, D) embeddings of utterances of one length, not normalised."""
        has_frames = isinstance(archive, FeatureArchive)
        count = int(_lengths(archive)[rows[0]])
        whole = torch.from_numpy(np.stack([archive.read(int(row), 0, count) for row in rows])).to(self.device)
        try:
            frames = self.front_end.normalised(whole) if has_frames else self.front_end(whole)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                embedding_BD: NDArray[np.float32] = self.encoder(frames).float().cpu().numpy()
        except ValueError as error:
            raise ValueError(f"{tables.text(archive.keys[rows[0]])}: {error}") from None
        broken = ~np.isfinite(embedding_BD).all(1)
        if broken.any():
            key = tables.text(archive.keys[rows[int(broken.argmax())]])
            raise ValueError(f"{key}: its embedding is not finite. Listen to the file, or take it out of the list.")
        return embedding_BD

    def block(self, archive: Archive, start: int) -> NDArray[np.float32]:
        """Embeddings of a block in the order of its rows."""
        block_rows = np.arange(start, min(start + BLOCK, len(archive)))
        block = np.empty((len(block_rows), self.encoder.dimension), dtype=np.float32)
        for rows, embeddings in self.all(archive, block_rows):
            block[rows - start] = embeddings
        return block

    def all(self, archive: Archive, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows of any lengths, some at a time, with their embeddings; in the order of their lengths."""
        most = _MOST_FRAMES if isinstance(archive, FeatureArchive) else _MOST_SAMPLES
        for batch in batches_of_rows(_lengths(archive), rows, most):
            yield batch, self.embed(archive, batch)
