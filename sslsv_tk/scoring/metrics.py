"""Error rates of a verification system and the figures made of them: EER, minimum DCF, Cllr.

A trial is accepted when its score reaches the threshold. One sort serves all figures: `error_rates` makes the
curve, its methods read EER and minimum DCF from it.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Convention = Literal["interpolated", "nearest", "rocch"]

EER_CONVENTIONS: dict[Convention, str] = {
    "interpolated": "where the line between the two points of the ROC curve on either side of the diagonal crosses it, "
    "tied scores merged, so that scores which tell nothing have 50 %",
    "nearest": "the larger of the two error rates at the threshold where they are nearest, tied scores merged",
    "rocch": "where the convex hull of the ROC curve crosses the diagonal",
}
_DECIMALS = 13  # rates are ratios of integers; differences closer than this are equal


@dataclass(frozen=True)
class ErrorRates:
    """The two error rates at each threshold, thresholds ascending; the last one, infinity, rejects every trial.

    `false_rejection` is the share of target trials below the threshold, `false_acceptance` the share of
    nontarget trials at or above it.
    """

    thresholds: Floats
    false_rejection: Floats
    false_acceptance: Floats

    def equal_error_rate(self, convention: Convention = "interpolated") -> float:
        """Equal error rate in per cent.

        "interpolated" is where the rates are equal on the line between the two neighbouring points at which
        rejections are fewer and then more than acceptances. "nearest", that of the SSPS authors, is max(FPR, FNR) at
        the threshold where they are nearest (of two equally near ones the higher threshold): never smaller, and 100
        where all scores are equal. "rocch" reads the convex hull (Brummer and de Villiers, "The BOSARIS toolkit",
        2013) and is never larger than "interpolated".
        """
        if convention not in get_args(Convention):
            raise ValueError(f"EER convention: expected one of {', '.join(EER_CONVENTIONS)}, found {convention!r}.")
        if convention == "rocch":
            return 100 * _hull_crossing(self.false_acceptance, self.false_rejection)
        if convention == "interpolated":
            after = int(np.argmax(self.false_rejection >= self.false_acceptance))  # the first rejects none, accepts all
            sides = ((self.false_rejection[at], self.false_acceptance[at]) for at in (after - 1, after))
            return 100 * float(crossing_between(*sides))
        gap = np.round(np.abs(self.false_rejection - self.false_acceptance), _DECIMALS)
        nearest = len(gap) - 1 - int(np.argmin(gap[::-1]))
        return 100 * float(max(self.false_rejection[nearest], self.false_acceptance[nearest]))

    def minimum_dcf(self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Minimum of the detection cost over all thresholds, divided by the cost of the better blind decision.

        `p_target` is the prior of a target trial, `c_miss` and `c_fa` what the errors cost (NIST evaluations).
        """
        if not 0 < p_target < 1 or not c_miss > 0 or not c_fa > 0:
            raise ValueError(
                f"Expected 0 < p_target < 1 and positive costs, found p_target {p_target}, costs {c_miss} and {c_fa}."
            )
        miss, alarm = c_miss * p_target, c_fa * (1 - p_target)
        return float(np.min(miss * self.false_rejection + alarm * self.false_acceptance)) / min(miss, alarm)


def error_rates(scores: ArrayLike, targets: ArrayLike, merge_ties: bool = True) -> ErrorRates:
    """Both error rates at every threshold that tells trials apart.

    `scores` (T,) are higher for the same speaker; `targets` (T,) says which trials are target trials.
    With `merge_ties=False` tied scores are told apart in the order of the list, as voxceleb_trainer's minimum
    DCF does; the figures then depend on that order.
    """
    values, is_target = checked(scores, targets)
    ascending, is_target = _sorted(scores, values, is_target, merge_ties)
    first = np.flatnonzero(np.diff(ascending, prepend=-np.inf) > 0) if merge_ties else np.arange(len(values))
    below = np.append(first, len(values))
    target_count = np.concatenate([[0], np.cumsum(is_target)])
    rejected_targets = target_count[below]
    rejected_nontargets = below - rejected_targets
    return ErrorRates(
        thresholds=np.append(ascending[first], np.inf),
        false_rejection=rejected_targets / target_count[-1],
        false_acceptance=1 - rejected_nontargets / (len(values) - target_count[-1]),
    )


def _sorted(
    scores: ArrayLike, values: Floats, is_target: NDArray[np.bool_], merge_ties: bool
) -> tuple[Floats, NDArray[np.bool_]]:
    """Ascending scores and what trials they are of.

    Where ties are merged, a score in single precision and the mark of its trial are sorted as one integer, twice as
    fast as sorting trials by scores: the bits of a positive float ascend with it, those of a negative one descend.
    """
    singles = np.asarray(scores)
    if singles.dtype != np.float32 or not merge_ties:
        order = np.argsort(values, kind=None if merge_ties else "stable")
        return values[order], is_target[order]
    bits = np.ascontiguousarray(singles).view(np.uint32)
    sign = np.uint32(2**31)
    keys = np.where(bits >= sign, ~bits, bits | sign).astype(np.uint64)
    keys = keys * np.uint64(2) + is_target
    keys.sort()
    bits = (keys >> np.uint64(1)).astype(np.uint32)
    ascending = np.where(bits >= sign, bits ^ sign, ~bits).view(np.float32)
    return ascending.astype(np.float64), (keys & np.uint64(1)).astype(np.bool_)


def equal_error_rate(scores: ArrayLike, targets: ArrayLike, convention: Convention = "interpolated") -> float:
    """Equal error rate in per cent; see `ErrorRates.equal_error_rate` for the conventions."""
    return error_rates(scores, targets).equal_error_rate(convention)


def crossing_between(before: tuple[Any, Any], after: tuple[Any, Any]) -> Any:
    """Where false rejection and false acceptance are equal on the line between two points of the curve, elementwise.

    Each point is (false rejection, false acceptance); the first has fewer rejections, the second no fewer.
    """
    (rejection, acceptance), (later_rejection, later_acceptance) = before, after
    width = (acceptance - rejection) + (later_rejection - later_acceptance)
    return (acceptance * later_rejection - rejection * later_acceptance) / width


def minimum_dcf(
    scores: ArrayLike, targets: ArrayLike, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Normalised minimum detection cost; see `ErrorRates.minimum_dcf`."""
    return error_rates(scores, targets).minimum_dcf(p_target, c_miss, c_fa)


def cllr(log_likelihood_ratios: ArrayLike, targets: ArrayLike) -> float:
    """Cost of natural log-likelihood ratios in bits: 0 is perfect, 1 what a system that says nothing reaches.

    Brummer and du Preez, "Application-independent evaluation of speaker detection", 2006, equation 13.
    """
    ratios, is_target = checked(log_likelihood_ratios, targets)
    missed = np.logaddexp(0, -ratios[is_target]).mean()
    alarmed = np.logaddexp(0, ratios[~is_target]).mean()
    return float(missed + alarmed) / (2 * float(np.log(2)))


def checked(scores: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores as (T,) float64 and targets as (T,) bool, or a ValueError that says what is wrong with them."""
    values, marks = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if values.ndim != 1 or marks.shape != values.shape:
        raise ValueError(f"Expected one score and one label per trial, found shapes {values.shape} and {marks.shape}.")
    if marks.dtype != np.bool_ and not np.isin(marks, (0, 1)).all():
        raise ValueError("Expected labels 1 (target) and 0 (nontarget), found other values.")
    is_target = marks.astype(np.bool_)
    targets_found = int(is_target.sum())
    if not 0 < targets_found < len(values):
        raise ValueError(
            f"Error rates need target and nontarget trials, found {targets_found} target and "
            f"{len(values) - targets_found} nontarget trials. Check the trial list."
        )
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(values)} scores are not finite, the first is number {broken[0] + 1} "
            f"({values[broken[0]]}). Check the embeddings."
        )
    return values, is_target


def _hull_crossing(false_acceptance: Floats, false_rejection: Floats) -> float:
    """Where the lower convex hull of the points crosses false_acceptance = false_rejection.

    Quickhull towards the diagonal: the chord between a point on either side of it is replaced by the chord
    through the point farthest below it, until no point lies below.

        false rejection
        |B
        | .        .  the curve
        |  .P      P  farthest below the chord AB
        |     . .A
        +--------- false acceptance
    """
    above, below = 0, len(false_acceptance) - 1  # accepts everything; rejects everything
    while True:
        x, y = false_acceptance[above : below + 1], false_rejection[above : below + 1]
        width, height = x[0] - x[-1], y[-1] - y[0]
        under = (x - x[-1]) * height + (y - y[-1]) * width
        lowest = int(np.argmin(under))
        if under[lowest] > -(10.0**-_DECIMALS) * max(width, height, 1e-300) or lowest in (0, len(x) - 1):
            break
        if y[lowest] <= x[lowest]:
            above += lowest
        else:
            below = above + lowest
    start, end = y[0] - x[0], y[-1] - x[-1]
    share = start / (start - end)
    return float(x[0] + share * (x[-1] - x[0]))
