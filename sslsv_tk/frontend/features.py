"""From the loader's 16-bit segments to what an encoder eats."""

import torch
from torch import Tensor, nn

from sslsv_tk.frontend.augmentation import POWER_FLOOR, add_noise, reverberate
from sslsv_tk.frontend.logmel import LogMel, normalise
from sslsv_tk.frontend.settings import LogMelConfig

_FULL_SCALE = 32768.0


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
        waveform_BT = to_float(segment_BT)
        if response_BR is not None:
            waveform_BT = reverberate(waveform_BT, to_float(response_BR))
        if noise_BT is not None and snr_B is not None:
            waveform_BT = add_noise(waveform_BT, to_float(noise_BT), snr_B, power_floor=self.power_floor)
        return waveform_BT if self.logmel is None else self.logmel(waveform_BT)

    @torch.no_grad()
    def normalised(self, frames_BLF: Tensor) -> Tensor:
        """Frames that were computed before, normalised as those of a waveform are: (B, F, L)."""
        assert self.logmel is not None
        return normalise(frames_BLF.float(), self.logmel.config.deviation_floor).transpose(1, 2)


def to_float(samples: Tensor) -> Tensor:
    """16-bit samples as float32 in [-1, 1); floats as they are."""
    return samples if samples.is_floating_point() else samples.float() / _FULL_SCALE
