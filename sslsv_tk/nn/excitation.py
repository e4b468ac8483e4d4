"""Channels scaled by what all of them say together. B utterances, C channels."""

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from all channels' means (Hu, Shen and Sun, CVPR 2018).

    `hidden` is the width of the layer between the means and the gates.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape; the means are over all that follows C."""
        gate_BC: Tensor = self.gate(x.flatten(2).mean(2))
        return x * gate_BC.view(*gate_BC.shape, *(1,) * (x.ndim - 2))
