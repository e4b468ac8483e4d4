"""Margins on the angles between embeddings and classes. B utterances, C classes, k sub-centres of each class."""

import math

import torch
from torch import Tensor


def widen(cosine: Tensor, margin: float) -> Tensor:
    """cos(angle + margin), in radians; beyond the angle pi - margin cos(angle) - margin * sin(margin).

    The straight line goes on falling where the cosine would rise again (Deng et al., "ArcFace: Additive angular
    margin loss for deep face recognition", CVPR 2019, and its public code).
    """
    moved = cosine * math.cos(margin) - _sine(cosine) * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), moved, cosine - margin * math.sin(margin))


def narrow(cosine: Tensor, margin: float) -> Tensor:
    """cos(angle - margin), in radians."""
    return cosine * math.cos(margin) + _sine(cosine) * math.sin(margin)


def nearest_sub_centers(cosine_BCk: Tensor, sub_centers: int) -> Tensor:
    """Cosines (B, C) with each class's nearest sub-centre, from those with all of them (B, C * k), class by class.

    Noisy utterances of a class may gather around a centre of their own (Deng et al., "Sub-center ArcFace: Boosting
    face recognition by large-scale noisy web faces", ECCV 2020).
    """
    nearest_BC: Tensor = cosine_BCk.unflatten(1, (-1, sub_centers)).max(2).values
    return nearest_BC


def _sine(cosine: Tensor) -> Tensor:
    """Sine of angles from 0 to pi; the floor keeps its gradient finite at both ends."""
    return (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
