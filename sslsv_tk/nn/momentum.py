"""A teacher whose weights are a moving average of a student's (Tarvainen and Valpola, NeurIPS 2017)."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def frozen_copy(student: Module) -> Module:
    """A teacher that begins as its student and that no optimiser touches."""
    teacher = copy.deepcopy(student)
    teacher.requires_grad_(False)
    return teacher


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float, buffers: bool = False) -> None:
    """teacher = momentum * teacher + (1 - momentum) * student, parameter by parameter.

    Batch-norm statistics stay those of the teacher's own passes, unless `buffers`.
    """
    pairs: list[tuple[Tensor, Tensor]] = list(zip(teacher.parameters(), student.parameters(), strict=True))
    if buffers:
        pairs += zip(teacher.buffers(), student.buffers(), strict=True)
    floating = [(ours, theirs) for ours, theirs in pairs if ours.is_floating_point()]
    torch._foreach_lerp_([ours for ours, _ in floating], [theirs for _, theirs in floating], 1 - momentum)
