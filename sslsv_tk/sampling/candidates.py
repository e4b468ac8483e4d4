"""The nearest others of each point as candidates for its positive, where possible only those that agree.

Points are utterances or recordings. N points, k nearest.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sslsv_tk.clustering.neighbours import cohort_of, nearest_others
from sslsv_tk.clustering.ranks import Weights, check_weights, draw_ranks
from sslsv_tk.clustering.shared_rows import SharedRows
from sslsv_tk.sampling.references import ReferenceConfig


@dataclass(frozen=True, kw_only=True)
class CandidateConfig(ReferenceConfig):
    """Settings of a search for candidates among points."""

    nearest: int = 2
    """k, candidates of a point."""
    mutual: bool = True
    """Only those candidates that have the point among their own k."""
    weights: Weights = "uniform"
    """How often each candidate is drawn; exponential: the nearest most often."""
    decay: float = 0.7
    """Of exponential weights: rank r has weight exp(-decay r)."""
    cohort: int = 0
    """Similarities are normalised by those with so many nearest others (adaptive symmetric score normalisation); 0:
    they are cosines."""
    kept_share: float = 1.0
    """Only candidates that are at least as similar as the nearest one is for this share of all that are compared; with
    `mutual` fewer points are left, where many are equally similar more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nearest < 1:
            raise ValueError(f"nearest: expected at least 1 candidate, found {self.nearest}.")
        check_weights(self.weights, self.decay)
        if self.cohort < 0 or self.cohort == 1:
            raise ValueError(f"cohort: expected 0 for none, or at least 2 others, found {self.cohort}.")
        if not 0 < self.kept_share <= 1:
            raise ValueError(f"kept_share: expected a share above 0, up to 1, found {self.kept_share}.")

    def check_points(self, count: int, points: str) -> None:
        """Refuse a training set with so few of the points (utterances, recordings) that nobody has k others."""
        if count < 2:
            raise ValueError(
                f"These positives are those of other {points}, and the training set has {count}. Choose other "
                "positives (same_utterance)."
            )
        if self.nearest >= count:
            raise ValueError(f"nearest: {count} {points} have {count - 1} others, found {self.nearest}. Set fewer.")


@dataclass(frozen=True)
class Candidates:
    """Of each point the nearest others, the nearest first, and which of them are accepted."""

    nearest_NK: Tensor
    accepted_NK: Tensor

    def at(self, rows: Tensor) -> "Candidates":
        """Those of some points, repeated as the rows are."""
        return Candidates(self.nearest_NK[rows], self.accepted_NK[rows])

    @property
    def mean_count(self) -> float:
        """How many accepted candidates a point has in the mean."""
        return int(self.accepted_NK.sum()) / len(self.accepted_NK)

    def draw(self, uniform_N: Tensor, weights: Weights, decay: float) -> Tensor:
        """(N,) one of the accepted candidates of each point by a draw in [0, 1); -1 where none is accepted."""
        rank_N = draw_ranks(self.accepted_NK.sum(1), uniform_N, weights, decay)
        is_drawn_NK = self.accepted_NK & (self.accepted_NK.cumsum(1) == rank_N[:, None] + 1)
        drawn_N = self.nearest_NK.gather(1, is_drawn_NK.int().argmax(1, keepdim=True))[:, 0]
        return torch.where(rank_N >= 0, drawn_N, -1)


def find_candidates(points: SharedRows, config: CandidateConfig) -> Candidates:
    """The candidates of every point, of which there are more than k, the same on all processes; all together."""
    compares = config.cohort > 0 and len(points) > 2  # the only other one has no deviation
    cohort = cohort_of(points, config.cohort) if compares else None
    similarity_NK, nearest_NK = nearest_others(points, config.nearest, cohort)
    accepted_NK = is_mutual(nearest_NK) if config.mutual else torch.ones_like(nearest_NK).bool()
    if config.kept_share < 1:
        best_N = similarity_NK[:, 0].sort(descending=True).values
        accepted_NK &= similarity_NK >= best_N[math.ceil(config.kept_share * len(best_N)) - 1]
    return Candidates(nearest_NK, accepted_NK)


def is_mutual(nearest_NK: Tensor) -> Tensor:
    """(N, k): does each candidate have the row itself among its own candidates?"""
    own_N1 = torch.arange(len(nearest_NK), device=nearest_NK.device)[:, None]
    mutual = [(nearest_NK[nearest_NK[:, k]] == own_N1).any(1) for k in range(nearest_NK.shape[1])]
    return torch.stack(mutual, dim=1)
