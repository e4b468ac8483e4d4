"""Log-mel frames with normalisation per band.

Shapes: B segments, T samples, F mel bands, L frames (one per 10 ms; 2 s give 201), N points of the transform.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sslsv_tk.segments import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class LogMelConfig:
    """Settings of the log-mel front end."""

    bands: int = 40  # mel bands; the papers use 40, the authors' DINO configurations 80
    window: Literal["hamming", "hann"] = "hamming"
    window_seconds: float = 0.025
    shift_seconds: float = 0.010
    transform_points: int = 512
    floor: float = 1e-6  # added to the power before the logarithm
    deviation_floor: float = 1e-5  # added to the variance of a band before its root

    def __post_init__(self) -> None:
        if self.bands < 1 or self.floor <= 0 or self.deviation_floor <= 0:
            raise ValueError("bands, floor and deviation_floor of the front end must be above 0.")
        if not 0 < self.window_seconds * SAMPLE_RATE_HZ <= self.transform_points:
            raise ValueError(
                f"A window of {self.window_seconds} s has {self.window_seconds * SAMPLE_RATE_HZ:.0f} samples; "
                f"expected 1 to transform_points = {self.transform_points}."
            )
        if round(self.shift_seconds * SAMPLE_RATE_HZ) < 1:
            raise ValueError(f"A shift of {self.shift_seconds} s is less than a sample.")


def mel_filters(bands: int, transform_points: int) -> Tensor:
    """Triangles, equally spaced on the mel scale 2595 log10(1 + f/700) from 0 Hz to half the rate: (N/2+1, F)."""
    half = SAMPLE_RATE_HZ / 2
    mels = torch.linspace(0.0, 2595.0 * math.log10(1 + half / 700.0), bands + 2, dtype=torch.float64)
    edges_hz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    bins_hz = torch.linspace(0.0, half, transform_points // 2 + 1, dtype=torch.float64)
    rising = (bins_hz[:, None] - edges_hz[None, :-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[None, 2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0).float()


class LogMel(nn.Module):
    """Normalised log-mel frames of waveforms.

    Input (B, T) in [-1, 1); output (B, F, L) with L = T // shift + 1. Frames are centred, the ends mirrored;
    each band of each segment has mean 0 and variance 1 over its frames. Always computed in float32.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        length = round(config.window_seconds * SAMPLE_RATE_HZ)
        make = torch.hamming_window if config.window == "hamming" else torch.hann_window
        window = torch.zeros(config.transform_points)
        start = (config.transform_points - length) // 2
        window[start : start + length] = make(length, periodic=True)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", mel_filters(config.bands, config.transform_points), persistent=False)

    @property
    def shift(self) -> int:
        """Samples from one frame to the next."""
        return round(self.config.shift_seconds * SAMPLE_RATE_HZ)

    def forward(self, waveform_BT: Tensor) -> Tensor:
        """Frames of a batch; segments must be longer than half a transform (256 samples) to be mirrored."""
        half = self.config.transform_points // 2
        if waveform_BT.shape[-1] <= half:
            raise ValueError(
                f"Expected segments longer than {half} samples ({half / SAMPLE_RATE_HZ * 1000:.0f} ms); "
                f"found {waveform_BT.shape[-1]}. Remove such utterances from the list."
            )
        with torch.autocast(waveform_BT.device.type, enabled=False):
            padded = nn.functional.pad(waveform_BT.float().unsqueeze(1), (half, half), mode="reflect").squeeze(1)
            frames_BLN = padded.unfold(-1, self.config.transform_points, self.shift) * self.window
            spectrum = torch.view_as_real(torch.fft.rfft(frames_BLN))
            power_BLK = spectrum.square().sum(-1)
            logmel_BLF = torch.log(power_BLK @ self.filters + self.config.floor)
            return normalise(logmel_BLF, self.config.deviation_floor).transpose(1, 2)


def normalise(frames_BLF: Tensor, floor: float) -> Tensor:
    """Mean 0 and variance 1 over the frames of each band (biased variance plus `floor`)."""
    centred = frames_BLF - frames_BLF.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return centred * torch.rsqrt(variance + floor)
