"""A small encoder, and training steps as the loop makes them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Method, Pairs
from sslsv_tk.schedules import Progress

WIDTH = 12


def small(method: type[Method], config: Any, classes: int | None = None, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    encoder = FastResNet34(FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=WIDTH))
    return method(encoder, config, classes).train()


def adam(method: Method) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 1e-3)


def views(step: int, batch: int = 4, count: int = 2) -> list[Tensor]:
    chance = torch.Generator().manual_seed(step)
    return [torch.randn(batch, 40, 31, generator=chance) for _ in range(count)]


def train_step(
    method: Method,
    optimiser: torch.optim.Optimizer,
    inputs: Sequence[Tensor],
    epochs: float = 0.0,
    labels_B: Tensor | None = None,
) -> float:
    progress = Progress(epochs, span=20)
    method.before_step(progress)
    anchors_ABP, positives_SBP = method.project(inputs)
    loss = method.loss(Pairs(anchors_ABP, positives_SBP, labels_B))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    method.after_backward(progress)
    optimiser.step()
    method.after_step(progress)
    return loss.item()


def changed(method: Method, before: dict[str, Tensor]) -> set[str]:
    """Names of the state that is no longer what it was."""
    return {name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])}


def copied(method: Method) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}
