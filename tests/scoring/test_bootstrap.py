"""Resampled speakers against trial lists that are written out again for each draw."""

import itertools

import numpy as np
import pytest

from sslsv_tk.scoring import bootstrap
from sslsv_tk.scoring.bootstrap import (
    Interval,
    LabelledTrials,
    TooFewSpeakers,
    chance_interval,
    compare_eer,
    eer_interval,
    replicated_eer,
    speaker_weights,
)
from sslsv_tk.scoring.metrics import equal_error_rate


def draw(speakers=7, trials=300, seed=0, decimals=1, codes=lambda code: code):
    """Trials of random speakers; few decimals make ties. Speaker codes need not be 0, 1, 2, ..."""
    generator = np.random.default_rng(seed)
    enrol = generator.integers(0, speakers, trials)
    targets = generator.random(trials) < 0.4
    test = np.where(targets, enrol, (enrol + generator.integers(1, speakers, trials)) % speakers)
    shift = generator.normal(size=speakers)[enrol]
    scores = np.round(generator.normal(size=trials) + 1.5 * targets + shift, decimals)
    return scores, LabelledTrials(targets, codes(enrol), codes(test))


def replicated_by_hand(scores, trials, weights):
    """EER of the list in which a trial stands as often as its speakers were drawn."""
    row = {code: index for index, code in enumerate(sorted({*trials.enrol_speakers, *trials.test_speakers}))}
    long_scores, long_targets = [], []
    for score, target, a, b in zip(scores, trials.targets, trials.enrol_speakers, trials.test_speakers, strict=True):
        times = weights[row[a]] if target else weights[row[a]] * weights[row[b]]
        long_scores += [score] * times
        long_targets += [target] * times
    return equal_error_rate(long_scores, long_targets)


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_a_replicate_equals_the_list_written_out_again(decimals):
    scores, trials = draw(decimals=decimals, codes=lambda code: 100 - 3 * code)
    weights = speaker_weights(7, 40, seed=1)
    expected = [replicated_by_hand(scores, trials, row) for row in weights]
    np.testing.assert_allclose(replicated_eer(scores, trials, weights), expected, atol=1e-9)


def test_every_set_of_weights_of_three_speakers_equals_the_list_written_out_again():
    scores, trials = draw(speakers=3, trials=25, decimals=0)
    weights = np.array(list(itertools.product(range(4), repeat=3)))
    for row, found in zip(weights, replicated_eer(scores, trials, weights), strict=True):
        drawn = {code for code in range(3) if row[code]}
        kinds = {
            bool(t)
            for t, a, b in zip(trials.targets, trials.enrol_speakers, trials.test_speakers, strict=True)
            if {a, b} <= drawn
        }
        if kinds == {True, False}:
            assert found == pytest.approx(replicated_by_hand(scores, trials, row), abs=1e-9)
        else:
            assert np.isnan(found)


@pytest.mark.parametrize("seed", range(5))
def test_weights_of_one_give_the_eer(seed):
    scores, trials = draw(seed=seed)
    found = replicated_eer(scores, trials, np.ones((1, 7), dtype=int))
    assert found[0] == pytest.approx(equal_error_rate(scores, trials.targets), abs=1e-9)


def test_chunks_do_not_matter(monkeypatch):
    scores, trials = draw()
    weights = speaker_weights(7, 25, seed=0)
    whole = replicated_eer(scores, trials, weights)
    for cells in (1, 300 * 7):
        monkeypatch.setattr(bootstrap, "_BLOCK_CELLS", cells)
        np.testing.assert_array_equal(replicated_eer(scores, trials, weights), whole)


def test_draws_are_with_replacement_seeded_and_uniform():
    weights = speaker_weights(20, 3000, seed=5)
    assert weights.shape == (3000, 20) and (weights.sum(axis=1) == 20).all()
    np.testing.assert_array_equal(weights, speaker_weights(20, 3000, seed=5))
    assert (weights != speaker_weights(20, 3000, seed=6)).any()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 20) ** 20, abs=0.01)


def test_the_interval_holds_the_quantiles_of_the_replicates():
    scores, trials = draw(speakers=12)
    interval = eer_interval(scores, trials, replicates=500, seed=3)
    replicates = sorted(replicated_eer(scores, trials, speaker_weights(12, 500, seed=3)))
    assert interval.value == equal_error_rate(scores, trials.targets)
    assert replicates[11] <= interval.low <= replicates[13] and replicates[486] <= interval.high <= replicates[488]
    assert interval == eer_interval(scores, trials, replicates=500, seed=3)


def test_a_system_does_not_differ_from_itself():
    scores, trials = draw()
    comparison = compare_eer(scores, scores, trials, replicates=100)
    assert comparison.difference == Interval(0.0, 0.0, 0.0)
    assert not comparison.difference.excludes_zero
    assert comparison.first == comparison.second == eer_interval(scores, trials, replicates=100)


def test_equal_scores_are_at_chance_and_no_worse_than_another_system_at_chance():
    """A collapsed encoder, compared with noise: nothing is significant."""
    scores, trials = draw(speakers=20, trials=2000)
    noise = np.random.default_rng(1).normal(size=len(scores))
    comparison = compare_eer(np.full(len(scores), 0.97), noise, trials, 300)
    assert comparison.first == Interval(50.0, 50.0, 50.0)
    assert comparison.first.against_chance == comparison.second.against_chance == "at chance"
    assert not comparison.difference.excludes_zero


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(40.0, 35.0, 49.9), ""),
        (Interval(48.0, 45.0, 51.0), "at chance"),
        (Interval(50.0, 50.0, 50.0), "at chance"),
        (Interval(60.0, 55.0, 65.0), "worse than chance"),
    ],
)
def test_an_interval_is_below_chance_at_it_or_above(interval, words):
    assert interval.against_chance == words


@pytest.mark.parametrize("counts", [(200, 200), (50, 2000)])
def test_chance_takes_95_of_100_random_lists_for_chance(counts):
    generator, targets = np.random.default_rng(0), np.repeat([True, False], counts)
    rates = [equal_error_rate(generator.normal(size=len(targets)), targets) for _ in range(1000)]
    share = np.mean([chance_interval(rate, targets).against_chance == "at chance" for rate in rates])
    assert share == pytest.approx(0.95, abs=0.02)


def test_a_difference_turns_its_sign_with_the_order_of_the_systems():
    scores, trials = draw(speakers=10)
    other = scores + np.random.default_rng(9).normal(size=len(scores))
    one, two = compare_eer(scores, other, trials, 200), compare_eer(other, scores, trials, 200)
    assert one.difference.value == -two.difference.value
    assert one.difference.low == pytest.approx(-two.difference.high)
    assert one.first == two.second


def test_pairing_makes_the_difference_of_like_systems_narrower_than_either():
    scores, trials = draw(speakers=20, trials=4000, decimals=6)
    other = scores + 0.2 * np.random.default_rng(9).normal(size=len(scores))
    comparison = compare_eer(scores, other, trials, 300)
    width = comparison.difference.high - comparison.difference.low
    assert width < 0.5 * (comparison.first.high - comparison.first.low)


def test_about_95_of_100_intervals_hold_the_true_eer():
    """Speakers differ in how well they are recognised; the truth is the EER of a list of very many of them."""

    def corpus(speakers, seed):
        generator = np.random.default_rng(seed)
        ease = generator.normal(1.5, 0.8, speakers)
        own = np.repeat(np.arange(speakers), 20)
        other = (own + generator.integers(1, speakers, len(own))) % speakers
        targets = np.repeat([True, False], len(own))
        enrol, test = np.concatenate([own, own]), np.concatenate([own, other])
        scores = generator.normal(size=len(targets)) + np.where(targets, ease[enrol], 0)
        return scores, LabelledTrials(targets, enrol, test)

    scores, trials = corpus(20_000, seed=0)
    truth = equal_error_rate(scores, trials.targets)
    intervals = [eer_interval(*corpus(40, seed), replicates=200, seed=seed) for seed in range(1, 101)]
    covered = sum(interval.low <= truth <= interval.high for interval in intervals)
    assert 86 <= covered <= 100
    widths = [interval.high - interval.low for interval in intervals]
    spread = np.std([interval.value for interval in intervals])
    assert 2.5 * spread < np.mean(widths) < 6 * spread


@pytest.mark.parametrize(
    ("enrol", "test", "message"),
    [([1, 2], [1, 2], "number 2 is a nontarget trial of one"), ([1, 2], [3, 1], "number 1 is a target trial of two")],
)
def test_labels_that_contradict_the_list_are_refused(enrol, test, message):
    with pytest.raises(ValueError, match=message):
        LabelledTrials(np.array([True, False]), np.array(enrol), np.array(test))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one label and two speakers"):
        LabelledTrials(np.array([True, False]), np.array([1]), np.array([1, 2]))


def test_too_few_speakers_or_replicates_are_refused():
    scores, trials = draw(speakers=4)
    with pytest.raises(TooFewSpeakers, match="at least 5, found 4"):
        eer_interval(scores, trials)
    scores, trials = draw(speakers=6)
    with pytest.raises(ValueError, match="at least one replicate"):
        eer_interval(scores, trials, replicates=0)


def test_a_list_that_hangs_on_two_speakers_has_no_interval():
    enrol, test = np.arange(10), np.arange(10)
    enrol, test = np.append(enrol, 0), np.append(test, 1)
    targets = np.append(np.ones(10, dtype=bool), False)
    with pytest.raises(TooFewSpeakers, match="no target or no nontarget"):
        eer_interval(np.arange(11.0), LabelledTrials(targets, enrol, test))
