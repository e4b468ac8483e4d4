"""Error rates against a loop over thresholds, closed forms and the authors' figures."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sslsv_tk.scoring.metrics import cllr, equal_error_rate, error_rates, minimum_dcf


def naive_curve(scores, targets):
    """False rejection and acceptance at every distinct score and at infinity, by counting."""
    points = []
    for threshold in [*sorted(set(scores)), float("inf")]:
        accepted = [score >= threshold for score in scores]
        rejected_targets = sum(1 for a, t in zip(accepted, targets, strict=True) if t and not a)
        accepted_nontargets = sum(1 for a, t in zip(accepted, targets, strict=True) if a and not t)
        points.append((rejected_targets / sum(targets), accepted_nontargets / (len(targets) - sum(targets))))
    return points


def naive_nearest(scores, targets):
    miss, alarm = min(reversed(naive_curve(scores, targets)), key=lambda point: round(abs(point[0] - point[1]), 12))
    return 100 * max(miss, alarm)


def naive_interpolated(scores, targets):
    """Along each line between neighbouring points of the curve: where are the rates equal?"""
    for (miss, alarm), (later_miss, later_alarm) in itertools.pairwise(naive_curve(scores, targets)):
        if miss - alarm < 0 <= later_miss - later_alarm:
            share = (alarm - miss) / ((alarm - miss) + (later_miss - later_alarm))
            return 100 * (miss + share * (later_miss - miss))
    raise AssertionError("the curve begins where all are accepted and ends where none is")


def naive_rocch(scores, targets):
    """The hull crosses the diagonal at the lowest crossing of any chord between two points of the curve."""
    crossings = []
    for (miss, alarm), (other_miss, other_alarm) in itertools.combinations_with_replacement(
        naive_curve(scores, targets), 2
    ):
        start, end = miss - alarm, other_miss - other_alarm
        if start <= 0 <= end:
            share = 0 if start == end else start / (start - end)
            crossings.append(miss + share * (other_miss - miss))
    return 100 * min(crossings)


def naive_dcf(scores, targets, p_target, c_miss, c_fa):
    costs = [c_miss * p_target * miss + c_fa * (1 - p_target) * alarm for miss, alarm in naive_curve(scores, targets)]
    return min(costs) / min(c_miss * p_target, c_fa * (1 - p_target))


@st.composite
def trial_lists(draw):
    """A few trials with many ties, at least one of each kind."""
    scores = draw(st.lists(st.integers(-4, 4).map(lambda n: n / 4), min_size=2, max_size=25))
    targets = draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    assume(any(targets) and not all(targets))
    return scores, targets


@given(trial_lists())
def test_curve_equals_counting_at_every_threshold(trials):
    rates = error_rates(*trials)
    np.testing.assert_allclose(
        np.stack([rates.false_rejection, rates.false_acceptance], axis=1), naive_curve(*trials), atol=1e-12
    )
    assert rates.thresholds.tolist() == [*sorted(set(trials[0])), np.inf]


@given(trial_lists())
def test_eer_equals_the_loop_over_thresholds(trials):
    assert equal_error_rate(*trials) == pytest.approx(naive_interpolated(*trials), abs=1e-9)
    assert equal_error_rate(*trials, convention="nearest") == pytest.approx(naive_nearest(*trials), abs=1e-9)


@given(trial_lists())
def test_rocch_eer_equals_the_lowest_chord(trials):
    assert equal_error_rate(*trials, convention="rocch") == pytest.approx(naive_rocch(*trials), abs=1e-9)


@given(trial_lists())
def test_the_conventions_are_in_order(trials):
    rocch, interpolated, nearest = (equal_error_rate(*trials, name) for name in ("rocch", "interpolated", "nearest"))
    assert rocch <= interpolated + 1e-9 and interpolated <= nearest + 1e-9


@given(trial_lists())
def test_scores_and_their_negatives_add_up_to_100(trials):
    """A curve read backwards is the same curve: half of the trials wrong is chance, on either side of it."""
    scores, targets = trials
    both = equal_error_rate(scores, targets) + equal_error_rate([-score for score in scores], targets)
    assert both == pytest.approx(100)


@given(trial_lists(), st.sampled_from([0.01, 0.05, 0.5, 0.9]), st.sampled_from([1.0, 10.0]))
def test_minimum_dcf_equals_the_loop_over_thresholds(trials, p_target, c_miss):
    expected = naive_dcf(*trials, p_target, c_miss, 1.0)
    assert minimum_dcf(*trials, p_target, c_miss) == pytest.approx(expected, abs=1e-9)
    assert expected <= 1 + 1e-12


@given(trial_lists(), st.randoms())
def test_the_order_of_the_trials_does_not_matter(trials, random):
    pairs = list(zip(*trials, strict=True))
    random.shuffle(pairs)
    shuffled = error_rates(*zip(*pairs, strict=True))
    rates = error_rates(*trials)
    np.testing.assert_array_equal(shuffled.false_rejection, rates.false_rejection)
    np.testing.assert_array_equal(shuffled.false_acceptance, rates.false_acceptance)


@given(trial_lists())
def test_a_rising_transform_of_the_scores_does_not_matter(trials):
    scores, targets = trials
    assert equal_error_rate(np.exp(scores), targets) == equal_error_rate(scores, targets)


def test_figures_equal_the_authors(reference_folder):
    reference = np.load(reference_folder / "metrics.npz")
    scores, targets = reference["scores"], reference["labels"]
    rates = error_rates(scores, targets)
    assert rates.equal_error_rate("nearest") == pytest.approx(float(reference["eer"]), rel=1e-5)
    assert rates.minimum_dcf(0.01) == pytest.approx(float(reference["mindcf_001"]), rel=1e-5)
    assert rates.minimum_dcf(0.05) == pytest.approx(float(reference["mindcf_005"]), rel=1e-5)
    assert cllr(scores, targets) == pytest.approx(float(reference["cllr"]), rel=1e-5)


def test_perfect_inverted_and_constant_scores():
    targets = [1, 1, 0, 0]
    assert equal_error_rate([3, 2, 1, 0], targets) == 0
    assert equal_error_rate([3, 2, 1, 0], targets, "rocch") == 0
    assert equal_error_rate([0, 1, 2, 3], targets) == 100
    assert equal_error_rate([0, 1, 2, 3], targets, "rocch") == pytest.approx(50)
    assert equal_error_rate([1, 1, 1, 1], targets, "rocch") == pytest.approx(50)
    assert equal_error_rate([1, 1, 1, 1], targets) == 50
    assert equal_error_rate([1, 1, 1, 1], targets, "nearest") == 100  # as the authors' code has it
    assert minimum_dcf([3, 2, 1, 0], targets, 0.01) == 0
    assert minimum_dcf([0, 1, 2, 3], targets, 0.01) == 1


def test_ties_are_merged_unless_the_order_of_the_list_is_asked_for():
    scores, targets = [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1]
    assert error_rates(scores, targets).thresholds.tolist() == [0.5, np.inf]
    assert error_rates(scores, targets).equal_error_rate() == 50
    assert error_rates(scores, targets, merge_ties=False).equal_error_rate() == 0
    assert error_rates(scores, targets[::-1], merge_ties=False).equal_error_rate() == 100


def test_few_values_are_read_between_them():
    """Decisions: 90 of 100 targets and 20 of 100 nontargets accepted. Between (.1, .2) and (1, 0) 2/11 are equal."""
    scores, targets = np.repeat([1, 0, 1, 0], [90, 10, 20, 80]), np.repeat([1, 0], 100)
    assert equal_error_rate(scores, targets) == pytest.approx(100 * 2 / 11)
    assert equal_error_rate(scores, targets, "nearest") == pytest.approx(20)


def test_gaussian_scores_give_the_closed_form():
    generator, count, distance = np.random.default_rng(0), 200_000, 2.0
    scores = np.concatenate([generator.normal(distance, 1, count), generator.normal(0, 1, count)])
    targets = np.repeat([1, 0], count)
    assert equal_error_rate(scores, targets) == pytest.approx(15.8655, abs=0.2)  # 100 * Phi(-distance / 2)
    assert equal_error_rate(scores, targets, "rocch") == pytest.approx(15.8655, abs=0.2)


def test_cllr_closed_forms():
    targets = [1, 1, 0]
    assert cllr([0, 0, 0], targets) == pytest.approx(1)
    assert cllr([np.log(3)] * 3, targets) == pytest.approx((np.log2(4 / 3) + np.log2(4)) / 2)
    assert cllr([1000, 1000, -1000], targets) == 0
    assert cllr([-1000, 1000, 0], targets) == pytest.approx((1000 / np.log(2) / 2 + 1) / 2)


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        ([], [], "found 0 target and 0 nontarget"),
        ([1, 2], [1, 1], "found 2 target and 0 nontarget"),
        ([1, 2], [0, 0], "found 0 target and 2 nontarget"),
        ([1, np.nan, np.nan], [1, 0, 1], "2 of 3 scores are not finite, the first is number 2"),
        ([1, np.inf], [1, 0], "not finite"),
        ([1, 2, 3], [1, 0], "one score and one label per trial"),
        ([[1, 2]], [[1, 0]], "one score and one label per trial"),
        ([1, 2, 3], [1, 0, 2], "labels 1"),
    ],
)
def test_trials_that_define_no_error_rate_are_refused(scores, targets, message):
    for figure in (equal_error_rate, error_rates, cllr, lambda s, t: minimum_dcf(s, t, 0.01)):
        with pytest.raises(ValueError, match=message):
            figure(scores, targets)


@pytest.mark.parametrize("options", [{"p_target": 0}, {"p_target": 1}, {"p_target": 0.1, "c_fa": 0}])
def test_costs_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match="p_target"):
        minimum_dcf([1, 0], [1, 0], **options)


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="one of interpolated, nearest, rocch, found 'linear'"):
        equal_error_rate([1, 0], [1, 0], "linear")


def test_scoring_and_its_commands_load_where_torch_does_not():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import sslsv_tk.scoring.metrics, sslsv_tk.scoring.cosine, sslsv_tk.scoring.bootstrap\n"
        "import sslsv_tk.bin.score_trials, sslsv_tk.bin.write_results, sslsv_tk.bin.compare_systems\n"
        "import sslsv_tk.bin.keep_results, sslsv_tk.bin.compute_eer\n"
        "try:\n    import torch\nexcept ImportError:\n    print('absent')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "absent\n", run.stderr


@given(
    scores=st.lists(
        st.one_of(st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 0.5, -0.5, 3e38, -3e38]), st.floats(-2, 2, width=32)),
        min_size=2,
        max_size=60,
    ),
    seed=st.integers(0, 99),
)
def test_scores_in_single_precision_have_the_rates_of_the_same_ones_in_double(scores, seed):
    targets = np.random.default_rng(seed).random(len(scores)) < 0.5
    targets[:2] = True, False
    values = np.array(scores, dtype=np.float32)
    single, double = (error_rates(values.astype(kind), targets) for kind in (np.float32, np.float64))
    for name in ("thresholds", "false_rejection", "false_acceptance"):
        np.testing.assert_array_equal(getattr(single, name), getattr(double, name))
