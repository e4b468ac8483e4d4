"""Noise and reverberation added to log-mel frames: an experiment, for training from frames on disk.

Powers of sounds without relation add up in the mean, so noise is added to the powers of the bands. A response acts on a
band as the energies that arrive in it from one shift to the next. What is lost is the phase: single frames differ from
those of the augmented waveform, their means do not.

Shapes: B segments, L frames, F bands, K frames of a response, N points of a transform.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.frontend.augmentation import POWER_FLOOR, to_float
from sslsv_tk.frontend.logmel import LogMel
from sslsv_tk.frontend.reverberation import fast_length


class FramePool:
    """The frames of many clips, one after the other, on the device."""

    def __init__(self, clips: Sequence[Tensor]) -> None:
        """`clips`: (frames, F) of each."""
        self.frames = torch.cat(list(clips))
        self.lengths = torch.tensor([len(clip) for clip in clips], device=self.frames.device)
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths
        self.longest = max(len(clip) for clip in clips)

    def cut(self, row_B: Tensor, start_B: Tensor, count: int) -> Tensor:
        """(B, count, F) of each clip from frame `start` on, repeated where it ends."""
        place_BL = (start_B[:, None] + torch.arange(count, device=row_B.device)) % self.lengths[row_B, None]
        return self.frames[self.starts[row_B, None] + place_BL]

    def whole(self, row_B: Tensor, count: int) -> Tensor:
        """(B, count, F): the first frames of each clip, zeros after its end."""
        place_L = torch.arange(count, device=row_B.device)
        inside_BL = place_L < self.lengths[row_B, None]
        found_BLF = self.frames[self.starts[row_B, None] + torch.where(inside_BL, place_L, 0)]
        return found_BLF * inside_BL[:, :, None]


def powers(frames_BLF: Tensor, floor: float) -> Tensor:
    """The powers of the bands of which frames are the logarithms, `floor` included."""
    return (frames_BLF.exp() - floor).clamp_(min=0.0)


def decay(response: NDArray[np.int16], gain: float, logmel: LogMel) -> Tensor:
    """(K, F) energies that a response brings into each band, from one shift to the next; `gain` gives it unit energy.

    The first frame is of the samples around the first one, so that a unit impulse gives ones in one frame.
    """
    shift, points = logmel.config.shift, logmel.config.transform_points
    sound = torch.from_numpy(response).to(logmel.filters.device).float() * gain
    sound = torch.nn.functional.pad(sound, (shift // 2, -(len(sound) + shift // 2) % shift))
    spectrum_KN = torch.view_as_real(torch.fft.rfft(sound.view(-1, shift), points)).flatten(-2)
    return (spectrum_KN.square() @ logmel.filters) / (logmel.filters.sum(0) / 2)


def convolve(power_BLF: Tensor, decay_BKF: Tensor) -> Tensor:
    """Each band of each segment with its own decay, the first L frames; in double precision: quiet follows loud."""
    frames = power_BLF.shape[1]
    points = fast_length(frames + decay_BKF.shape[1] - 1)
    spectrum = torch.fft.rfft(power_BLF.double(), points, 1) * torch.fft.rfft(decay_BKF.double(), points, 1)
    found_BLF: Tensor = torch.fft.irfft(spectrum, points, 1)[:, :frames]
    return found_BLF.clamp_(min=0.0).to(power_BLF.dtype)


@dataclass
class MelAugmentation:
    """Augments frames of segments with clips of lists, by numbers as for waveforms."""

    logmel: LogMel
    noises: FramePool | None = None  # powers of bands
    decays: FramePool | None = None
    power_floor: float = POWER_FLOOR

    @torch.no_grad()
    def __call__(
        self, frames_BLF: Tensor, response_row_B: Tensor | None, noise: tuple[Tensor, Tensor, Tensor] | None
    ) -> Tensor:
        """Un-normalised frames, augmented; `response_row_B`: -1 leaves a segment as it is.

        `noise`: row, first sample, and level in dB below the segment (+inf: none).
        """
        floor = self.logmel.config.floor
        power_BLF = powers(frames_BLF, floor)
        if self.decays is not None and response_row_B is not None:
            count = min(power_BLF.shape[1], self.decays.longest)
            reverberated_BLF = convolve(power_BLF, self.decays.whole(response_row_B.clamp(min=0), count))
            power_BLF = torch.where((response_row_B < 0)[:, None, None], power_BLF, reverberated_BLF)
        if self.noises is not None and noise is not None:
            row_B, start_B, snr_B = noise
            noise_BLF = self.noises.cut(row_B, start_B // self.logmel.config.shift, power_BLF.shape[1])
            ratio_B = (self._level(power_BLF) + self.power_floor) / (self._level(noise_BLF) + self.power_floor)
            power_BLF = power_BLF + (ratio_B * 10.0 ** (-snr_B / 10.0))[:, None, None] * noise_BLF
        return (power_BLF + floor).log_()

    def _level(self, power_BLF: Tensor) -> Tensor:
        """(B,) mean power of the samples, of full scale: the bands together have the power of the spectrum."""
        window_energy = self.logmel.window.square().sum()
        return power_BLF.sum(2).mean(1) * 2 / (self.logmel.config.transform_points * window_energy)


@torch.no_grad()
def noise_powers(clips: Sequence[NDArray[np.int16]], logmel: LogMel) -> FramePool:
    """The pool of noises, computed from their samples; a clip shorter than half a transform is repeated first."""
    least = logmel.config.transform_points // 2 + 1
    device, floor = logmel.filters.device, logmel.config.floor
    waveforms = (to_float(torch.from_numpy(np.resize(clip, max(len(clip), least)))) for clip in clips)
    return FramePool([powers(logmel.frames(waveform[None].to(device))[0], floor) for waveform in waveforms])


@torch.no_grad()
def decays(clips: Sequence[NDArray[np.int16]], gains: NDArray[np.float32], logmel: LogMel) -> FramePool:
    """The pool of responses."""
    return FramePool([decay(clip, float(gain), logmel) for clip, gain in zip(clips, gains, strict=True)])
