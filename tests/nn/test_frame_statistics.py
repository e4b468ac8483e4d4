"""Means and deviations block by block, against the formula and torch's derivatives of it."""

import pytest
import torch
from torch import Tensor

from sslsv_tk.nn import frame_statistics
from sslsv_tk.nn.frame_statistics import LEAST_VARIANCE, weighted_statistics


def plain(frames_BCL: Tensor, weight_BCL: Tensor | None) -> tuple[Tensor, Tensor]:
    weight = 1 / frames_BCL.shape[-1] if weight_BCL is None else weight_BCL
    mean_BC = (frames_BCL * weight).sum(-1)
    variance_BC = ((frames_BCL - mean_BC[:, :, None]) ** 2 * weight).sum(-1)
    return mean_BC, variance_BC.clamp(min=LEAST_VARIANCE).sqrt()


@pytest.fixture(params=[4, 2**17], ids=["one row to a block", "one block"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_statistics, "_CACHED", request.param)


@pytest.mark.parametrize("weighted", [True, False])
def test_values_and_gradients_are_those_of_the_formula(block: None, weighted: bool) -> None:
    torch.manual_seed(0)
    frames = (5 + torch.randn(3, 7, 11, dtype=torch.float64)).requires_grad_()
    score = torch.randn(3, 7, 11, dtype=torch.float64, requires_grad=True)
    weight = torch.softmax(score, -1) if weighted else None
    wanted = [frames, score] if weighted else [frames]
    slopes = torch.randn(2, 3, 7, dtype=torch.float64)

    def outcome(function) -> list[Tensor]:
        mean, deviation = function(frames, weight)
        loss = (mean * slopes[0]).sum() + (deviation * slopes[1]).sum()
        return [mean, deviation, *torch.autograd.grad(loss, wanted, retain_graph=True)]

    for found, expected in zip(outcome(weighted_statistics), outcome(plain), strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_half_precision_is_widened_before_anything_is_computed(block: None) -> None:
    frames = (100 + torch.randn(2, 3, 50)).bfloat16().requires_grad_()
    mean, deviation = weighted_statistics(frames, None)
    expected = plain(frames.detach().double(), None)
    assert mean.dtype == deviation.dtype == torch.float32
    assert torch.allclose(mean.double(), expected[0], rtol=1e-6)
    assert torch.allclose(deviation.double(), expected[1], rtol=1e-5)
    (mean.sum() + deviation.sum()).backward()
    assert frames.grad is not None and frames.grad.dtype == torch.bfloat16 and bool(frames.grad.isfinite().all())


def test_frames_that_are_all_alike_have_the_least_deviation_and_its_gradient_is_nothing(block: None) -> None:
    frames = torch.full((2, 3, 9), 0.3, requires_grad=True)
    mean, deviation = weighted_statistics(frames, None)
    assert torch.allclose(mean, torch.tensor(0.3)) and bool((deviation <= 2e-6).all())
    (slope,) = torch.autograd.grad(deviation.sum(), frames)
    assert not slope.any()
