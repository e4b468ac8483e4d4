"""The order in which an epoch visits the utterances."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import seeds
from sslsv_tk.counts import fitting_batch


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

    Draws are keyed (seed, epoch), so that an epoch can be entered at any step. Of each batch every process gets a
    stretch of the same length, so that the stretches in the order of the ranks are the batch.
    """

    def __init__(self, utterances: int, batch_size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        if batch_size > utterances:
            raise ValueError(
                f"A batch of {batch_size} utterances does not fit a training set of {utterances}. "
                f"Set training.batch_size to {fitting_batch(utterances)}, or to any number up to {utterances}; "
                "`run.sh --scale auto` does it."
            )
        if batch_size % processes:
            raise ValueError(
                f"A batch of {batch_size} utterances cannot be shared out evenly among {processes} processes. Set "
                f"training.batch_size to a multiple of {processes}, or train on another number of processes."
            )
        self.utterances, self.batch_size, self.seed = utterances, batch_size, seed
        self.rank, self.processes = rank, processes

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
        """The requests of an epoch from `first_step` on, for this process."""
        order, share = self._order(epoch), self.batch_size // self.processes
        for step in range(first_step, self.steps):
            first = step * self.batch_size + self.rank * share
            rows = order[first : first + share]
            partner_B = None if partners is None else partners[rows]
            yield BatchRequest(epoch, rows, partner_B, with_references=with_references)

    def everyone(self, epoch: int, first: int = 0, with_views: bool = True) -> Iterator[BatchRequest]:
        """Every utterance once, from the place `first` of a random order on, the last two batches short and even.

        The order is random so that a queue that holds fewer than all holds utterances of all speakers, and no batch is
        of a few rows, of which a method that looks at the whole batch would make other projections. Where a batch
        cannot be shared out evenly its last utterance is repeated until it can; `whole` does not count those.
        """
        order = self._order(epoch)
        while first < self.utterances:
            rows = order[first : first + self.whole(first)]
            first += len(rows)
            rows = np.append(rows, np.repeat(rows[-1:], -len(rows) % self.processes))
            yield BatchRequest(epoch, np.split(rows, self.processes)[self.rank], with_views=with_views)

    def whole(self, first: int) -> int:
        """How many utterances the batch of `everyone` has that begins at the place `first`, over all processes."""
        left = self.utterances - first
        return left if left <= self.batch_size else min(self.batch_size, (left + 1) // 2)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return seeds.generator(self.seed, "order", epoch).permutation(self.utterances)
