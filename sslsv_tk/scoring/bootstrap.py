"""How sure an EER is: intervals from resampling speakers, for one system and for the difference of two.

Trials are not independent, speakers nearly are, so speakers are drawn with replacement. A speaker drawn w times
gives its target trials weight w and a nontarget trial of speakers a and b weight w_a * w_b; the weighted EER comes
from one sort of the scores and cumulative sums. Two systems are compared on the same draws (paired).

R replicates, S speakers, T trials.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sslsv_tk.scoring.metrics import checked, crossing_between, error_rates

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

MINIMUM_SPEAKERS = 5  # below it an interval is wider or narrower by chance than it is by the data
CHANCE_PERCENT = 50.0  # EER of scores that tell nothing
_DEVIATIONS = 1.96  # of a normal distribution: 95 % lie within
_BLOCK_CELLS = 2**21  # replicates x trials in one go: 16 MiB of int64


class TooFewSpeakers(ValueError):
    """The speakers of a list cannot give an interval."""


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Of a difference: is it significant?"""
        return self.low > 0 or self.high < 0

    @property
    def against_chance(self) -> str:
        """Of an EER in per cent: "at chance" or "worse than chance" where it is not shown to be below 50, else ""."""
        if self.high < CHANCE_PERCENT:
            return ""
        return "at chance" if self.low <= CHANCE_PERCENT else "worse than chance"

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Comparison:
    """Two systems on one list: EER of each and the first minus the second, in per cent."""

    first: Interval
    second: Interval
    difference: Interval


@dataclass(frozen=True)
class LabelledTrials:
    """What is known of each trial besides its score: (T,) target or not, (T,) integer codes of both speakers."""

    targets: NDArray[np.bool_]
    enrol_speakers: Counts
    test_speakers: Counts

    def __post_init__(self) -> None:
        shapes = {self.targets.shape, self.enrol_speakers.shape, self.test_speakers.shape}
        if len(shapes) > 1:
            raise ValueError(f"Expected one label and two speakers per trial, found shapes {sorted(shapes)}.")
        wrong = np.flatnonzero(self.targets != (self.enrol_speakers == self.test_speakers))
        if len(wrong):
            kind, found = ("target", "two speakers") if self.targets[wrong[0]] else ("nontarget", "one speaker")
            raise ValueError(
                f"{len(wrong)} of {len(self.targets)} trials contradict the speakers: number "
                f"{wrong[0] + 1} is a {kind} trial of {found}. Check utt2spk and the trial list."
            )

    def compact(self) -> tuple[Counts, Counts, int]:
        """The codes of both sides renumbered from 0, and how many speakers there are."""
        present, codes = np.unique(np.concatenate([self.enrol_speakers, self.test_speakers]), return_inverse=True)
        enrol, test = np.split(codes.astype(np.int64), 2)
        return enrol, test, len(present)


def eer_interval(scores: ArrayLike, trials: LabelledTrials, replicates: int = 1000, seed: int = 0) -> Interval:
    """EER in per cent ("interpolated" convention) with its 95 % interval over speakers."""
    weights = _weights(trials, replicates, seed)
    return _interval(_eer(scores, trials), replicated_eer(scores, trials, weights))


def chance_interval(eer_percent: float, targets: ArrayLike) -> Interval:
    """An EER with the 95 % that chance alone takes it off: for `against_chance` where speakers are not known.

    Where scores tell nothing, each rate at their median deviates from 1/2 by sqrt(1/4 / n) and the EER by half the sum
    of both. Trials count as independent; they share speakers, so `eer_interval` says more.
    """
    marks = np.asarray(targets, dtype=np.bool_)
    count = int(marks.sum())
    half = _DEVIATIONS * CHANCE_PERCENT / 2 * float(np.sqrt(1 / count + 1 / (len(marks) - count)))
    return Interval(eer_percent, eer_percent - half, eer_percent + half)


def compare_eer(
    scores: ArrayLike, against: ArrayLike, trials: LabelledTrials, replicates: int = 1000, seed: int = 0
) -> Comparison:
    """EER of two systems on the same trials and their difference, each with its 95 % interval, on the same draws."""
    weights = _weights(trials, replicates, seed)
    first, second = replicated_eer(scores, trials, weights), replicated_eer(against, trials, weights)
    values = _eer(scores, trials), _eer(against, trials)
    return Comparison(
        _interval(values[0], first), _interval(values[1], second), _interval(values[0] - values[1], first - second)
    )


def speaker_weights(speakers: int, replicates: int, seed: int) -> Counts:
    """How often each speaker is drawn: (R, S), every row sums to S."""
    draws = np.random.default_rng(seed).integers(0, speakers, (replicates, speakers))
    cells = draws + speakers * np.arange(replicates)[:, None]
    return np.bincount(cells.ravel(), minlength=replicates * speakers).reshape(replicates, speakers).astype(np.int32)


def replicated_eer(scores: ArrayLike, trials: LabelledTrials, weights: Counts) -> Floats:
    """EER in per cent under each row of speaker weights (R, S): (R,), NaN where no target or nontarget has weight.

    Columns of `weights` stand for the speakers of the trials in ascending order of their codes.
    """
    values, targets = checked(scores, trials.targets)
    enrol, test, _ = trials.compact()
    order = np.argsort(values)
    thresholds = np.unique(values)
    target_order, nontarget_order = order[targets[order]], order[~targets[order]]
    below = [np.append(np.searchsorted(values[o], thresholds), len(o)) for o in (target_order, nontarget_order)]
    result = np.empty(len(weights))
    block = max(1, _BLOCK_CELLS // len(values))
    for start in range(0, len(weights), block):
        drawn = weights[start : start + block]
        rejected = _running_sums(drawn[:, enrol[target_order]])
        spared = _running_sums(drawn[:, enrol[nontarget_order]] * drawn[:, test[nontarget_order]])
        result[start : start + block] = _crossing(rejected, spared, *below)
    return 100 * result


def _running_sums(weights: Counts) -> Counts:
    """Weight of the first 0, 1, ... trials: (R, n) -> (R, n + 1)."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), dtype=np.int64)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _crossing(targets: Counts, nontargets: Counts, targets_below: Counts, nontargets_below: Counts) -> Floats:
    """The interpolated EER of each replicate.

    `targets` and `nontargets` are running sums of weights over trials in ascending order of scores, the other two
    say how many trials lie below each threshold, the last of which rejects all. The gap between the rates never
    falls as the threshold rises, so the first threshold at which it is not negative is found by bisection, in all
    replicates at once.
    """
    replicate = np.arange(len(targets))
    totals = targets[:, -1], nontargets[:, -1]

    def rates(threshold: Counts) -> tuple[Floats, Floats]:
        with np.errstate(invalid="ignore"):
            rejection = targets[replicate, targets_below[threshold]] / totals[0]
            return rejection, 1 - nontargets[replicate, nontargets_below[threshold]] / totals[1]

    low, high = np.zeros_like(replicate), np.full_like(replicate, len(targets_below) - 1)
    while (low < high).any():
        middle = (low + high) // 2
        rejection, acceptance = rates(middle)
        crossed = ~(rejection < acceptance)  # NaN, a replicate without a rate, counts as crossed: the search ends
        low, high = np.where(crossed, low, middle + 1), np.where(crossed, middle, high)
    with np.errstate(invalid="ignore"):
        found: Floats = crossing_between(rates(np.maximum(low - 1, 0)), rates(low))
    return found


def _eer(scores: ArrayLike, trials: LabelledTrials) -> float:
    return error_rates(scores, trials.targets).equal_error_rate()


def _weights(trials: LabelledTrials, replicates: int, seed: int) -> Counts:
    _, _, speakers = trials.compact()
    if speakers < MINIMUM_SPEAKERS:
        raise TooFewSpeakers(f"An interval over speakers needs at least {MINIMUM_SPEAKERS}, found {speakers}.")
    if replicates < 1:
        raise ValueError(f"Expected at least one replicate, found {replicates}.")
    return speaker_weights(speakers, replicates, seed)


def _interval(value: float, replicated: Floats) -> Interval:
    """Percentile interval; replicates without a target or without a nontarget trial say nothing and are left out."""
    known = replicated[~np.isnan(replicated)]
    if 2 * len(known) < len(replicated):
        raise TooFewSpeakers(
            f"{len(replicated) - len(known)} of {len(replicated)} draws of speakers have no target or no nontarget "
            "trial: too few speakers carry this list for an interval."
        )
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(value, float(low), float(high))
