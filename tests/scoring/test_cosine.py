"""Cosine scores against a loop over trials."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslsv_tk.scoring import cosine
from sslsv_tk.scoring.cosine import cosine_scores, unit_length


def naive(embeddings, enrol, test):
    wide = np.asarray(embeddings, dtype=np.float64)
    return [
        wide[a] @ wide[b] / np.linalg.norm(wide[a]) / np.linalg.norm(wide[b]) for a, b in zip(enrol, test, strict=True)
    ]


def draw(utterances, trials, dimension=7, seed=0, dtype=np.float32):
    generator = np.random.default_rng(seed)
    embeddings = (10 * generator.standard_normal((utterances, dimension))).astype(dtype)
    return embeddings, generator.integers(0, utterances, trials), generator.integers(0, utterances, trials)


@given(st.integers(1, 12), st.integers(1, 200), st.integers(0, 99))
def test_scores_equal_the_loop_in_the_order_of_the_trials(utterances, trials, seed):
    embeddings, enrol, test = draw(utterances, trials, seed=seed)
    np.testing.assert_allclose(cosine_scores(embeddings, enrol, test), naive(embeddings, enrol, test), atol=1e-6)


@pytest.mark.parametrize("cells_per_trial", [0, 10**9])
@pytest.mark.parametrize(("block_trials", "block_cells"), [(1, 1), (7, 50), (10**6, 10**9)])
def test_both_ways_and_any_block_give_the_same_scores(monkeypatch, cells_per_trial, block_trials, block_cells):
    monkeypatch.setattr(cosine, "_CELLS_PER_TRIAL", cells_per_trial)
    monkeypatch.setattr(cosine, "_BLOCK_TRIALS", block_trials)
    monkeypatch.setattr(cosine, "_BLOCK_CELLS", block_cells)
    monkeypatch.setattr(cosine, "_BLOCK_VALUES", block_cells)
    embeddings, enrol, test = draw(30, 400)
    np.testing.assert_allclose(cosine_scores(embeddings, enrol, test), naive(embeddings, enrol, test), atol=1e-6)


def test_the_matrix_product_is_taken_only_where_it_is_small_against_the_trials(monkeypatch):
    ways = []
    for name in ("_compare_all", "_compare_each"):
        original = getattr(cosine, name)
        monkeypatch.setattr(cosine, name, lambda *a, _name=name, _way=original: ways.append(_name) or _way(*a))
    cosine_scores(*draw(40, 2000))
    cosine_scores(*draw(2000, 40))
    assert ways == ["_compare_all", "_compare_each"]


def test_double_precision_stays():
    embeddings, enrol, test = draw(10, 50, dtype=np.float64)
    scores = cosine_scores(embeddings, enrol, test)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, naive(embeddings, enrol, test), atol=1e-14)


def test_the_length_of_an_embedding_does_not_matter_even_at_the_ends_of_float32():
    embeddings, enrol, test = draw(6, 30)
    scaled = embeddings * np.array([1e-30, 1e-18, 1, 1e3, 1e25, 1e35], dtype=np.float32)[:, None]
    np.testing.assert_allclose(cosine_scores(scaled, enrol, test), cosine_scores(embeddings, enrol, test), atol=1e-6)


def test_the_input_is_left_alone():
    embeddings, enrol, test = draw(10, 20)
    copies = embeddings.copy(), enrol.copy(), test.copy()
    cosine_scores(embeddings, enrol, test)
    for now, before in zip((embeddings, enrol, test), copies, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize("broken", [0.0, np.nan, np.inf])
def test_rows_without_a_direction_are_named(broken):
    embeddings, enrol, test = draw(9, 10)
    embeddings[[2, 5]] = broken
    keys = [f"utterance-{row}" for row in range(9)]
    with pytest.raises(ValueError, match="utterance-2, utterance-5: zero or non-finite"):
        cosine_scores(embeddings, enrol, test, keys)
    with pytest.raises(ValueError, match="row 2, row 5: zero"):
        unit_length(embeddings)
    embeddings[:] = broken
    with pytest.raises(ValueError, match="utterance-4 and 4 more: zero"):
        cosine_scores(embeddings, enrol, test, keys)


@pytest.mark.parametrize(
    ("enrol", "test", "message"),
    [
        ([0, 1], [0], "as many enrolments as tests"),
        ([[0]], [[0]], "as many enrolments as tests"),
        ([0.5], [1], "row numbers"),
        ([-1], [1], "from 0 to 3, found -1"),
        ([0], [4], "from 0 to 3, found 4"),
        (np.array([], int), np.array([], int), "at least one trial"),
    ],
)
def test_row_numbers_outside_the_matrix_are_refused(enrol, test, message):
    with pytest.raises(ValueError, match=message):
        cosine_scores(np.ones((4, 3), np.float32), enrol, test)


def test_a_single_vector_is_no_matrix():
    with pytest.raises(ValueError, match=r"\(utterances, dimension\)"):
        cosine_scores(np.ones(3), [0], [0])
