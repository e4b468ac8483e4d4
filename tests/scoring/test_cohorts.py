"""Statistics of the nearest cohort members against a sort of all cosines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.scoring import cohorts
from sslsv_tk.scoring.cohorts import cohort_statistics


def naive(embeddings, cohort, nearest):
    """Mean and deviation of the last of all sorted cosines, one embedding after the other."""
    found = []
    for one in embeddings.astype(np.float64):
        cosines = sorted(
            one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in cohort.astype(np.float64)
        )
        found.append((np.mean(cosines[-nearest:]), np.std(cosines[-nearest:])))
    return np.array(found).T


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 9),
    members=st.integers(1, 60),
    share=st.floats(0, 1),
    block=st.integers(1, 60),
    order=st.sampled_from(["random", "ascending", "descending", "equal"]),
    seed=st.integers(0, 999),
)
def test_equals_a_sort_of_all_whatever_the_blocks_and_the_order(rows, members, share, block, order, seed):
    generator = np.random.default_rng(seed)
    embeddings = generator.standard_normal((rows, 5)).astype(np.float32)
    cohort = generator.standard_normal((members, 5)).astype(np.float32)
    if order == "equal":
        cohort[:] = cohort[0]
    elif order != "random":
        cohort = cohort[np.argsort(cohort @ embeddings[0] / np.linalg.norm(cohort, axis=1))]
        cohort = cohort[::-1] if order == "descending" else cohort
    nearest = max(1, round(share * members))
    blocks = [cohort[first : first + block] for first in range(0, members, block)]
    found = cohort_statistics(embeddings, blocks, nearest)
    np.testing.assert_allclose(found, naive(embeddings, cohort, nearest), atol=2e-6)


@pytest.mark.parametrize(("cells", "columns"), [(1, 1), (50, 7), (10**6, 10**6)])
def test_tiles_do_not_change_the_result(monkeypatch, cells, columns):
    monkeypatch.setattr(cohorts, "_TILE_CELLS", cells)
    monkeypatch.setattr(cohorts, "_TILE_COLUMNS", columns)
    generator = np.random.default_rng(0)
    embeddings, cohort = generator.standard_normal((6, 8)), generator.standard_normal((90, 8))
    np.testing.assert_allclose(cohort_statistics(embeddings, [cohort], 11), naive(embeddings, cohort, 11), atol=2e-6)


def test_a_cohort_that_is_too_small_and_rows_without_a_direction_are_refused():
    embeddings = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"at least 3 rows, found 2\. Use a smaller number"):
        cohort_statistics(embeddings, [embeddings[:2]], 3)
    with pytest.raises(ValueError, match="at least 1 nearest"):
        cohort_statistics(embeddings, [embeddings], 0)
    with pytest.raises(ValueError, match="row 1: zero or non-finite"):
        cohort_statistics(embeddings, [np.array([[1.0, 0, 0], [0, 0, 0]])], 1)
