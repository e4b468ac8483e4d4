"""NMI and purity against closed forms, a dense table and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.clustering.agreement import contingency, normalised_mutual_information, purity

LABELINGS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-3, 6), min_size=n, max_size=n).map(np.array)] * 2)
)


def slow_nmi(first: np.ndarray, second: np.ndarray) -> float:
    """Over every pair of labels, from the definition of mutual information."""
    information = 0.0
    for a in set(first.tolist()):
        for b in set(second.tolist()):
            both = np.mean((first == a) & (second == b))
            if both > 0:
                information += both * math.log(both / (np.mean(first == a) * np.mean(second == b)))
    entropies = [
        -sum(share * math.log(share) for label in set(x.tolist()) for share in [np.mean(x == label)])
        for x in (first, second)
    ]
    return 1.0 if sum(entropies) == 0 else 2 * information / sum(entropies)


@settings(max_examples=80, deadline=None)
@given(LABELINGS)
def test_nmi_equals_its_definition_and_is_symmetric(labelings):
    first, second = labelings
    assert normalised_mutual_information(first, second) == pytest.approx(slow_nmi(first, second), abs=1e-9)
    assert normalised_mutual_information(second, first) == pytest.approx(slow_nmi(first, second), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(LABELINGS)
def test_purity_equals_counting_cluster_by_cluster(labelings):
    clusters, classes = labelings
    right = sum(max(np.sum(classes[clusters == k] == c) for c in set(classes.tolist())) for k in set(clusters.tolist()))
    assert purity(clusters, classes) == pytest.approx(right / len(classes))


@settings(max_examples=30, deadline=None)
@given(LABELINGS)
def test_nmi_equals_that_of_scikit_learn(labelings):
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = labelings
    assert normalised_mutual_information(first, second) == pytest.approx(
        metrics.normalized_mutual_info_score(first, second), abs=1e-9
    )


def test_the_same_partition_under_other_names_agrees_fully():
    codes = np.array([0, 0, 1, 1, 2, 2])
    renamed = np.array([700_000, 700_000, -5, -5, 3, 3])
    assert normalised_mutual_information(codes, renamed) == pytest.approx(1.0)
    assert purity(codes, renamed) == 1.0


def test_independent_labelings_share_nothing():
    first, second = np.repeat([0, 1], 50), np.tile([0, 1], 50)
    assert normalised_mutual_information(first, second) == pytest.approx(0.0, abs=1e-12)
    assert purity(first, second) == 0.5


def test_single_labels_agree_and_one_label_tells_nothing_about_many():
    same = np.zeros(4, dtype=int)
    assert normalised_mutual_information(same, same) == 1.0
    assert normalised_mutual_information(same, np.arange(4)) == 0.0


def test_a_million_singletons_need_no_dense_table():
    codes = np.arange(1_000_000)
    assert len(contingency(codes, codes).pair_counts_C) == 1_000_000


@pytest.mark.parametrize("first, second", [([0, 1], [0]), ([], []), ([[0, 1]], [[0, 1]])])
def test_labelings_of_different_things_or_of_none_are_refused(first, second):
    with pytest.raises(ValueError, match="two labelings of the same things"):
        purity(np.array(first), np.array(second))
