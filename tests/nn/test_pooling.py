"""Pooling against loops over frames."""

import math
from collections.abc import Callable

import pytest
import torch

from sslsv_tk.nn.pooling import AttentiveStatisticsPooling, SelfAttentivePooling, StatisticsPooling


def frames(batch: int = 3, channels: int = 5, length: int = 11) -> torch.Tensor:
    return torch.randn(batch, channels, length, generator=torch.Generator().manual_seed(1))


def test_self_attentive_pooling_is_a_weighted_mean_of_the_frames() -> None:
    torch.manual_seed(0)
    pooling, x = SelfAttentivePooling(5).requires_grad_(False), frames()
    found = pooling(x)
    assert found.shape == (3, pooling.output) == (3, 5)
    weight, bias = pooling.projection.weight, pooling.projection.bias
    for row in range(3):
        scores = []
        for frame in x[row].T:
            hidden = [math.tanh(float(weight[c] @ frame + bias[c])) for c in range(5)]
            scores.append(math.exp(sum(h * float(u) for h, u in zip(hidden, pooling.context[:, 0], strict=True))))
        expected = sum(score / sum(scores) * frame for score, frame in zip(scores, x[row].T, strict=True))
        assert torch.allclose(found[row], expected, atol=1e-5)


def test_self_attentive_pooling_of_equal_frames_is_that_frame() -> None:
    x = torch.arange(5.0)[None, :, None].expand(2, 5, 7)
    assert torch.allclose(SelfAttentivePooling(5)(x), torch.arange(5.0).expand(2, 5), atol=1e-6)


def test_statistics_are_mean_and_deviation() -> None:
    x = frames()
    pooling = StatisticsPooling(5)
    found = pooling(x)
    assert found.shape == (3, pooling.output) == (3, 10)
    mean = x.sum(2) / 11
    deviation = (((x - mean[:, :, None]) ** 2).sum(2) / 11 + 1e-5).sqrt()
    assert torch.allclose(found, torch.cat([mean, deviation], 1), atol=1e-5)


def test_statistics_of_a_single_frame_have_a_finite_gradient() -> None:
    x = frames(length=1).requires_grad_()
    StatisticsPooling(5)(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_statistics_are_computed_in_fp32() -> None:
    assert StatisticsPooling(5)(frames().bfloat16()).dtype == torch.float32


def attentive(channels: int = 5) -> AttentiveStatisticsPooling:
    torch.manual_seed(0)
    return AttentiveStatisticsPooling(channels, 4).eval()


@torch.no_grad()
def test_attentive_statistics_weigh_each_channel_by_frame_and_utterance() -> None:
    pooling, x = attentive(), frames()
    pooling.norm.running_mean.uniform_(-1, 1)
    found = pooling(x)
    assert found.shape == (3, pooling.output) == (3, 10)
    for row in range(3):
        mean, deviation = x[row].mean(1), x[row].std(1, unbiased=False)
        scores = []
        for frame in x[row].T:
            seen = torch.cat([frame, mean, deviation])
            hidden = (pooling.hidden.weight[:, :, 0] @ seen + pooling.hidden.bias).clamp(min=0)
            hidden = torch.tanh((hidden - pooling.norm.running_mean) / (1 + 1e-5) ** 0.5)
            scores.append(pooling.score.weight[:, :, 0] @ hidden + pooling.score.bias)
        weight = torch.stack(scores).exp() / torch.stack(scores).exp().sum(0)  # (frames, channels)
        expected_mean = (weight * x[row].T).sum(0)
        expected_deviation = (weight * (x[row].T - expected_mean) ** 2).sum(0).sqrt()
        assert torch.allclose(found[row], torch.cat([expected_mean, expected_deviation]), atol=1e-5)


def test_attentive_statistics_of_equal_frames_have_no_deviation_and_a_finite_gradient() -> None:
    x = torch.arange(5.0)[None, :, None].expand(2, 5, 7).clone().requires_grad_()
    found = attentive()(x)
    assert torch.allclose(found[:, :5], torch.arange(5.0).expand(2, 5), atol=1e-6)
    assert float(found[:, 5:].detach().abs().max()) < 1e-5
    found.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_attentive_statistics_are_computed_in_fp32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert attentive()(frames().bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("kind", [SelfAttentivePooling, StatisticsPooling, attentive])
def test_the_order_of_frames_does_not_matter(kind: Callable[[int], torch.nn.Module]) -> None:
    pooling, x = kind(5), frames()
    assert torch.allclose(pooling(x), pooling(x.flip(2)), atol=1e-6)
