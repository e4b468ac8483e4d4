"""Draws of a rank: which of the nearest is taken. B draws."""

import math
from typing import Literal

import torch
from torch import Tensor

Weights = Literal["uniform", "exponential"]


def draw_ranks(count_B: Tensor, uniform_B: Tensor, weights: Weights, decay: float) -> Tensor:
    """(B,) a rank in 0..count-1 by a draw in [0, 1); -1 where the count is 0.

    `exponential`: rank r has a weight in proportion to exp(-decay * r), so the nearest is the most frequent one.
    """
    if weights == "uniform":
        rank_B = (uniform_B * count_B).long()
    else:  # the ranks below r take the share (1 - exp(-decay r)) / (1 - exp(-decay count)): solved for r
        covered_B = -torch.expm1(-decay * count_B.double())
        rank_B = (-torch.log1p(-uniform_B.double() * covered_B) / decay).long()
    return torch.minimum(rank_B, count_B.long() - 1)


def check_weights(weights: str, decay: float) -> None:
    """Refuse a decay that makes no weights."""
    if weights == "exponential" and not (decay > 0 and math.isfinite(decay)):
        raise ValueError(f"decay: exponential weights need a number above 0; found {decay}.")
