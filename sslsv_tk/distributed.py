"""Rows of all processes of a run as one tensor; in a single process every function here is the identity."""

import torch
from torch import Tensor
from torch.distributed.nn import functional


def processes() -> int:
    """How many processes train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def gather(rows_B: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks; the gradient goes back to the process of each row.

    Every process must bring as many rows.
    """
    if processes() == 1:
        return rows_B
    return torch.cat(functional.all_gather(rows_B.contiguous()))


def total(numbers: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with gradient."""
    return numbers if processes() == 1 else functional.all_reduce(numbers.contiguous())


@torch.no_grad()
def largest(numbers: Tensor) -> Tensor:
    """The largest of each number over all processes, without gradient."""
    if processes() == 1:
        return numbers
    numbers = numbers.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    return numbers


def own_share(rows_B: Tensor) -> Tensor:
    """Of rows that all processes hold, those that this one works on; every row is one process's."""
    return rows_B if processes() == 1 else rows_B[torch.distributed.get_rank() :: processes()]
