"""What a method wants cut from each utterance."""

from dataclasses import dataclass
from typing import Literal

SAMPLE_RATE_HZ = 16_000

Side = Literal["anchor", "positive", "both", "reference"]


@dataclass(frozen=True)
class Segment:
    """A stretch that the loader cuts from an utterance.

    `side` says whom it serves: the anchor, the positive, both (cut once while the positive comes from the
    anchor's own utterance, twice otherwise), or the reference that positive samplers cluster.
    """

    seconds: float
    side: Side
    augmented: bool = True

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"A segment needs a positive length, found {self.seconds} seconds.")

    @property
    def samples(self) -> int:
        """Length at 16 kHz."""
        return round(self.seconds * SAMPLE_RATE_HZ)


SegmentPlan = tuple[Segment, ...]
REFERENCE = Segment(4.0, "reference", augmented=False)
