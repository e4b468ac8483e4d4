"""The head of DINO: a projector to unit rows, and prototypes that rows are compared with.

Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, section 3.1.
B rows, D width of an embedding, P width of the bottleneck, K prototypes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sslsv_tk.nn.heads import mlp
from sslsv_tk.nn.precision import single

_INITIAL_DEVIATION = 0.02  # of the projector's weights; biases begin at 0


class UnitPrototypes(nn.Module):
    """A linear layer without bias whose rows have length 1: weight normalisation with the gain fixed at 1.

    Only the directions of `weight` count, so that it is the one parameter, and decaying it changes no output.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5)

    def forward(self, z_BP: Tensor) -> Tensor:
        """(..., P) unit rows to their cosines with the prototypes (..., K), in fp32 also within autocast."""
        with torch.autocast(z_BP.device.type, enabled=False):
            return functional.linear(single(z_BP), functional.normalize(self.weight, dim=1))


class DINOHead(nn.Module):
    """D-H-H-P with batch norm and GELU between, unit length, then prototypes.

    `forward` ends at the bottleneck; the loss applies `prototypes`, so that what is kept of an utterance are P values
    and not K.
    """

    def __init__(self, dimension: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.projector = mlp((dimension, hidden, hidden, bottleneck), nn.GELU)
        for layer in self.projector:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=_INITIAL_DEVIATION)
                nn.init.zeros_(layer.bias)
        self.prototypes = UnitPrototypes(bottleneck, prototypes)

    def forward(self, embeddings_BD: Tensor) -> Tensor:
        """(B, D) to unit rows (B, P)."""
        return functional.normalize(single(self.projector(embeddings_BD)), dim=-1)
