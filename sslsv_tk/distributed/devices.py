"""Which device a command computes on; torch, seconds to load, is loaded when a device is chosen."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    import torch

CHOICES = ("auto", "cpu", "cuda")


def choose(name: str) -> torch.device:
    """`auto`: the GPU where there is one; of several processes on a machine each has its own."""
    import torch

    from sslsv_tk.distributed.processes import is_in_group, ranks

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no GPU is visible here. Use --device cpu, or look at what nvidia-smi says.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and is_in_group():
        return torch.device("cuda", _own_gpu(ranks().local_rank, torch.cuda.device_count()))
    return torch.device(name)


def _own_gpu(local_rank: int, gpus: int) -> int:
    """The number of the GPU of a process; 0 where a scheduler shows each process its own one alone."""
    if gpus > 1 and local_rank >= gpus:
        raise ValueError(
            f"This is process {local_rank + 1} on its machine, which shows {gpus} GPUs. Start a process for each GPU."
        )
    return local_rank if gpus > 1 else 0
