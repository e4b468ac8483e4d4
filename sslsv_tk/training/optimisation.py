"""The optimiser, its learning rate as a function of progress, and the limit on gradients."""

from collections.abc import Iterable

import torch
from torch import nn

from sslsv_tk.methods.base import Method
from sslsv_tk.nn.batch_norm import average_statistics
from sslsv_tk.schedules import Progress, stepwise_decay, warm_up_then_cosine
from sslsv_tk.systems.configuration import OptimisationConfig
from sslsv_tk.training.lars import LARS


def make_optimiser(module: nn.Module, config: OptimisationConfig) -> torch.optim.Optimizer:
    """Over all trained parameters; those of one dimension (biases, scales of norms) are not decayed."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    if config.optimiser == "lars":
        return LARS(groups, config.learning_rate, config.momentum, config.trust)
    # One pass over memory in place of twelve. SGD's cannot: it fails where a frozen tensor has no momentum yet.
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    return torch.optim.Adam(groups, lr=config.learning_rate, fused=fused)


def learning_rate(config: OptimisationConfig, progress: Progress, continued: bool) -> float:
    """After `progress.epochs` epochs, counted over both stages; `continued` says that it is stage 5."""
    if config.schedule == "cosine":
        length = progress.span if config.cosine_length == "span" else None
        ends = config.learning_rate, config.final_learning_rate
        rate = warm_up_then_cosine(*ends, config.warm_up_epochs, progress, length)
    else:
        rate = stepwise_decay(config.learning_rate, config.decay, config.decay_epochs, int(progress.epochs))
    return rate * config.continued_factor if continued else rate


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The same rate for every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def update(optimiser: torch.optim.Optimizer, method: Method, config: OptimisationConfig, progress: Progress) -> None:
    """One step along the gradients that are there, and what the method does before and after it."""
    method.after_backward(progress)
    if config.gradient_clip is not None:
        clip_gradients(method.parameters(), config.gradient_clip)
    optimiser.step()
    method.after_step(progress)
    if not method.synchronised_batch_norm:
        average_statistics(method)


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale each tensor's gradient down to the norm `largest` where it is longer, as DINO does (Caron et al., 2021).

    Each on its own: one steep tensor, such as that of the prototypes, does not slow the others down. A gradient
    that is not finite stays so, and the loop says it.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        norms = torch._foreach_norm(gradients)
        torch._foreach_mul_(gradients, [(largest / (norm + 1e-6)).clamp(max=1.0) for norm in norms])
