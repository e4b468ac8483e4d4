"""A small DINO and its views, for tests of the method."""

import copy
from typing import Any

import torch
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.dino import DINO, DINOConfig
from sslsv_tk.schedules import Progress

SMALL: dict[str, Any] = {"hidden": 16, "bottleneck": 6, "prototypes": 20}
LONG, SHORT = 41, 21  # frames
BATCH = 5


def make(**settings: Any) -> DINO:
    torch.manual_seed(3)
    sizes = FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), pooling="statistics", dimension=12)
    return DINO(FastResNet34(sizes), DINOConfig(**SMALL | settings))


def views_of(*frames: int, seed: int = 0, batch: int = BATCH) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 40, length, generator=generator) for length in frames]


def six(seed: int = 0, batch: int = BATCH) -> list[Tensor]:
    return views_of(LONG, LONG, SHORT, SHORT, SHORT, SHORT, seed=seed, batch=batch)


def eight(seed: int = 0) -> list[Tensor]:
    """With the partner's two global segments at the end."""
    return [*six(seed), *views_of(LONG, LONG, seed=seed + 1000)]


def optimiser_of(method: DINO) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.2, momentum=0.9, weight_decay=0.1)


def train_step(method: DINO, optimiser: torch.optim.Optimizer, views: list[Tensor], epochs: float = 2.0) -> Tensor:
    progress = Progress(epochs, span=10)
    method.before_step(progress)
    loss = method.loss(Pairs(*method.project(views)))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    method.after_backward(progress)
    optimiser.step()
    method.after_step(progress)
    return loss.detach()


def snapshot(method: DINO) -> dict[str, Tensor]:
    return copy.deepcopy(method.state_dict())


def changed(method: DINO, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])}
