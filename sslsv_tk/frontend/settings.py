"""The settings of the log-mel front end; without torch, so that a system's configuration is read in no time."""

from dataclasses import dataclass
from typing import Any, Literal

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
