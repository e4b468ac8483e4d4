"""From frames to one vector per utterance. B utterances, C channels, L frames."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sslsv_tk.nn.frame_statistics import weighted_statistics
from sslsv_tk.nn.precision import single


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
        frames_BCL = single(frames_BCL)
        variance = frames_BCL.var(-1, unbiased=False)
        return torch.cat([frames_BCL.mean(-1), torch.sqrt(variance + 1e-5)], dim=1)


class AttentiveStatisticsPooling(nn.Module):
    """Mean and standard deviation of the frames, weighted per channel by an attention that sees the whole utterance.

    Okabe et al., Interspeech 2018; channel by channel and with global context: Desplanques, Thienpondt and Demuynck,
    "ECAPA-TDNN", Interspeech 2020, section 3.1. `attention` is the width of the layer before the weights.
    """

    def __init__(self, channels: int, attention: int) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(3 * channels, attention, 1)  # of each frame, the mean and the deviation
        self.norm = nn.BatchNorm1d(attention)
        self.score = nn.Conv1d(attention, channels, 1)
        self.output = 2 * channels

    def forward(self, frames_BCL: Tensor) -> Tensor:
        """(B, C, L) to (B, 2C)."""
        context_BG = torch.cat(weighted_statistics(frames_BCL, None), dim=1)
        hidden_BHL = torch.tanh(self.norm(functional.relu(self._attend(frames_BCL, context_BG))))
        weight_BCL = torch.softmax(single(self.score(hidden_BHL)), dim=-1)
        return torch.cat(weighted_statistics(frames_BCL, weight_BCL), dim=1)

    def _attend(self, frames_BCL: Tensor, context_BG: Tensor) -> Tensor:
        """The hidden layer. Mean and deviation are the same for all frames: their part is computed once."""
        channels, weight = frames_BCL.shape[1], self.hidden.weight
        of_context_BH = functional.linear(context_BG, weight[:, channels:, 0], self.hidden.bias)
        return functional.conv1d(frames_BCL, weight[:, :channels]) + of_context_BH.unsqueeze(-1)
