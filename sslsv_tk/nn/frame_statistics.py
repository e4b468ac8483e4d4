"""Mean and deviation of frames under weights, with few passes over memory. B utterances, C channels, L frames.

R stands for the B C rows of one channel of one utterance.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sslsv_tk.nn.precision import single

LEAST_VARIANCE = 1e-12
_CACHED = 2**17
"""Numbers of a block of rows that stay in a core's cache while a few operators go over them."""


def weighted_statistics(frames_BCL: Tensor, weight_BCL: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, C), in single precision, under weights whose sum over the frames is 1.

    None: all frames alike. The variance is that of the deviations from the mean, so that nothing cancels out.
    """
    if frames_BCL.device.type == "cpu" and not torch.compiler.is_compiling():
        found = _InBlocks.apply(frames_BCL, weight_BCL)  # type: ignore[no-untyped-call]
        return found[0], found[1]
    frames_BCL = single(frames_BCL)
    weight = weight_BCL if weight_BCL is not None else 1 / frames_BCL.shape[-1]
    mean_BC = (frames_BCL * weight).sum(-1)
    variance_BC = ((frames_BCL - mean_BC.unsqueeze(-1)).square() * weight).sum(-1)
    return mean_BC, variance_BC.clamp(min=LEAST_VARIANCE).sqrt()


class _InBlocks(torch.autograd.Function):
    """The same with gradients in closed form, a block of rows at a time.

    With t = x - mean, and h the gradient of the variance (0 where it is below the least): that of x is
    w (g + 2 h t), since the weighted t sum up to 0; that of w is g x + h t t, g the gradient of the mean.
    """

    @staticmethod
    def forward(context: Any, frames_BCL: Tensor, weight_BCL: Tensor | None) -> tuple[Tensor, Tensor]:
        x_RL, w_RL = frames_BCL.flatten(0, 1), None if weight_BCL is None else weight_BCL.flatten(0, 1)
        mean_R = x_RL.new_empty(len(x_RL), dtype=_wide(x_RL.dtype))
        variance_R = torch.empty_like(mean_R)
        for rows, x, w in _blocks(x_RL, w_RL):
            torch.sum(x * w, -1, out=mean_R[rows])
            torch.sum((x - mean_R[rows, None]).square_().mul_(w), -1, out=variance_R[rows])
        deviation_R = variance_R.clamp(min=LEAST_VARIANCE).sqrt()
        context.save_for_backward(frames_BCL, weight_BCL, mean_R, deviation_R, variance_R)
        return mean_R.view(frames_BCL.shape[:2]), deviation_R.view(frames_BCL.shape[:2])

    @staticmethod
    def backward(context: Any, to_mean_BC: Tensor, to_deviation_BC: Tensor) -> tuple[Tensor, Tensor | None]:
        frames_BCL, weight_BCL, mean_R, deviation_R, variance_R = context.saved_tensors
        x_RL, w_RL = frames_BCL.flatten(0, 1), None if weight_BCL is None else weight_BCL.flatten(0, 1)
        g_R1 = to_mean_BC.flatten()[:, None]
        h_R1 = (to_deviation_BC.flatten() / (2 * deviation_R)).masked_fill(variance_R < LEAST_VARIANCE, 0.0)[:, None]
        to_x_RL, to_w_RL = torch.empty_like(x_RL), None if w_RL is None else torch.empty_like(w_RL)
        for rows, x, w in _blocks(x_RL, w_RL):
            t = x - mean_R[rows, None]
            slope = t * h_R1[rows]
            if to_w_RL is not None:
                to_w_RL[rows] = (slope * t).addcmul_(x, g_R1[rows])
            to_x_RL[rows] = slope.mul_(2).add_(g_R1[rows]).mul_(w)
        return to_x_RL.view_as(frames_BCL), None if to_w_RL is None else to_w_RL.view_as(frames_BCL)


def _wide(kind: torch.dtype) -> torch.dtype:
    return kind if kind == torch.float64 else torch.float32


def _blocks(x_RL: Tensor, w_RL: Tensor | None) -> Iterator[tuple[slice, Tensor, Tensor | float]]:
    """Blocks of rows, widened to single precision, and their weights."""
    length = x_RL.shape[1]
    step = max(1, _CACHED // length)
    for first in range(0, len(x_RL), step):
        rows = slice(first, first + step)
        yield rows, single(x_RL[rows]), 1 / length if w_RL is None else w_RL[rows]
