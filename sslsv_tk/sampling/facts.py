"""What a positive sampler knows of the training set and of the method. N utterances, S slots, P and D widths."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk import seeds


@dataclass(frozen=True)
class SamplerFacts:
    """Facts of corpus and method; speakers and recordings reach only the samplers that need them."""

    utterances: int
    """N, rows of the training set."""
    seed: int = 0
    """All draws are keyed (seed, epoch, utterance)."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where positives live, and everything that a sampler is handed or keeps."""
    projection_dimension: int = 0
    """P, width of what the loss sees."""
    embedding_dimension: int = 0
    """D, width of what is clustered."""
    projections_are_embeddings: bool = True
    """Does the loss see the embeddings themselves, without a projector?"""
    slots: int = 1
    """S, positives per utterance (1: SimCLR; 2: methods with two keys or teacher views)."""
    speakers: NDArray[np.int32] | None = None
    """(N,) true speaker codes; None unless the sampler needs labels."""
    recordings: NDArray[np.int32] | None = None
    """(N,) recording codes; None where they are unknown, or needed by neither `needs_labels` nor `needs_recordings`."""

    def __post_init__(self) -> None:
        if self.utterances < 1:
            raise ValueError(f"A positive sampler needs at least one utterance, found {self.utterances}.")
        for name in ("speakers", "recordings"):
            codes = getattr(self, name)
            if codes is not None and codes.shape != (self.utterances,):
                raise ValueError(f"Expected {self.utterances} codes of {name}, found an array of shape {codes.shape}.")

    @property
    def everyone(self) -> Tensor:
        """(N,) all utterances, on the device."""
        return torch.arange(self.utterances, device=self.device)

    def uniform(self, count: int, word: str, epoch: int) -> Tensor:
        """(count, N) float64: draws in [0, 1) of each utterance, keyed (seed, word, epoch, utterance), on the device.

        They depend neither on the order of batches, nor on the number of processes, nor on how often a run was killed.
        """
        draws_NC = seeds.uniform(count, self.seed, word, epoch, np.arange(self.utterances))
        return torch.from_numpy(draws_NC.T.copy()).to(self.device)

    def check_positives(self) -> None:
        """Refuse a method that has no positives which others could replace."""
        if self.embedding_dimension < 1 or self.projection_dimension < 1 or self.slots < 1:
            raise ValueError(
                f"Positives of other utterances are for a method that has positives; found projection "
                f"{self.projection_dimension}, embedding {self.embedding_dimension}, slots {self.slots}. Choose "
                "another method, or the positives same_utterance."
            )
