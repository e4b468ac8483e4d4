"""The optimiser and its learning rate as a function of the epoch."""

import torch
from torch import nn

from sslsv_tk.schedules import stepwise_decay
from sslsv_tk.training.configuration import OptimisationConfig


def make_optimiser(module: nn.Module, config: OptimisationConfig) -> torch.optim.Optimizer:
    """Adam over all trained parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate(config: OptimisationConfig, epoch: int, continued: bool) -> float:
    """Of epoch number `epoch`, counted from 0 over both stages."""
    rate = stepwise_decay(config.learning_rate, config.decay, config.decay_epochs, epoch)
    return rate * config.continued_factor if continued else rate


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The same rate for every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate
