"""The positive is another segment of the anchor's own utterance: plain self-supervised training, and the control."""

from dataclasses import dataclass

from sslsv_tk.positives.base import PositiveSampler


@dataclass(frozen=True)
class SameUtteranceConfig:
    """Nothing to set."""


class SameUtterance(PositiveSampler):
    """Every utterance keeps its own positive."""

    Config = SameUtteranceConfig
