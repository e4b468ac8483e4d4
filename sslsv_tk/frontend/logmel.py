"""Log-mel frames, and their normalisation per band.

Shapes: B segments, T samples, F mel bands, L frames (one per 10 ms; 2 s give 201), N points of the transform.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sslsv_tk.arithmetic import fp32_products
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.segments import SAMPLE_RATE_HZ

_FRAMES_AT_A_TIME = {"thread": 2048, "threads": 14_000, "cuda": 1 << 18}
"""Frames that are transformed together. One thread: 4 MB, which stay in a cache. Several: 28 MB, since they wait for
each other after every operation, and glibc keeps the pages of blocks up to 32 MB. On a GPU half a GB: launches are
few."""


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
        # Twice each row, for the squares of the real and of the imaginary part: their sum needs no pass of its own.
        filters = mel_filters(config.bands, config.transform_points).repeat_interleave(2, 0)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform_BT: Tensor) -> Tensor:
        """Normalised frames of a batch (B, F, L)."""
        with torch.autocast(waveform_BT.device.type, enabled=False):
            return normalise(self.frames(waveform_BT), self.config.deviation_floor).transpose(1, 2)

    def frames(self, waveform_BT: Tensor) -> Tensor:
        """Un-normalised frames (B, L, F); segments must be longer than half a transform (256 samples)."""
        device = waveform_BT.device
        with torch.autocast(device.type, enabled=False), fp32_products("ieee", device):
            rows = max(1, self._frames_at_a_time(waveform_BT) // self.config.count_frames(waveform_BT.shape[-1]))
            parts = [self.of_windows(self._windows(part)) for part in waveform_BT.split(rows)]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _windows(self, waveform_BT: Tensor) -> Tensor:
        """The stretch of each frame (B, L, N), a view of the mirrored waveforms."""
        return self.mirror(waveform_BT.float()).unfold(-1, self.config.transform_points, self.config.shift)

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
        parts = [self._log_mel(part) for part in self._parts(stretch_XN)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)

    def _parts(self, stretch_XN: Tensor) -> Iterator[Tensor]:
        """All of it, or where that is much, some frames of each of its waveforms at a time."""
        waveforms = max(1, stretch_XN[..., 0, 0].numel())
        frames = max(1, self._frames_at_a_time(stretch_XN) // waveforms)
        yield from stretch_XN.split(frames, -2)

    def _log_mel(self, stretch_XN: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.rfft(stretch_XN * self.window)).flatten(-2)
        return (spectrum.square_() @ self.filters).add_(self.config.floor).log_()

    @staticmethod
    def _frames_at_a_time(tensor: Tensor) -> int:
        if tensor.device.type == "cuda":
            return _FRAMES_AT_A_TIME["cuda"]
        return _FRAMES_AT_A_TIME["thread" if torch.get_num_threads() == 1 else "threads"]


def normalise(frames_BLF: Tensor, floor: float) -> Tensor:
    """Mean 0 and variance 1 over the frames of each band (biased variance plus `floor`)."""
    centred = frames_BLF - frames_BLF.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return centred * torch.rsqrt(variance + floor)
