"""Schedules are pure functions of the progress of training."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a run is, over both stages."""

    epochs: float
    """Epochs done, with the fraction of the one that is running."""
    span: float
    """Epochs after which every schedule has come to its end, over both stages."""

    @property
    def share(self) -> float:
        """What is done of the span, from 0 to 1; it stays 1 where a run goes on beyond."""
        return min(self.epochs / self.span, 1.0)


def stepwise_decay(initial: float, factor: float, every: int, epoch: int) -> float:
    """`initial`, multiplied by `factor` once per `every` whole epochs done (epoch counts from 0)."""
    return initial * factor ** (epoch // every)


def cosine(start: float, end: float, share: float) -> float:
    """Half a wave of the cosine from `start` at share 0 to `end` at share 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def warm_up_then_cosine(
    peak: float, end: float, warm_up_epochs: float, progress: Progress, cosine_epochs: float | None = None
) -> float:
    """A straight line from 0 to `peak` over the warm-up, then a cosine from `peak` to `end` over `cosine_epochs`.

    None: over the rest of the span, so that `end` is reached when the span is over. A cosine as long as the whole
    span, which begins after the warm-up, is cut off before its end.
    """
    if progress.epochs < warm_up_epochs:
        return peak * progress.epochs / warm_up_epochs
    length = progress.span - warm_up_epochs if cosine_epochs is None else cosine_epochs
    return cosine(peak, end, min((progress.epochs - warm_up_epochs) / length, 1.0) if length > 0 else 1.0)
