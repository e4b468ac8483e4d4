"""Margins on angles, against angles."""

import math

import pytest
import torch

from sslsv_tk.nn.margins import narrow, nearest_sub_centers, widen

ANGLES = torch.linspace(0.05, math.pi - 0.05, 200, dtype=torch.float64)


@pytest.mark.parametrize("margin", [0.0, 0.06, 0.2, 0.5])
def test_a_wider_angle(margin: float) -> None:
    near = ANGLES[ANGLES + margin < math.pi]
    assert torch.allclose(widen(near.cos(), margin), (near + margin).cos(), atol=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.06, 0.2])
def test_a_narrower_angle(margin: float) -> None:
    assert torch.allclose(narrow(ANGLES.cos(), margin), (ANGLES - margin).cos(), atol=1e-9)


def test_beyond_pi_less_the_margin_it_goes_on_falling_in_a_straight_line() -> None:
    far = torch.tensor([-1.0, -0.999, -0.985], dtype=torch.float64)  # cos(pi - 0.2) = -0.980
    assert torch.allclose(widen(far, 0.2), far - 0.2 * math.sin(0.2))
    cosine = ANGLES.cos().flip(0)  # rising
    assert (widen(cosine, 0.2).diff() > 0).all()


@pytest.mark.parametrize("change", [widen, narrow])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_is_finite_at_both_ends(change, dtype) -> None:
    cosine = torch.tensor([1.0, -1.0, 1.0 + 1e-6, -1.0 - 1e-6], dtype=dtype, requires_grad=True)
    value = change(cosine, 0.2)
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(cosine.grad).all()


def test_the_nearest_centre_of_each_class_counts() -> None:
    cosine = torch.tensor([[0.1, 0.3, -0.2, -0.9, 0.5, 0.4]])
    assert nearest_sub_centers(cosine, 2).tolist() == [[pytest.approx(0.3), pytest.approx(-0.2), pytest.approx(0.5)]]
    assert nearest_sub_centers(cosine, 3).tolist() == [[pytest.approx(0.3), pytest.approx(0.5)]]
    assert torch.equal(nearest_sub_centers(cosine, 1), cosine)
