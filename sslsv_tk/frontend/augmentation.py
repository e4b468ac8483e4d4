"""Reverberation and noise for a batch of segments, on the device of the model.

Draws are made in the loader and come as numbers; here is arithmetic only. Shapes: B segments, T samples, P points of a
transform.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.frontend.clips import Clips
from sslsv_tk.frontend.reverberation import padded, points_of

POWER_FLOOR = 1e-10
"""Added to the mean powers of segment and noise (full scale is 1) before their ratio is taken: about what rounding to
16 bits adds, so that silence stays finite, and speech at -60 dBFS, a power of 1e-6, gets the level asked for."""
FULL_SCALE = 32768.0
_SAMPLES_AT_A_TIME = {"cpu": 1 << 19, "cuda": 1 << 22}
"""Samples of segments that go through all steps together: on a processor, for each thread, what stays in its cache."""


def to_float(samples: Tensor) -> Tensor:
    """16-bit samples as float32 in [-1, 1); floats as they are."""
    return samples if samples.is_floating_point() else samples.float() / FULL_SCALE


def augment(
    segment_BT: Tensor,
    clips: Clips,
    snr_B: Tensor | None,
    response_samples_B: NDArray[np.int64] | None,
    power_floor: float = POWER_FLOOR,
) -> Tensor:
    """Reverberated segments with noise against what they are then; int16 or float in [-1, 1) to float32 (B, T).

    `snr_B`: dB, +inf adds nothing; None where there is no noise. `response_samples_B`: on the host, how long the
    response of each segment is; 0, or None for all, leaves it as it is.
    """
    samples = segment_BT.shape[1]
    augmented_BT = torch.empty(segment_BT.shape, device=segment_BT.device)
    for order, points in _shared_out(len(segment_BT), samples, response_samples_B, segment_BT.device):
        rows = torch.from_numpy(order).to(segment_BT.device, non_blocking=True)
        waveform = segment_BT.index_select(0, rows)
        waveform = to_float(waveform) if points == 0 else _reverberated(waveform, clips, rows, points)
        noise = clips.noise(rows, samples)
        if noise is not None and snr_B is not None:
            waveform = add_noise(waveform, to_float(noise), snr_B[rows], power_floor=power_floor)
        augmented_BT.index_copy_(0, rows, waveform)
    return augmented_BT


def _shared_out(
    count: int, samples: int, response_samples_B: NDArray[np.int64] | None, device: torch.device
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Rows that go together, and the points of the transform they share; 0: they are not reverberated."""
    points_B = np.zeros(count, dtype=np.int64)
    if response_samples_B is not None:
        points_B = points_of(response_samples_B, samples)
    together = _SAMPLES_AT_A_TIME["cuda" if device.type == "cuda" else "cpu"]
    most = max(1, together * (1 if device.type == "cuda" else torch.get_num_threads()) // samples)
    for points in np.unique(points_B).tolist():
        rows = np.flatnonzero(points_B == points)
        for first in range(0, len(rows), most):
            yield rows[first : first + most], points


def _reverberated(segment_BT: Tensor, clips: Clips, rows: Tensor, points: int) -> Tensor:
    samples = segment_BT.shape[1]
    spectrum = clips.reverberated(torch.fft.rfft(padded(segment_BT, points)), rows, samples, points)
    if not segment_BT.is_floating_point():
        spectrum = spectrum.mul_(1 / FULL_SCALE)
    waveform_BT: Tensor = torch.fft.irfft(spectrum, points)[:, :samples]
    return waveform_BT


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
    count = waveform_BT.shape[-1] if samples_B is None else samples_B
    energies = (torch.linalg.vector_norm(sound, dim=-1).square() for sound in (waveform_BT, noise_BT))
    signal_power, noise_power = (energy / count + power_floor for energy in energies)
    gain = torch.sqrt(signal_power / noise_power * 10.0 ** (-snr_B.to(waveform_BT.dtype) / 10.0))
    return torch.addcmul(waveform_BT, gain[:, None], noise_BT)
