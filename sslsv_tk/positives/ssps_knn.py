"""Pseudo-positives from nearest neighbours in a queue, without clusters.

Lepage and Dehak, arXiv 2501.17772 (the extended version of the SSPS paper). The newest utterances lie in a queue with
their projection and reference embedding; an anchor takes the projection of one of the k whose references are nearest to
its own. Q rows in the queue, N utterances, k nearest, B batch, S positive slots, P projection, R segments, D embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.clustering.ranks import Weights, check_weights, draw_ranks
from sslsv_tk.clustering.references import mean_reference
from sslsv_tk.distributed.shards import part_of, with_part
from sslsv_tk.nn.queue import UtteranceQueue
from sslsv_tk.positives.base import (
    Pass,
    PositiveSampler,
    SamplerFacts,
    check_method_has_positives,
    put_rows,
)


@dataclass(frozen=True, kw_only=True)
class SSPSKNNConfig:
    """Settings of the sampler; the defaults are the paper's for VoxCeleb2."""

    nearest: int = 50
    """k, candidates of an utterance."""
    weights: Weights = "uniform"
    """How often each candidate is drawn; exponential: the nearest most often."""
    decay: float = 0.7
    """Of exponential weights: rank r has weight exp(-decay r)."""
    queue_size: int = 50_000
    """Q, utterances that are candidates."""
    filling: Literal["pass", "epoch"] = "pass"
    """Where the first rows of the queue come from: a pass over all utterances in evaluation mode before the first
    epoch, or that epoch itself, in which every utterance then keeps its own positive."""

    def __post_init__(self) -> None:
        for name in ("nearest", "queue_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}.")
        check_weights(self.weights, self.decay)


class SSPSKNN(PositiveSampler):
    """The projection of one of the queued utterances whose reference embeddings are nearest to the anchor's."""

    Config = SSPSKNNConfig
    reference_segments = 1

    def __init__(self, config: SSPSKNNConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        check_method_has_positives(self.name, facts)
        size = min(config.queue_size, facts.utterances)
        if config.nearest >= size > 1:
            raise ValueError(
                f"nearest: a queue of {size} utterances (queue_size {config.queue_size}, training set "
                f"{facts.utterances}) has {size - 1} others than the anchor, found {config.nearest}. Set fewer."
            )
        self.queue = UtteranceQueue(size, facts.utterances, (facts.slots, facts.projection_dimension), facts.device)
        self.references_QD = torch.zeros(size, facts.embedding_dimension, device=facts.device)
        self.epoch = -1
        self._is_filled = False
        self._draw_N = torch.zeros(facts.utterances, dtype=torch.float64, device=facts.device)

    def pass_before(self, epoch: int) -> Pass:
        """Everything, once, unless the first epoch is the filling."""
        if self._is_filled or self.epoch >= 0 or self.config.filling == "epoch":
            return "nothing"
        return "everything"

    def end_pass(self, epoch: int) -> None:
        """The queue holds rows of one encoder."""
        self._is_filled = True

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Draw for each utterance of the epoch which of its candidates it takes."""
        uniform_N1 = seeds.uniform(1, self.facts.seed, "ssps_knn", epoch, np.arange(self.facts.utterances))
        self._draw_N = torch.from_numpy(uniform_N1[:, 0].copy()).to(self.facts.device)
        if 0 <= self.epoch < epoch:
            self._is_filled = True
        self.epoch = epoch
        return {"queue_filled": min(self.queue.entered, self.queue.size) / self.queue.size}

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Put queued projections of near utterances in the place of positives."""
        if self.epoch < 0:
            raise ValueError("The positives ssps_knn have drawn nothing yet: start_epoch comes before replace.")
        device, utterance_B = utterance_B.device, utterance_B.to(self.facts.device)
        candidates_BK, count_B = self._nearest(utterance_B, self._mean_reference(reference_RBD))
        rank_B = draw_ranks(count_B, self._draw_N[utterance_B], self.config.weights, self.config.decay)
        is_replaced_B = (rank_B >= 0) & self._is_filled
        drawn_B = candidates_BK.gather(1, rank_B.clamp(min=0)[:, None])[:, 0]
        chosen_B = torch.where(is_replaced_B, drawn_B, utterance_B)
        self._measures = {"queue_age": self.queue.mean_age(chosen_B, is_replaced_B)}
        return put_rows(positives_SBP, self.queue.row_of(chosen_B), is_replaced_B), chosen_B.to(device)

    def _nearest(self, utterance_B: Tensor, reference_BD: Tensor) -> tuple[Tensor, Tensor]:
        """(B, k) the utterances nearest to each row, and (B,) how many of them count: newest rows of others."""
        owner_Q = self.queue.owner
        cosines_BQ = reference_BD @ self.references_QD.T
        cosines_BQ.masked_fill_(~self.queue.newest_slots(), -torch.inf)
        cosines_BQ.masked_fill_(owner_Q == utterance_B[:, None], -torch.inf)
        best = cosines_BQ.topk(min(self.config.nearest, self.queue.size), dim=1)
        return owner_Q[best.indices], best.values.isfinite().sum(1)

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Queue projections and reference embeddings."""
        if positives_SBP is None:
            return
        utterance_B = utterance_B.to(self.facts.device)
        reference_BD = self._mean_reference(reference_RBD)[-self.queue.size :]
        self.queue.push(positives_SBP.detach().transpose(0, 1), utterance_B)
        slots_B = torch.arange(self.queue.entered - len(reference_BD), self.queue.entered, device=self.facts.device)
        self.references_QD[slots_B % self.queue.size] = reference_BD

    def whole_state(self) -> dict[str, Any]:
        """The epoch and the queue (tensors are not copies)."""
        own = {"epoch": self.epoch, "is_filled": self._is_filled, "references_QD": self.references_QD}
        return {**own, **with_part("queue", self.queue.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same training set, queue and widths stopped."""
        self._check_names(state)
        if state["references_QD"].shape != self.references_QD.shape:
            raise ValueError(
                f"The saved queue's references have shape {tuple(state['references_QD'].shape)}, this one's "
                f"{tuple(self.references_QD.shape)}: it was written for another training set, queue size or width. "
                "Use the settings it was made with."
            )
        self.queue.load_state_dict(part_of(state, "queue"))
        self.references_QD.copy_(state["references_QD"])
        self._is_filled = bool(state["is_filled"])
        if int(state["epoch"]) >= 0:
            self.start_epoch(int(state["epoch"]))

    def _mean_reference(self, reference_RBD: Tensor | None) -> Tensor:
        """(B, D) unit rows, which come with every batch."""
        if reference_RBD is None:
            raise ValueError("The positives ssps_knn need the embeddings of reference segments with every batch.")
        return mean_reference(reference_RBD)
