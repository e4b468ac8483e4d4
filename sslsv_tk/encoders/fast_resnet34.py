"""Fast ResNet-34: a thin ResNet-34 with squeeze and excitation.

Chung et al., "In defence of metric learning for speaker recognition", Interspeech 2020; sizes as in the SSPS paper
(arXiv 2505.14561): 1,437,078 parameters with self-attentive pooling, whatever the number of mel bands. With statistics
pooling, of every channel at every height (the authors' DINO), 2,665,622 of 80 bands and 2,010,262 of 40.
Shapes: B utterances, F mel bands, L frames, C channels.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.nn.excitation import SqueezeExcitation
from sslsv_tk.nn.pooling import SelfAttentivePooling, StatisticsPooling


@dataclass(frozen=True)
class FastResNet34Config:
    """Sizes of Fast ResNet-34."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 128)  # channels of the four stages
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)  # residual blocks of the four stages
    reduction: int = 8  # of the channels inside squeeze and excitation
    pooling: Literal["sap", "statistics"] = "sap"
    """sap: self-attentive, of the mean over what is left of the bands; statistics: mean and deviation over frames of
    each channel at each band that is left, as DINO takes it."""
    bands: int = 40  # mel bands of the input, on which the width of statistics pooling depends; sap takes any
    dimension: int = 512  # of the embedding

    def __post_init__(self) -> None:
        if min(*self.widths, *self.blocks, self.reduction, self.bands, self.dimension) < 1:
            raise ValueError("widths, blocks, reduction, bands and dimension of fast_resnet34 must be at least 1.")
        if min(self.widths) < self.reduction:
            raise ValueError(f"Every width must be at least reduction = {self.reduction}; found {self.widths}.")

    @property
    def height(self) -> int:
        """Bands that are left before the pooling: each stride of 2 keeps every second one, the first included."""
        return -(-self.bands // math.prod((_FIRST_STRIDE, *_STRIDES)))


_FIRST_STRIDE = 2  # of the first layer, over bands
_STRIDES = (1, 2, 2, 1)  # of the first block of each stage, over bands and frames


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions (ReLU before the first batch norm, as in the authors' code), a gate, and the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, reduction: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.excitation = SqueezeExcitation(outputs, outputs // reduction)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_BCFL: Tensor) -> Tensor:
        y = self.norm1(self.relu(self.conv1(x_BCFL)))
        y = self.excitation(self.norm2(self.conv2(y)))
        sum_BCFL: Tensor = self.relu(y + self.shortcut(x_BCFL))
        return sum_BCFL


class FastResNet34(Encoder):
    """Log-mel frames (B, F, L) to embeddings (B, D)."""

    Config = FastResNet34Config

    def __init__(self, config: FastResNet34Config) -> None:
        super().__init__()
        self.dimension = config.dimension
        first = config.widths[0]
        self.conv = nn.Conv2d(1, first, 7, (_FIRST_STRIDE, 1), padding=3, bias=False)
        self.norm = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        stages, inputs = [], first
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            stride = _STRIDES[stage]
            for block in range(count):
                stages.append(ResidualBlock(inputs, width, stride if block == 0 else 1, config.reduction))
                inputs = width
        self.blocks = nn.Sequential(*stages)
        self.pooling: SelfAttentivePooling | StatisticsPooling = SelfAttentivePooling(inputs)
        if config.pooling == "statistics":
            self.bands = config.bands
            self.pooling = StatisticsPooling(inputs * config.height)
        self.embedding = nn.Linear(self.pooling.output, config.dimension)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in the authors' code; torch's own are 1.7 to 2.5 times smaller
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, input_BFL: Tensor) -> Tensor:
        # Channels last: convolutions of few channels are up to half as fast again, on CPUs and on GPUs.
        image_B1FL = input_BFL.unsqueeze(1).to(memory_format=torch.channels_last)
        x_BCFL = self.relu(self.norm(self.conv(image_B1FL)))
        x_BCFL = self.blocks(x_BCFL)
        frames_BCL = x_BCFL.mean(2) if self.bands is None else x_BCFL.flatten(1, 2)
        embedding_BD: Tensor = self.embedding(self.pooling(frames_BCL))
        return embedding_BD


_AUTHORS_NAMES = {  # a part of a name in the authors' weights -> ours
    r"\bbn([12])\b": r"norm\1",
    r"\bbn\b": "norm",
    r"\bse\.fc\b": "excitation.gate",
    r"\bdownsample\b": "shortcut",
    r"\bpooling\.attention\b": "pooling.context",
    r"\bpooling\.sap_linear\b": "pooling.projection",
    r"^fc\b": "embedding",
}


def from_authors(state: Mapping[str, Tensor], blocks: tuple[int, ...] = FastResNet34Config.blocks) -> dict[str, Tensor]:
    """Weights with the names of the SSPS authors' Fast ResNet-34 as a state dictionary of ours.

    They number the residual blocks of each of the four stages (`block2.0`), we number all of them (`blocks.3`).
    """

    def running(match: re.Match[str]) -> str:
        return f"blocks.{sum(blocks[: int(match[1]) - 1]) + int(match[2])}"

    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"^block(\d)\.(\d+)", running, name)
        for theirs, ours in _AUTHORS_NAMES.items():
            name = re.sub(theirs, ours, name)
        renamed[name] = tensor
    return renamed
