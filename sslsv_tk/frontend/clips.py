"""Noises and room responses of a batch: all of a list on the device, or those that the loader read.

Shapes: B segments, b of them, T samples of a segment, R samples of a response, P points of a transform.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.frontend.reverberation import padded, reaching

_CACHED_BYTES = 1 << 30
"""Spectra of a list that are kept on a processor, where they save a third of the transforms. A GPU computes them faster
than it would read them."""


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
        if self.samples.device.type == "cpu":
            return self._copied(row_B.tolist(), start_B.tolist(), count)
        place_BT = start_B[:, None] + torch.arange(count, device=self.samples.device)
        place_BT = self.starts[row_B, None] + place_BT % self.lengths[row_B, None]
        cut_BT: Tensor = self.samples[place_BT]
        return cut_BT

    def _copied(self, rows: list[int], starts: list[int], count: int) -> Tensor:
        """`cut` by copies of stretches, many times as fast as by the place of each sample."""
        samples, firsts, lengths = self.samples.numpy(), self.starts.tolist(), self.lengths.tolist()
        cut_BT = np.empty((len(rows), count), dtype=np.int16)
        for place, (row, start) in enumerate(zip(rows, starts, strict=True)):
            clip = samples[firsts[row] : firsts[row] + lengths[row]]
            start %= len(clip)
            if start + count <= len(clip):
                cut_BT[place] = clip[start : start + count]
            else:
                cut_BT[place] = np.resize(np.concatenate([clip[start:], clip[:start]]), count)
        return torch.from_numpy(cut_BT)

    def whole(self, row_B: Tensor, count: int) -> Tensor:
        """The first `count` samples of each clip, zeros after its end; row -1 is a unit impulse: (B, count) int16."""
        place_T = torch.arange(count, device=self.samples.device)
        row = row_B.clamp(min=0)
        inside_BT = place_T[None, :] < self.lengths[row, None]
        clip_BT = self.samples[self.starts[row, None] + torch.where(inside_BT, place_T[None, :], 0)] * inside_BT
        impulse_T = (place_T == 0).to(clip_BT.dtype) * torch.iinfo(torch.int16).max
        return torch.where((row_B < 0)[:, None], impulse_T, clip_BT)


class ResponsePool(ClipPool):
    """All room responses on the device; on a processor a list that is not too long keeps its spectra."""

    def __init__(self, clips: list[NDArray[np.int16]], gains: NDArray[np.float32], device: torch.device | str = "cpu"):
        """`gains`: factors that give the responses, of 16 bits, unit energy."""
        super().__init__(clips, device)
        self.gains = torch.from_numpy(gains).to(device)
        self._spectra: dict[tuple[int, int], Tensor] = {}  # by points and samples of a segment
        self._is_known: dict[tuple[int, int], NDArray[np.bool_]] = {}

    def multiply(self, spectrum_BP: Tensor, row_B: Tensor, samples: int, points: int) -> Tensor:
        """Spectra of segments of so many samples times those of their responses, in place."""
        if self.samples.device.type != "cpu" or len(self.lengths) * (points + 2) * 4 > _CACHED_BYTES:
            return times_responses(spectrum_BP, *self._cut_to_reach(row_B, samples, points), points)
        key, rows = (points, samples), row_B.tolist()
        if key not in self._spectra:
            self._spectra[key] = torch.empty(len(self.lengths), points // 2 + 1, dtype=torch.complex64)
            self._is_known[key] = np.zeros(len(self.lengths), dtype=np.bool_)
        known, spectra = self._is_known[key], self._spectra[key]
        for spectrum_P, row in zip(spectrum_BP, rows, strict=True):
            if not known[row]:
                spectra[row] = transformed(*self._cut_to_reach(torch.tensor([row]), samples, points), points)[0]
                known[row] = True
            spectrum_P.mul_(spectra[row])
        return spectrum_BP

    def _cut_to_reach(self, row_B: Tensor, samples: int, points: int) -> tuple[Tensor, Tensor]:
        return self.whole(row_B, reaching(samples, points)), self.gains[row_B]


def transformed(response_BR: Tensor, gain_B: Tensor, points: int) -> Tensor:
    """Spectra (B, P / 2 + 1) of responses, each times its gain."""
    spectrum_BP: Tensor = torch.fft.rfft(padded(response_BR, points).mul_(gain_B[:, None]))
    return spectrum_BP


def times_responses(spectrum_BP: Tensor, response_BR: Tensor, gain_B: Tensor, points: int) -> Tensor:
    """Spectra of segments times those of their responses, in place.

    On a processor one by one: the bits of a transform depend on how many are done together, and must be those of the
    spectra that a pool keeps, whoever was in its batches before.
    """
    if spectrum_BP.device.type != "cpu":
        return spectrum_BP.mul_(transformed(response_BR, gain_B, points))
    for row, spectrum_P in enumerate(spectrum_BP):
        spectrum_P.mul_(transformed(response_BR[row : row + 1], gain_B[row : row + 1], points)[0])
    return spectrum_BP


class Clips(Protocol):
    """What the segments of a batch are augmented with; `rows` (b,) are some of them, on the device."""

    def noise(self, rows: Tensor, samples: int) -> Tensor | None:
        """(b, T) int16 or float noise, None where none is added."""

    def reverberated(self, spectrum_BP: Tensor, rows: Tensor, samples: int, points: int) -> Tensor:
        """The spectra of those segments, (b, P / 2 + 1), times those of their responses of unit energy."""


@dataclass
class PooledClips:
    """Clips by their numbers in the lists on the device."""

    noises: ClipPool | None = None
    noise_row_B: Tensor | None = None
    noise_start_B: Tensor | None = None
    responses: ResponsePool | None = None
    response_row_B: Tensor | None = None

    def noise(self, rows: Tensor, samples: int) -> Tensor | None:
        """Cut out of the list."""
        if self.noises is None or self.noise_row_B is None or self.noise_start_B is None:
            return None
        return self.noises.cut(self.noise_row_B[rows], self.noise_start_B[rows], samples)

    def reverberated(self, spectrum_BP: Tensor, rows: Tensor, samples: int, points: int) -> Tensor:
        """By the spectra of the list."""
        assert self.responses is not None and self.response_row_B is not None
        return self.responses.multiply(spectrum_BP, self.response_row_B[rows], samples, points)


@dataclass
class ReadClips:
    """Samples that the loader read."""

    noise_BT: Tensor | None = None
    response_BR: Tensor | None = None
    gain_B: Tensor | None = None  # factors that give the whole responses unit energy; here their ends may be missing

    def noise(self, rows: Tensor, samples: int) -> Tensor | None:
        """Some of the rows."""
        return None if self.noise_BT is None else self.noise_BT.index_select(0, rows)

    def reverberated(self, spectrum_BP: Tensor, rows: Tensor, samples: int, points: int) -> Tensor:
        """By spectra that are computed here."""
        assert self.response_BR is not None and self.gain_B is not None
        response_BR = self.response_BR.index_select(0, rows)[:, : reaching(samples, points)]
        return times_responses(spectrum_BP, response_BR, self.gain_B[rows], points)
