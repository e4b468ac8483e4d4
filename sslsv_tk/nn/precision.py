"""Numbers in single precision at least, where half of it would not do."""

import torch
from torch import Tensor


def single(values: Tensor) -> Tensor:
    """What autocast made in half precision is widened to float32; float64 stays what it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
