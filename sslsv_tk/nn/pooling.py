"""From frames to one vector per utterance. B utterances, C channels, L frames."""

import torch
from torch import Tensor, nn


class SelfAttentivePooling(nn.Module):
    """Mean of the frames weighted by a learned context vector (Cai, Chen and Li, Odyssey 2018, eq. 2-4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, channels)
        self.context = nn.Parameter(torch.empty(channels, 1))
        nn.init.xavier_normal_(self.context)
        self.output = channels

    def forward(self, frames_BCL: Tensor) -> Tensor:
        """(B, C, L) to (B, C)."""
        frames_BLC = frames_BCL.transpose(1, 2)
        weight_BL1 = torch.softmax(torch.tanh(self.projection(frames_BLC)) @ self.context, dim=1)
        return (frames_BLC * weight_BL1).sum(1)


class StatisticsPooling(nn.Module):
    """Mean and standard deviation of the frames (Snyder et al., Interspeech 2017)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.output = 2 * channels

    def forward(self, frames_BCL: Tensor) -> Tensor:
        """(B, C, L) to (B, 2C)."""
        frames_BCL = frames_BCL.float()
        variance = frames_BCL.var(-1, unbiased=False)
        return torch.cat([frames_BCL.mean(-1), torch.sqrt(variance + 1e-5)], dim=1)
