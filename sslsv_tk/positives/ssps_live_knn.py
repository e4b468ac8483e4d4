"""Live pseudo-positives from the nearest reference embeddings, where possible only from those that agree.

Where speakers have few recordings, a cluster large enough to hold several of them holds other speakers, too. Here an
utterance's candidates are the k others whose reference embeddings are nearest, and with `mutual` only those of them
that count it among their own k nearest: an utterance without any keeps its own positive. The loader cuts the positive
from the chosen utterance's audio, as in ssps_live. The search is exact: N x N products before every epoch.
N utterances, k nearest, B batch, S positive slots, P projection.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.clustering.neighbours import cohort_of, nearest_others
from sslsv_tk.clustering.ranks import Weights, check_weights, draw_ranks
from sslsv_tk.clustering.references import ReferenceConfig, References
from sslsv_tk.clustering.shared_rows import SharedRows
from sslsv_tk.positives.base import LiveSampler, SamplerFacts


@dataclass(frozen=True, kw_only=True)
class SSPSLiveKNNConfig(ReferenceConfig):
    """Settings of the sampler."""

    nearest: int = 2
    """k, candidates of an utterance."""
    mutual: bool = True
    """Only those candidates that have the utterance among their own k."""
    weights: Weights = "uniform"
    """How often each candidate is drawn; exponential: the nearest most often."""
    decay: float = 0.7
    """Of exponential weights: rank r has weight exp(-decay r)."""
    cohort: int = 0
    """Similarities are normalised by those with so many nearest others (adaptive symmetric score normalisation); 0:
    they are cosines."""
    kept_share: float = 1.0
    """Only candidates that are at least as similar as the nearest one is for this share of all that are compared; with
    `mutual` fewer utterances are left, where many are equally similar more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nearest < 1:
            raise ValueError(f"nearest: expected at least 1 candidate, found {self.nearest}.")
        check_weights(self.weights, self.decay)
        if self.cohort < 0 or self.cohort == 1:
            raise ValueError(f"cohort: expected 0 for none, or at least 2 others, found {self.cohort}.")
        if not 0 < self.kept_share <= 1:
            raise ValueError(f"kept_share: expected a share above 0, up to 1, found {self.kept_share}.")


class SSPSLiveKNN(LiveSampler):
    """Pseudo-positives from the audio of one of the nearest utterances."""

    Config = SSPSLiveKNNConfig
    points_are: ClassVar[str] = "utterances"
    """What is compared, as messages call it."""

    def __init__(self, config: SSPSLiveKNNConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self.config: SSPSLiveKNNConfig = config
        points = self._count_points()
        if points < 2:
            raise ValueError(
                f"The positives {self.name} are those of other {self.points_are}, and the training set has {points}. "
                "Choose other positives (same_utterance)."
            )
        if config.nearest >= points:
            raise ValueError(
                f"nearest: {points} {self.points_are} have {points - 1} others, found {config.nearest}. Set fewer."
            )
        self.references = References(config, facts.utterances, facts.embedding_dimension, facts.device)

    def _count_points(self) -> int:
        return self.facts.utterances

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Find the candidates and draw the partners of an epoch."""
        self.epoch = epoch
        rows, points = self.references.shared_points()
        self.references.forget_scatter()
        self._partner_N = torch.arange(self.facts.utterances, device=self.facts.device)
        numbers = {"seen_share": len(rows) / self.facts.utterances}
        found = self._draw(rows, points)
        if found is not None:
            drawn_N, candidates_N = found
            self._partner_N[rows] = torch.where(drawn_N >= 0, rows[drawn_N.clamp(min=0)], rows)
            numbers["candidates"] = int(candidates_N.sum()) / len(rows)
        return numbers

    def _draw(self, rows: Tensor, points: SharedRows) -> tuple[Tensor, Tensor] | None:
        """(N,) place among `rows` of the one that each row draws, -1 for none, and (N,) how many candidates it has.

        None while there are no more than the candidates wanted.
        """
        if len(rows) <= self.config.nearest:
            return None
        nearest_NK, accepted_NK = self._candidates(points)
        (uniform_N,) = self._uniform(rows, 1)
        drawn_N = draw_accepted(nearest_NK, accepted_NK, uniform_N, self.config.weights, self.config.decay)
        return drawn_N, accepted_NK.sum(1)

    def _candidates(self, points: SharedRows) -> tuple[Tensor, Tensor]:
        """(N, k) the nearest others of each point, the nearest first, and which of them are accepted."""
        compares = self.config.cohort > 0 and len(points) > 2  # the only other one has no deviation
        cohort = cohort_of(points, self.config.cohort) if compares else None
        similarity_NK, nearest_NK = nearest_others(points, self.config.nearest, cohort)
        accepted_NK = is_mutual(nearest_NK) if self.config.mutual else torch.ones_like(nearest_NK).bool()
        if self.config.kept_share < 1:
            best_N = similarity_NK[:, 0].sort(descending=True).values
            accepted_NK &= similarity_NK >= best_N[math.ceil(self.config.kept_share * len(best_N)) - 1]
        return nearest_NK, accepted_NK

    def _uniform(self, rows: Tensor, count: int) -> Tensor:
        """(count, N) draws in [0, 1) of the epoch for some utterances."""
        draws_NC = seeds.uniform(count, self.facts.seed, self.name, self.epoch, rows.cpu().numpy())
        return torch.from_numpy(draws_NC.T.copy()).to(rows.device)

    def whole_state(self) -> dict[str, Any]:
        """References and the partners of the epoch (tensors are not copies)."""
        return {**super().whole_state(), "partner_N": self._partner_N}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same training set stopped."""
        super().load_state_dict(state)
        self._partner_N = state["partner_N"].to(self.facts.device, copy=True)


def is_mutual(nearest_NK: Tensor) -> Tensor:
    """(N, k): does each candidate have the row itself among its own candidates?"""
    own_N1 = torch.arange(len(nearest_NK), device=nearest_NK.device)[:, None]
    mutual = [(nearest_NK[nearest_NK[:, k]] == own_N1).any(1) for k in range(nearest_NK.shape[1])]
    return torch.stack(mutual, dim=1)


def draw_accepted(
    candidates_NK: Tensor, accepted_NK: Tensor, uniform_N: Tensor, weights: Weights, decay: float
) -> Tensor:
    """(N,) one of the accepted candidates of each row, the nearest standing first; -1 where none is accepted."""
    rank_N = draw_ranks(accepted_NK.sum(1), uniform_N, weights, decay)
    is_drawn_NK = accepted_NK & (accepted_NK.cumsum(1) == rank_N[:, None] + 1)
    drawn_N = candidates_NK.gather(1, is_drawn_NK.int().argmax(1, keepdim=True))[:, 0]
    return torch.where(rank_N >= 0, drawn_N, -1)
