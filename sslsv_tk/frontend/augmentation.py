"""Reverberation and noise for a batch of segments, on the device of the model.

Draws are made in the loader and come as numbers; here is arithmetic only. Shapes: B segments, T samples, R samples
of a room response.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POWER_FLOOR = 1e-10
"""Added to the mean powers of segment and noise (full scale is 1) before their ratio is taken: about what rounding to
16 bits adds, so that silence stays finite, and speech at -60 dBFS, a power of 1e-6, gets the level asked for."""


def fast_length(samples: int) -> int:
    """The next length of the form 2^a 3^b 5^c (b <= 2, c <= 1), for which transforms are quick."""
    return min(odd << max(0, (-(-samples // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15, 45))


def reverberate(waveform_BT: Tensor, response_BR: Tensor) -> Tensor:
    """Convolve each segment with its whole response, scaled to unit energy, and keep the first T samples."""
    samples = waveform_BT.shape[-1]
    response_BR = response_BR.float()
    response_BR = response_BR / response_BR.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    response_BR = response_BR[:, :samples]  # later samples reach nothing that is kept
    points = fast_length(samples + response_BR.shape[-1] - 1)
    spectrum = torch.fft.rfft(waveform_BT, points) * torch.fft.rfft(response_BR, points)
    reverberant_BT: Tensor = torch.fft.irfft(spectrum, points)[:, :samples]
    return reverberant_BT


def add_noise(
    waveform_BT: Tensor,
    noise_BT: Tensor,
    snr_B: Tensor,
    samples_B: Tensor | None = None,
    power_floor: float = POWER_FLOOR,
) -> Tensor:
    """Add noise at `snr_B` dB below the segment; an SNR of +inf adds none.

    `samples_B`: lengths of segments that are followed by zeros, in the noise as well; None: all are T long.
    `power_floor` is added to both mean powers.
    """
    if samples_B is None:
        signal_power, noise_power = waveform_BT.square().mean(-1), noise_BT.square().mean(-1)
    else:
        signal_power, noise_power = (sound.square().sum(-1) / samples_B for sound in (waveform_BT, noise_BT))
    signal_power, noise_power = signal_power + power_floor, noise_power + power_floor
    gain = torch.sqrt(signal_power / noise_power * 10.0 ** (-snr_B.to(waveform_BT.dtype) / 10.0))
    return waveform_BT + gain[:, None] * noise_BT


class ClipPool:
    """All noises, or all room responses, in one int16 array on the device.

    `cut` gives the same samples as a byte-range read of the arks by the loader.
    """

    def __init__(self, clips: list[NDArray[np.int16]], device: torch.device | str = "cpu") -> None:
        if not clips:
            raise ValueError("Expected at least one noise or room response, found none.")
        self.samples = torch.from_numpy(np.concatenate(clips)).to(device)
        self.lengths = torch.tensor([len(clip) for clip in clips], device=device)
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths

    def cut(self, row_B: Tensor, start_B: Tensor, count: int) -> Tensor:
        """`count` samples of each clip from `start`, repeated where it ends: (B, count) int16."""
        place_BT = start_B[:, None] + torch.arange(count, device=self.samples.device)
        place_BT = self.starts[row_B, None] + place_BT % self.lengths[row_B, None]
        return self.samples[place_BT]

    def whole(self, row_B: Tensor, count: int) -> Tensor:
        """The first `count` samples of each clip, zeros after its end; row -1 is a unit impulse: (B, count) int16."""
        place_T = torch.arange(count, device=self.samples.device)
        row = row_B.clamp(min=0)
        inside_BT = place_T[None, :] < self.lengths[row, None]
        clip_BT = self.samples[self.starts[row, None] + torch.where(inside_BT, place_T[None, :], 0)] * inside_BT
        impulse_T = (place_T == 0).to(clip_BT.dtype) * torch.iinfo(torch.int16).max
        return torch.where((row_B < 0)[:, None], impulse_T, clip_BT)
