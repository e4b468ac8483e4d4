"""Which device a command computes on; torch, seconds to load, is loaded when a device is chosen."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    import torch

CHOICES = ("auto", "cpu", "cuda")


def choose(name: str) -> torch.device:
    """`auto`: the GPU where there is one."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no GPU is visible here. Use --device cpu, or look at what nvidia-smi says.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
