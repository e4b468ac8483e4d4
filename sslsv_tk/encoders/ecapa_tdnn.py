"""ECAPA-TDNN: one-dimensional convolutions over frames, in blocks whose channel groups see ever more context.

Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN: emphasized channel attention, propagation and aggregation in TDNN
based speaker verification", Interspeech 2020; sizes as in the SSPS paper (arXiv 2505.14561): 22,529,152 parameters
with 1,024 channels and 40 mel bands.
Shapes: B utterances, F mel bands, L frames, C channels, D width of the embedding.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.nn.excitation import SqueezeExcitation
from sslsv_tk.nn.pointwise import pointwise
from sslsv_tk.nn.pooling import AttentiveStatisticsPooling


@dataclass(frozen=True)
class ECAPATDNNConfig:
    """Sizes of ECAPA-TDNN."""

    bands: int = 40  # mel bands of the input; equal to frontend.bands
    channels: int = 1024  # C of the first layer and of each block
    kernels: tuple[int, int, int, int] = (5, 3, 3, 3)  # frames of the first layer and of the three blocks, odd
    dilations: tuple[int, int, int, int] = (1, 2, 3, 4)  # frames between two taps of these kernels
    scale: int = 8  # groups of channels in a block, each of which sees the one before
    excitation: int = 128  # width inside squeeze and excitation
    attention: int = 128  # width inside the pooling
    dimension: int = 512  # of the embedding

    def __post_init__(self) -> None:
        sizes = (self.bands, self.channels, *self.kernels, *self.dilations, self.excitation, self.attention)
        if min(*sizes, self.dimension) < 1:
            raise ValueError("All sizes of ecapa_tdnn must be at least 1.")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels of ecapa_tdnn must be odd, to have a middle; found {self.kernels}.")
        if self.scale < 2 or self.channels % self.scale:
            raise ValueError(
                f"scale of ecapa_tdnn must be at least 2 and divide channels = {self.channels}; found {self.scale}."
            )

    @property
    def shortest(self) -> int:
        """Frames that an input must have, since reflection pads with fewer frames than there are."""
        return 1 + max(d * (k - 1) // 2 for k, d in zip(self.kernels, self.dilations, strict=True))


class FrameLayer(nn.Module):
    """Convolution over frames that keeps their number, ReLU, batch norm; the ends are padded by reflection."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        # One-dimensional on purpose: a training step with channels-last images or with linear layers over frames is
        # no faster on a CPU in fp32 (within 10 %), and 8 to 150 % slower in bf16.
        self.conv = nn.Conv1d(
            inputs, outputs, kernel, padding=padding, dilation=dilation, padding_mode="reflect" if padding else "zeros"
        )
        self.relu = nn.ReLU()
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x_BCL: Tensor) -> Tensor:
        if self.conv.kernel_size == (1,):
            frames_BCL = pointwise(x_BCL, self.conv.weight, self.conv.bias)
        else:
            frames_BCL = self.conv(x_BCL)
        y_BCL: Tensor = self.norm(self.relu(frames_BCL))
        return y_BCL


class GroupedContext(nn.Module):
    """Res2Net (Gao et al., PAMI 2021): the first group of channels passes, each other one is convolved after the
    result of the one before was added to it."""

    def __init__(self, channels: int, scale: int, kernel: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.layers = nn.ModuleList(FrameLayer(width, width, kernel, dilation) for _ in range(scale - 1))

    def forward(self, x_BCL: Tensor) -> Tensor:
        first, *others = x_BCL.chunk(len(self.layers) + 1, dim=1)
        results = [first]
        for layer, group in zip(self.layers, others, strict=True):
            results.append(layer(group if len(results) == 1 else group + results[-1]))
        return torch.cat(results, dim=1)


class ECAPABlock(nn.Module):
    """A layer per frame, grouped context, a layer per frame, a gate, and the shortcut."""

    def __init__(self, config: ECAPATDNNConfig, kernel: int, dilation: int) -> None:
        super().__init__()
        channels = config.channels
        self.layers = nn.Sequential(
            FrameLayer(channels, channels),
            GroupedContext(channels, config.scale, kernel, dilation),
            FrameLayer(channels, channels),
            SqueezeExcitation(channels, config.excitation),
        )

    def forward(self, x_BCL: Tensor) -> Tensor:
        sum_BCL: Tensor = x_BCL + self.layers(x_BCL)
        return sum_BCL


class ECAPATDNN(Encoder):
    """Log-mel frames (B, F, L) to embeddings (B, D)."""

    Config = ECAPATDNNConfig

    def __init__(self, config: ECAPATDNNConfig) -> None:
        super().__init__()
        self.dimension, self.bands, self.shortest = config.dimension, config.bands, config.shortest
        (kernel, *kernels), (dilation, *dilations) = config.kernels, config.dilations
        self.first = FrameLayer(config.bands, config.channels, kernel, dilation)
        self.blocks = nn.ModuleList(ECAPABlock(config, k, d) for k, d in zip(kernels, dilations, strict=True))
        aggregated = len(self.blocks) * config.channels
        self.aggregation = FrameLayer(aggregated, aggregated)
        self.pooling = AttentiveStatisticsPooling(aggregated, config.attention)
        self.norm = nn.BatchNorm1d(self.pooling.output)
        self.embedding = nn.Linear(self.pooling.output, config.dimension)

    def forward(self, input_BFL: Tensor) -> Tensor:
        self._check(input_BFL)
        outputs = list(itertools.accumulate(self.blocks, lambda x, block: block(x), initial=self.first(input_BFL)))
        frames_BCL = self.aggregation(torch.cat(outputs[1:], dim=1))
        embedding_BD: Tensor = self.embedding(self.norm(self.pooling(frames_BCL)))
        return embedding_BD

    def _check(self, input_BFL: Tensor) -> None:
        bands, length = input_BFL.shape[1:]
        if bands != self.bands:
            raise ValueError(
                f"ecapa_tdnn was made for {self.bands} mel bands; found {bands}. Set encoder.bands and frontend.bands "
                "to the same number."
            )
        if length < self.shortest:
            raise ValueError(
                f"ecapa_tdnn needs at least {self.shortest} frames to pad its ends by reflection; found {length}. "
                "Give longer segments."
            )


_AUTHORS_NAMES = {  # a part of a name in the authors' weights -> ours
    r"\bconv\.conv\b": "conv",
    r"^blocks\.0\b": "first",
    r"\btdnn1\b": "layers.0",
    r"\bres2net_block\.blocks\b": "layers.1.layers",
    r"\btdnn2\b": "layers.2",
    r"\bse_block\.conv1\.conv\b": "layers.3.gate.0",
    r"\bse_block\.conv2\.conv\b": "layers.3.gate.2",
    r"^mfa\b": "aggregation",
    r"^asp\.tdnn\.conv\b": "pooling.hidden",
    r"^asp\.tdnn\.norm\b": "pooling.norm",
    r"^asp\.conv\b": "pooling.score",
    r"^asp_bn\b": "norm",
    r"^fc\.conv\b": "embedding",
}
_LINEAR = re.compile(r"gate\.\d\.weight$|^embedding\.weight$")  # convolutions over the one frame of a mean, theirs


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the names of the SSPS authors' ECAPA-TDNN as a state dictionary of ours.

    Their first layer is one of the blocks, so their block 1 is our block 0.
    """
    renamed = {}
    for name, tensor in state.items():
        for theirs, ours in _AUTHORS_NAMES.items():
            name = re.sub(theirs, ours, name)
        name = re.sub(r"^blocks\.(\d+)", lambda match: f"blocks.{int(match[1]) - 1}", name)
        renamed[name] = tensor.squeeze(-1) if _LINEAR.search(name) else tensor
    return renamed
