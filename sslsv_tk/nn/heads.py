"""Projectors and predictors: small networks between the embedding and the loss.

Shapes: V views, B utterances, X and Y widths before and after a head.
"""

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor, nn


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


def over_views(head: Callable[[Tensor], Tensor], rows_VBX: Tensor) -> Tensor:
    """(V, B, Y): a head over the rows of all views in one pass, so that they share the statistics of batch norms."""
    rows_VBY: Tensor = head(rows_VBX.flatten(0, 1)).unflatten(0, rows_VBX.shape[:2])
    return rows_VBY
