"""Pseudo-positives from nearest neighbours in a queue, without clusters.

Lepage and Dehak, arXiv 2501.17772 (the extended version of the SSPS paper). The newest utterances lie in a queue with
their projection and reference embedding; an anchor takes the projection of one of the k whose references are nearest to
its own. Q rows in the queue, N utterances, k nearest, B batch, S positive slots, P projection, R segments, D embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sslsv_tk.clustering.ranks import Weights, check_weights, draw_ranks
from sslsv_tk.counts import Count, count_of, share_of
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.sampling.filling import FilledBy, Filling
from sslsv_tk.sampling.part import Part
from sslsv_tk.sampling.queue import PositiveQueue
from sslsv_tk.sampling.references import mean_reference


@dataclass(frozen=True, kw_only=True)
class SSPSKNNConfig:
    """Settings of the sampler; the defaults are the paper's for VoxCeleb2."""

    nearest: int = 50
    """k, candidates of an utterance."""
    weights: Weights = "uniform"
    """How often each candidate is drawn; exponential: the nearest most often."""
    decay: float = 0.7
    """Of exponential weights: rank r has weight exp(-decay r)."""
    queue_size: Count = 50_000
    """Q, utterances that are candidates, or a share of all: N."""
    filling: FilledBy = "pass"
    """Where the first rows of the queue come from: a pass over all utterances in evaluation mode before the first
    epoch, or that epoch itself, in which every utterance then keeps its own positive."""

    def __post_init__(self) -> None:
        if self.nearest < 1:
            raise ValueError(f"nearest: expected at least 1, found {self.nearest}.")
        share_of("queue_size", self.queue_size)
        check_weights(self.weights, self.decay)


class SSPSKNN(PositiveSampler):
    """The projection of one of the queued utterances whose reference embeddings are nearest to the anchor's."""

    Config = SSPSKNNConfig
    config: SSPSKNNConfig
    reference_segments = 1

    def __init__(self, config: SSPSKNNConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        facts.check_positives()
        size = min(count_of("queue_size", config.queue_size, facts.utterances), facts.utterances)
        if config.nearest >= size > 1:
            raise ValueError(
                f"nearest: a queue of {size} utterances (queue_size {config.queue_size}, training set "
                f"{facts.utterances}) has {size - 1} others than the anchor, found {config.nearest}. Set fewer."
            )
        self.filling = Filling("everything", config.filling)
        self.queue = PositiveQueue(size, facts)
        self.queued = QueuedReferences(self.queue, facts)
        self._uniform_N = torch.empty(0)

    def draw(self, epoch: int) -> dict[str, float]:
        """Say how full the queue is; the candidates of an utterance are found in its step."""
        return {"queue_filled": min(self.queue.entered, self.queue.size) / self.queue.size}

    def prepare(self, epoch: int) -> None:
        """Draw for each utterance which of its candidates it takes."""
        (self._uniform_N,) = self.facts.uniform(1, self.name, epoch)

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Put queued projections of near utterances in the place of positives."""
        self.filling.check_started()
        nearest_BK, count_B = self.queued.nearest(utterance_B, _mean(reference_RBD), self.config.nearest)
        rank_B = draw_ranks(count_B, self._uniform_N[utterance_B], self.config.weights, self.config.decay)
        drawn_B = nearest_BK.gather(1, rank_B.clamp(min=0)[:, None])[:, 0]
        drawn_B = torch.where((rank_B >= 0) & self.filling.is_filled, drawn_B, -1)
        replaced_SBP, chosen_B, age = self.queue.replace(positives_SBP, utterance_B, drawn_B)
        self.measure(queue_age=age)
        return replaced_SBP, chosen_B

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Queue projections and reference embeddings."""
        if positives_SBP is not None:
            reference_BD = _mean(reference_RBD)
            self.queue.push(positives_SBP, utterance_B)
            self.queued.push(reference_BD)


class QueuedReferences(Part):
    """The reference embedding of each row of a queue, in the row's slot."""

    saved = ("references_QD",)

    def __init__(self, queue: PositiveQueue, facts: SamplerFacts) -> None:
        self._queue = queue
        self.references_QD = torch.zeros(queue.size, facts.embedding_dimension, device=facts.device)

    def push(self, reference_BD: Tensor) -> None:
        """Those of the rows that have just entered the queue."""
        reference_BD = reference_BD[-self._queue.size :]
        entered = self._queue.entered
        entry_B = torch.arange(entered - len(reference_BD), entered, device=reference_BD.device)
        self.references_QD[entry_B % self._queue.size] = reference_BD

    def nearest(self, utterance_B: Tensor, reference_BD: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """(B, k) the utterances nearest to each row, and (B,) how many of them count: newest rows of others."""
        owner_Q = self._queue.owner
        cosines_BQ = reference_BD @ self.references_QD.T
        cosines_BQ.masked_fill_(~self._queue.newest_slots(), -torch.inf)
        cosines_BQ.masked_fill_(owner_Q == utterance_B[:, None], -torch.inf)
        best = cosines_BQ.topk(min(count, self._queue.size), dim=1)
        return owner_Q[best.indices], best.values.isfinite().sum(1)


def _mean(reference_RBD: Tensor | None) -> Tensor:
    """(B, D) unit rows, which come with every batch."""
    if reference_RBD is None:
        raise ValueError("These positives need the embeddings of reference segments with every batch, found none.")
    return mean_reference(reference_RBD)
