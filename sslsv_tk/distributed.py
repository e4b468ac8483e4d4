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
