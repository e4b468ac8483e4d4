"""Which device a command computes on; torch, seconds to load, is loaded when a device is chosen."""

from __future__ import annotations

import typing

from sslsv_tk import gpus

if typing.TYPE_CHECKING:
    import torch

CHOICES = ("auto", "cpu", "cuda")


def choose(name: str) -> torch.device:
    """`auto`: the GPU where there is one; of several processes on a machine each has its own."""
    import torch

    from sslsv_tk.distributed.processes import is_in_group, ranks

    if name != "cpu" and not torch.cuda.is_available():
        reason = gpus.unusable()
        if reason is None and name == "cuda":
            reason = "--device cuda: no GPU is visible here. Use --device cpu, or look at what nvidia-smi says."
        if reason is not None:
            raise ValueError(reason)
        name = "cpu"
    if name == "auto":
        name = "cuda"
    if name == "cuda" and is_in_group():
        return torch.device("cuda", _own_gpu(ranks().local_rank, torch.cuda.device_count()))
    return torch.device(name)


def _own_gpu(local_rank: int, shown: int) -> int:
    """The number of the GPU of a process; 0 where a scheduler shows each process its own one alone."""
    if shown > 1 and local_rank >= shown:
        raise ValueError(
            f"This is process {local_rank + 1} on its machine, which shows {shown} GPUs. Start a process for each GPU."
        )
    return local_rank if shown > 1 else 0
