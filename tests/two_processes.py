"""What tests of two processes share: rows, and an encoder whose output for a row depends on that row alone."""

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
