"""Log-mel frames, and their normalisation per band.

Shapes: B segments, T samples, F mel bands, L frames (one per 10 ms; 2 s give 201), N points of the transform.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sslsv_tk.segments import SAMPLE_RATE_HZ

_OF_FRAMES = ("bands", "window", "window_seconds", "shift_seconds", "transform_points", "floor")


@dataclass(frozen=True)
class LogMelConfig:
    """Settings of the log-mel front end."""

    feats_type: Literal["raw", "fbank"] = "raw"  # raw: frames of 16-bit audio, augmented anew at every step;
    # fbank: frames that stage 3 computed of the clean set and of offline copies, normalised after the cut
    frames: Literal["computed", "kept"] = "computed"  # fbank: by stage 3, or as they came in feats.scp of a directory
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
        if self.frames == "kept" and self.feats_type == "raw":
            raise ValueError("frontend.frames kept needs frontend.feats_type fbank: raw is audio.")

    @property
    def shift(self) -> int:
        """Samples from one frame to the next."""
        return round(self.shift_seconds * SAMPLE_RATE_HZ)

    def count_frames(self, samples: int) -> int:
        """Frames of so many samples: 201 of 2 s."""
        return samples // self.shift + 1

    def of_frames(self) -> dict[str, Any]:
        """The settings that un-normalised frames depend on, by name."""
        return {name: getattr(self, name) for name in _OF_FRAMES}


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

    def forward(self, waveform_BT: Tensor) -> Tensor:
        """Normalised frames of a batch (B, F, L)."""
        with torch.autocast(waveform_BT.device.type, enabled=False):
            return normalise(self.frames(waveform_BT), self.config.deviation_floor).transpose(1, 2)

    def frames(self, waveform_BT: Tensor) -> Tensor:
        """Un-normalised frames (B, L, F); segments must be longer than half a transform (256 samples)."""
        with torch.autocast(waveform_BT.device.type, enabled=False):
            padded = self.mirror(waveform_BT.float())
            return self.of_windows(padded.unfold(-1, self.config.transform_points, self.config.shift))

    def mirror(self, waveform_BT: Tensor) -> Tensor:
        """Both ends prolonged by half a transform, mirrored, so that frames are centred."""
        half = self.config.transform_points // 2
        if waveform_BT.shape[-1] <= half:
            raise ValueError(
                f"Expected segments longer than {half} samples ({half / SAMPLE_RATE_HZ * 1000:.0f} ms); "
                f"found {waveform_BT.shape[-1]}. Remove such utterances from the list."
            )
        return nn.functional.pad(waveform_BT.unsqueeze(1), (half, half), mode="reflect").squeeze(1)

    def of_windows(self, stretch_XN: Tensor) -> Tensor:
        """The frame of each stretch of N samples, whatever the dimensions before: (..., F)."""
        spectrum = torch.view_as_real(torch.fft.rfft(stretch_XN * self.window))
        return torch.log(spectrum.square().sum(-1) @ self.filters + self.config.floor)


def normalise(frames_BLF: Tensor, floor: float) -> Tensor:
    """Mean 0 and variance 1 over the frames of each band (biased variance plus `floor`)."""
    centred = frames_BLF - frames_BLF.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return centred * torch.rsqrt(variance + floor)
