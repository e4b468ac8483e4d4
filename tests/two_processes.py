"""Two or more processes that train together, and an encoder whose output for a row depends on that row alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sslsv_tk.encoders.base import Encoder

PROCESSES = 2


class Means(Encoder):
    """Mean of the frames of each band through a linear layer; without batch norm, which sees a process's rows."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.linear = nn.Linear(3, dimension)

    def forward(self, input_BFL: Tensor) -> Tensor:
        return self.linear(input_BFL.mean(2))


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def found_by_two(compute: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `compute(rank)`, a function of a module, gives in each of two processes."""
    return found_by(PROCESSES, compute, folder)


def found_by(processes: int, compute: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `compute(rank)` gives in each of so many processes; the folder is empty before."""
    torch.multiprocessing.spawn(_work, (compute, str(folder), processes), nprocs=processes)
    return [torch.load(folder / f"{rank}.pt") for rank in range(processes)]


def _work(rank: int, compute: Callable[[int], Any], folder: str, processes: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes
    )
    torch.save(compute(rank), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()
