"""Sinkhorn against the authors' figures, a loop over the matrix, and scores that are hard for exponentials."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslsv_tk.nn.sinkhorn import sinkhorn


def naive(scores: Tensor, iterations: int, epsilon: float) -> list[list[float]]:
    """Columns and rows of exp(scores / epsilon) scaled in turn, cell by cell."""
    q = [[math.exp(float(s) / epsilon) for s in row] for row in scores]
    for _ in range(iterations):
        column = [sum(row[k] for row in q) for k in range(len(q[0]))]
        q = [[cell / column[k] for k, cell in enumerate(row)] for row in q]
        q = [[cell / sum(row) for cell in row] for row in q]
    return q


def scores(rows: int, prototypes: int, spread: float = 1.0) -> Tensor:
    chance = torch.Generator().manual_seed(rows)
    return spread * (2 * torch.rand(rows, prototypes, dtype=torch.float64, generator=chance) - 1)


def test_assignments_are_those_of_the_authors(reference_folder: Path) -> None:
    reference = np.load(reference_folder / "sinkhorn.npz")
    found = sinkhorn(
        torch.from_numpy(reference["scores"]), int(reference["iterations"]), float(reference["epsilon"])
    ).numpy()
    assert np.abs(found - reference["assignments"]).max() <= 1e-5 * reference["assignments"].max()


@pytest.mark.parametrize("epsilon", [0.05, 1.0])
@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (5, 3), (3, 8)])
def test_equals_loops_over_the_matrix(shape: tuple[int, int], iterations: int, epsilon: float) -> None:
    values = scores(*shape)
    expected = torch.tensor(naive(values, iterations, epsilon), dtype=torch.float64)
    assert torch.allclose(sinkhorn(values, iterations, epsilon), expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("epsilon", [1e-3, 0.05])
def test_rows_sum_to_one_where_exponentials_would_vanish(epsilon: float, dtype: torch.dtype) -> None:
    values = scores(6, 9).to(dtype)
    values[0] = -1.0  # far below the largest: exp(-2000) beside exp(0)
    values[:, 1] = -1.0
    found = sinkhorn(values, 3, epsilon)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all() and (found >= 0).all()
    assert torch.allclose(found.sum(1), torch.ones(6), atol=1e-4)


def test_many_iterations_give_every_prototype_its_share() -> None:
    found = sinkhorn(scores(12, 4), 500, 0.2)
    assert torch.allclose(found.sum(0), torch.full((4,), 3.0, dtype=torch.float64), atol=1e-6)


def test_equal_scores_give_equal_shares() -> None:
    assert torch.allclose(sinkhorn(torch.zeros(5, 8), 3, 0.05), torch.full((5, 8), 1 / 8))


def test_rows_that_all_prefer_one_prototype_are_spread_over_all() -> None:
    """The largest score of every row is the first, and yet each row gets a prototype of its own."""
    values = torch.tensor([[1.0, 0.9, 0.0], [1.0, 0.0, 0.9], [1.0, 0.0, 0.0]])
    assert sinkhorn(values, 50, 0.05).argmax(1).tolist() == [1, 2, 0]


def test_a_constant_on_all_scores_changes_nothing() -> None:
    values = scores(5, 6)
    assert torch.allclose(sinkhorn(values, 3, 0.05), sinkhorn(values + 7, 3, 0.05))


def test_assignments_are_constants_and_the_scores_stay_as_they_were() -> None:
    values = scores(4, 4).requires_grad_()
    before = values.detach().clone()
    assert not sinkhorn(values, 3, 0.05).requires_grad
    assert torch.equal(values, before)
