"""Projectors and predictors: small networks between the embedding and the loss.

Shapes: V views, B utterances, X and Y widths before and after a head.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Views = Literal["apart", "together"]
"""How views of a batch go through a network with batch norms. apart: one after the other, each with the statistics of
its own B segments, and running statistics move once for each; together: in one pass, with the statistics of all."""


def mlp(widths: Sequence[int], activation: type[nn.Module] = nn.ReLU, last_norm: bool = False) -> nn.Sequential:
    """Linear layers from widths[0] to widths[-1]; a batch norm and an activation follow all but the last.

    `last_norm`: the last layer is followed by a batch norm without scale and offset, and has no bias then
    (SimSiam's projector).
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), activation()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=not last_norm))
    if last_norm:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)


def over_views(head: Callable[[Tensor], Tensor], rows_VBX: Tensor, how: Views = "together") -> Tensor:
    """(V, B, Y): a head over the rows of each view."""
    if how == "apart":
        return torch.stack([head(rows_BX) for rows_BX in rows_VBX])
    rows_VBY: Tensor = head(rows_VBX.flatten(0, 1)).unflatten(0, rows_VBX.shape[:2])
    return rows_VBY
