"""LARS, with which BYOL and Barlow Twins were published: every layer moves by the same share of its own size.

You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017, arXiv 1708.03888; as those two papers
have it, with one norm of gradient and decay together, and the learning rate outside of the velocity.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """SGD with momentum m in which the step of a tensor w is scaled by its own norm over that of its gradient g.

        d = g + weight_decay w,   v = m v + trust (|w| / |d|) d,   w = w - lr v

    Tensors of one dimension (biases, scales of norms) move by d itself, as does one that is 0 or whose d is 0.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float = 0.9, trust: float = 1e-3) -> None:
        defaults = {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step for all parameters that have a gradient."""
        if closure is not None:
            raise ValueError("LARS takes no closure: compute the gradients before the step.")
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step(weights, group)

    def _step(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        directions = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        torch._foreach_mul_(
            directions, [self._scale(w, d, group["trust"]) for w, d in zip(weights, directions, strict=True)]
        )
        velocities = []
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["velocity"] = torch.zeros_like(weight)
            velocities.append(state["velocity"])
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, directions)
        torch._foreach_add_(weights, velocities, alpha=-group["lr"])

    @staticmethod
    def _scale(weight: Tensor, direction: Tensor, trust: float) -> Tensor:
        if weight.ndim <= 1:
            return torch.ones((), device=weight.device)
        size, length = weight.norm(), direction.norm()
        return torch.where((size > 0) & (length > 0), trust * size / length, 1.0)
