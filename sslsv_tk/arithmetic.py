"""In what a device multiplies numbers of single precision, whatever is set for the rest of the process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch


@contextmanager
def fp32_products(precision: Literal["ieee", "tf32", "bf16"], device: torch.device) -> Iterator[None]:
    """Matrix products of fp32 within the block; ieee: with all 24 bits."""
    backends: Any = torch.backends
    settings = backends.cuda.matmul if device.type == "cuda" else backends.mkldnn.matmul
    before = settings.fp32_precision
    settings.fp32_precision = precision
    try:
        yield
    finally:
        settings.fp32_precision = before


def set_fp32_products(precision: Literal["ieee", "tf32"], device: torch.device) -> None:
    """Matrix products and convolutions of fp32 on a GPU from now on."""
    if device.type == "cuda":
        backends: Any = torch.backends
        backends.cuda.matmul.fp32_precision = backends.cudnn.conv.fp32_precision = precision
