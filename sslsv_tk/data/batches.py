"""The order in which an epoch visits the utterances."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import seeds


@dataclass(frozen=True)
class BatchRequest:
    """What a loader worker is asked for; it holds no state of its own."""

    epoch: int
    utterance_B: NDArray[np.int64]
    partner_B: NDArray[np.int64] | None = None  # utterance whose audio gives the positive; None: its own
    with_views: bool = True  # cut the method's segments
    with_references: bool = True  # cut the reference segments


class EpochBatches:
    """Batches of one permutation of the N utterances per epoch; the last, short batch is left out.

    Draws are keyed (seed, epoch), so that an epoch can be entered at any step.
    """

    def __init__(self, utterances: int, batch_size: int, seed: int) -> None:
        if batch_size > utterances:
            raise ValueError(
                f"A batch of {batch_size} utterances does not fit a training set of {utterances}. "
                f"Set training.batch_size to {utterances} or less."
            )
        self.utterances, self.batch_size, self.seed = utterances, batch_size, seed

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.utterances // self.batch_size

    def epoch(
        self,
        epoch: int,
        partners: NDArray[np.int64] | None = None,
        first_step: int = 0,
        with_references: bool = True,
    ) -> Iterator[BatchRequest]:
        """The requests of an epoch from `first_step` on."""
        order = self._order(epoch)
        for step in range(first_step, self.steps):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            partner_B = None if partners is None else partners[rows]
            yield BatchRequest(epoch, rows, partner_B, with_references=with_references)

    def everyone(self, epoch: int, first: int = 0, with_views: bool = True) -> Iterator[BatchRequest]:
        """Every utterance once, from the place `first` of a random order on, the last batch short.

        The order is random so that a queue that holds fewer than all holds utterances of all speakers.
        """
        order = self._order(epoch)
        for start in range(first, self.utterances, self.batch_size):
            yield BatchRequest(epoch, order[start : start + self.batch_size], with_views=with_views)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return seeds.generator(self.seed, "order", epoch).permutation(self.utterances)
