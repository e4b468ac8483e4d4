"""Convolution with room responses. B segments, T samples, R samples of a response, P points of a transform."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ODD = (1, 3, 9, 5, 15, 45, 25, 75, 225, 125, 375, 1125)
_CLASSES = 4  # of lengths of responses, up to that of the segment


def fast_length(samples: int) -> int:
    """The next length of the form 2^a 3^b 5^c (b <= 2, c <= 3), for which transforms are quick: 48,000 of 47,999."""
    return min(odd << max(0, (-(-samples // odd) - 1).bit_length()) for odd in _ODD)


def points_of(response_samples_B: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
    """(B,) points of the transform by which each response acts on a segment of so many samples; 0: there is none.

    Few different ones, so that many segments share a transform, and a long response makes those of others no longer.
    """
    step = -(-samples // _CLASSES)
    classes_B = -(-np.minimum(response_samples_B, samples) // step)
    lengths = np.array([0, *(fast_length(samples + k * step) for k in range(1, _CLASSES + 1))])
    points_B: NDArray[np.int64] = lengths[classes_B]
    return points_B


def reaching(samples: int, points: int) -> int:
    """How many samples of a response act on a segment in a transform of so many points: none of its end comes round."""
    return min(samples, points - samples + 1)


def padded(segment_BT: Tensor, points: int) -> Tensor:
    """(B, P) float32, zeros after the segments; 16-bit samples are not scaled."""
    wide_BP = torch.empty(len(segment_BT), points, device=segment_BT.device)
    wide_BP[:, : segment_BT.shape[1]] = segment_BT
    wide_BP[:, segment_BT.shape[1] :] = 0.0
    return wide_BP


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
