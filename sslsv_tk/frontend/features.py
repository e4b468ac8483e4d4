"""From the loader's 16-bit segments to what an encoder eats."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sslsv_tk.frontend.augmentation import POWER_FLOOR, augment, to_float
from sslsv_tk.frontend.clips import Clips, ReadClips
from sslsv_tk.frontend.logmel import LogMel, normalise
from sslsv_tk.frontend.settings import LogMelConfig


class FrontEnd(nn.Module):
    """Augment, then normalised log-mel frames; for an encoder that eats waveforms, the augmented waveform."""

    def __init__(self, config: LogMelConfig, output: str = "logmel", power_floor: float = POWER_FLOOR) -> None:
        """`power_floor`: see `add_noise`."""
        super().__init__()
        self.power_floor = power_floor
        self.logmel = LogMel(config) if output == "logmel" else None

    @torch.no_grad()
    def forward(
        self,
        segment_BT: Tensor,
        noise_BT: Tensor | None = None,
        snr_B: Tensor | None = None,
        response_BR: Tensor | None = None,
    ) -> Tensor:
        """int16 (or float in [-1, 1)) segments, noises and responses in; (B, F, L) or (B, T) out.

        Reverberation comes first; the noise is then scaled against the reverberated segment.
        """
        if noise_BT is None and response_BR is None:
            return self._frames(to_float(segment_BT))
        if response_BR is None:
            return self.augmented(segment_BT, ReadClips(noise_BT), snr_B)
        norm_B = torch.linalg.vector_norm(response_BR.float(), dim=-1)
        clips = ReadClips(noise_BT, response_BR, 1 / norm_B.clamp(min=1e-12))
        return self.augmented(segment_BT, clips, snr_B, np.full(len(segment_BT), response_BR.shape[1]))

    @torch.no_grad()
    def augmented(
        self,
        segment_BT: Tensor,
        clips: Clips,
        snr_B: Tensor | None = None,
        response_samples_B: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """The same with clips of lists or of the loader; see `augment`."""
        return self._frames(augment(segment_BT, clips, snr_B, response_samples_B, self.power_floor))

    @torch.no_grad()
    def normalised(self, frames_BLF: Tensor) -> Tensor:
        """Frames that were computed before, normalised as those of a waveform are: (B, F, L)."""
        assert self.logmel is not None
        return normalise(frames_BLF.float(), self.logmel.config.deviation_floor).transpose(1, 2)

    def _frames(self, waveform_BT: Tensor) -> Tensor:
        if self.logmel is None:
            return waveform_BT
        frames_BFL: Tensor = self.logmel(waveform_BT)
        return frames_BFL
