"""Has training collapsed? Judged from what a method measures, without labels, at log lines and ends of epochs.

A deviation and a rank say how embeddings, or projections, are spread over the batch (`methods.base.spread_measures`).
What is healthy depends on the encoder, so most limits are relative to the best that a run has shown. An untrained
Fast ResNet-34 begins with a deviation of .05 to .08 and a rank of 1.01, since all its embeddings share a large mean.
Measured with a small one (8 to 16 channels, 64 outputs; Adam at 1e-3, 64 segments of 2 s of real speech a step): it
begins at .10 and 1.02; SimCLR, SimSiam and BYOL lead upwards, VICReg and DINO dip to .085 first; pairs that only
attract each other fall to .06 in 5 steps and to .03 in 25. SimSiam's projections begin with a deviation of 1 and a
rank of 20; in 45 steps the rank comes to 2.7, and without the stop of the gradient below 1.8. DINO's untrained
teacher already tells .9 nats of an utterance (2,048 prototypes).
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

EQUAL = 0.02  # a deviation below: pairs of rows have a mean cosine above .9996
LOW, FALLEN = 0.3, 0.5  # a deviation below LOW (mean cosine above .9) that was 1/FALLEN times as large before
FEW, MANY = 2.0, 4.0  # a rank below FEW that was above MANY times as large before
SHRUNK = 0.25  # of the best scale of projections: VICReg starts at .33 and rises; without its hinge .08 in 25 steps
UNINFORMATIVE, INFORMATIVE = 0.01, 0.03  # nats that a target tells of its utterance: nothing; something
LATE = 200  # steps, in whole epochs, after which targets must tell something, and embeddings must have spread
ALIKE = 1.1  # a rank below: all embeddings are as alike as those of an untrained encoder, a loss is that of chance

_SPREADS = {
    "embeddings": ("embedding_deviation", "effective_rank"),
    "projections": ("projection_deviation", "projection_rank"),
}
_TARGETS = {
    "the teacher's classes": ("teacher_information", "teacher_entropy"),
    "the prototypes": ("assignment_information", "assignment_entropy"),
}
_ANY = "a lower optimisation.learning_rate, a larger training.batch_size, stronger augmentation"


def find_collapse(numbers: Mapping[str, float], best: Mapping[str, float], late: bool) -> str | None:
    """What has collapsed, with its numbers, or None; `best` holds the largest value of each number so far.

    `late`: training is far enough for targets to tell utterances apart, and for embeddings to have spread.
    """
    for what, (deviation, rank) in _SPREADS.items():
        collapse = _equal(what, deviation, numbers, best) or _few_directions(what, rank, numbers, best)
        if collapse:
            return collapse
    return (late and _at_chance(numbers)) or _shrunk(numbers, best) or _empty_targets(numbers, best, late)


def still_alike(numbers: Mapping[str, float]) -> bool:
    """Are embeddings as alike as those of an untrained encoder (rank 1.01), so that a loss is that of chance?"""
    return numbers.get("effective_rank", math.inf) < ALIKE and numbers.get("embedding_deviation", math.inf) < LOW


def _at_chance(numbers: Mapping[str, float]) -> str | None:
    """Are embeddings of a whole, late epoch as alike as at the start?"""
    if not still_alike(numbers):
        return None
    said = ", ".join(f"{name} {numbers[name]:.4g}" for name in ("effective_rank", "loss") if name in numbers)
    return f"nothing is learnt, all embeddings are as alike as at the start ({said}: the loss is that of chance)"


def _equal(what: str, name: str, numbers: Mapping[str, float], best: Mapping[str, float]) -> str | None:
    """Do all rows point one way?"""
    value, before = numbers.get(name, math.inf), best.get(name, 0.0)
    if value < EQUAL or (value < LOW and value < FALLEN * before):
        return f"all {what} are becoming equal ({name} {value:.3g}, at best {before:.3g})"
    return None


def _shrunk(numbers: Mapping[str, float], best: Mapping[str, float]) -> str | None:
    """Have projections whose length counts become constant, though the rest may still point anywhere?"""
    name = "projection_scale"
    value, before = numbers.get(name, math.inf), best.get(name, 0.0)
    if value < SHRUNK * before:
        return f"projections are becoming constant ({name} {value:.3g}, at best {before:.3g})"
    return None


def _few_directions(what: str, name: str, numbers: Mapping[str, float], best: Mapping[str, float]) -> str | None:
    """Have many directions become one or two?"""
    value, before = numbers.get(name, math.inf), best.get(name, 0.0)
    if value < FEW and value < before / MANY:
        return f"{what} fill hardly more than one direction ({name} {value:.3g}, at best {before:.3g})"
    return None


def _empty_targets(numbers: Mapping[str, float], best: Mapping[str, float], late: bool) -> str | None:
    """Do targets say the same of all utterances, after they did not or when they should have learnt not to?"""
    for what, (information, entropy) in _TARGETS.items():
        told, spread = numbers.get(information, math.inf), numbers.get(entropy, math.inf)
        if told < UNINFORMATIVE and (late or best.get(information, 0.0) >= INFORMATIVE):
            way = "one takes all" if spread < 1 else "all share alike"
            return f"{what} say the same of every utterance: {way} ({information} {told:.3g}, {entropy} {spread:.3g})"
    return None


class Health:
    """Keeps the best numbers of a run and warns once per epoch."""

    def __init__(self, remedies: str = "") -> None:
        """`remedies`: what the method itself says may help against a collapse."""
        self.remedies = f"{_ANY}; {remedies}" if remedies else _ANY
        self.best: dict[str, float] = {}
        self.warned_epoch = 0
        self._first: dict[str, Tensor] | None = None

    def begin(self, numbers: Mapping[str, Tensor]) -> None:
        """Remember the numbers of the first step, without waiting for the device."""
        if self._first is None and not self.best:
            self._first = {name: number.detach() for name, number in numbers.items()}

    def look(self, numbers: Mapping[str, float], epoch: int, step: int, whole_epoch: bool = False) -> str | None:
        """Judge means of a log line or of an epoch (from 1); a warning, unless the epoch has had its one."""
        self._settle()
        collapse = find_collapse(numbers, self.best, whole_epoch and step >= LATE)
        self._raise_best(numbers)
        if collapse is None or self.warned_epoch == epoch:
            return None
        self.warned_epoch = epoch
        return f"collapse in epoch {epoch}, by step {step}: {collapse}. What may help: {self.remedies}"

    def _settle(self) -> None:
        if self._first is not None:
            self._raise_best({name: float(number) for name, number in self._first.items()})
            self._first = None

    def _raise_best(self, numbers: Mapping[str, float]) -> None:
        names = [*(name for pair in _SPREADS.values() for name in pair), "projection_scale"]
        names += [information for information, _ in _TARGETS.values()]
        for name in names:
            if name in numbers:
                self.best[name] = max(self.best.get(name, -math.inf), numbers[name])

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        self._settle()
        return {"best": dict(self.best), "warned_epoch": self.warned_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on judging against the best numbers so far."""
        self.best = dict(state["best"])
        self.warned_epoch = int(state["warned_epoch"])
