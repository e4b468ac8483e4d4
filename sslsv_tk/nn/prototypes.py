"""Prototypes whose length is learned beside their direction. K prototypes of width P."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ScaledPrototypes(nn.Module):
    """A linear layer without bias under weight normalisation (Salimans and Kingma, NeurIPS 2016).

    Row k is length_K[k] times the direction of weight[k]. At first lengths are those of torch's linear layer: 0.577,
    the root of a third, whatever the width.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width).uniform_(-(width**-0.5), width**-0.5))
        self.length_K = nn.Parameter(self.weight.detach().norm(dim=1))

    def forward(self, z_BP: Tensor) -> Tensor:
        """(B, P) rows to their products with the prototypes: (B, K)."""
        rows_KP = functional.normalize(self.weight, dim=1) * self.length_K[:, None]
        return functional.linear(z_BP, rows_KP)
