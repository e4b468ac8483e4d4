"""Rows of all processes of a run as one tensor; in a single process every function here is the identity."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.nn import functional


def processes() -> int:
    """How many processes train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """Which of the processes this one is, from 0 on."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


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


@torch.no_grad()
def summed(numbers: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient; the tensor given may be overwritten by it."""
    if processes() == 1:
        return numbers
    numbers = numbers.contiguous()
    torch.distributed.all_reduce(numbers)
    return numbers


@torch.no_grad()
def gather_parts(rows_B: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The rows of each process, `counts[rank]` of them (which all know), without gradient."""
    if processes() == 1:
        return [rows_B]
    longest = max(counts)
    padded_B = rows_B.new_zeros(longest, *rows_B.shape[1:])
    padded_B[: len(rows_B)] = rows_B
    everyone = rows_B.new_empty(len(counts) * longest, *rows_B.shape[1:])
    torch.distributed.all_gather_into_tensor(everyone, padded_B)
    parts = everyone.unflatten(0, (len(counts), longest))
    return [part[:count] for part, count in zip(parts, counts, strict=True)]


@torch.no_grad()
def sent(numbers: Tensor, sender: int) -> Tensor:
    """The tensor of the process `sender`; the others bring one of its shape, which is overwritten."""
    if processes() > 1:
        numbers = numbers.contiguous()
        torch.distributed.broadcast(numbers, sender)
    return numbers


def own_share(rows_B: Tensor) -> Tensor:
    """Of rows that all processes hold, those that this one works on, every `processes()`-th; a row is one process's."""
    return rows_B if processes() == 1 else rows_B[rank() :: processes()]


def own_rows(count: int) -> range:
    """The numbers of the rows in `own_share`, of so many."""
    return range(rank(), count, processes())


@torch.no_grad()
def shared_permutation(count: int, device: torch.device) -> Tensor:
    """(count,) a random order, the same for all processes: the first one's torch draws it."""
    return sent(torch.randperm(count).to(device), 0)


@torch.no_grad()
def exchange(rows_B: Tensor, order: Tensor) -> Tensor:
    """Of the rows of all processes in another order, the stretch of this process; without gradient.

    Every process must bring as many rows.
    """
    if processes() == 1:
        return rows_B[order]
    count, first = len(rows_B), rank() * len(rows_B)
    return gather(rows_B)[order[first : first + count]]
