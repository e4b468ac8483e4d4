"""The layer of one frame against torch's own convolution: in half precision on a CPU, and everywhere else."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d

from sslsv_tk.nn.pointwise import is_in_half_on_cpu, pointwise


def drawn(kind: torch.dtype = torch.float32, rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = ((rows, 24, 17), (16, 24, 1), (16,))
    x, weight, bias = (torch.randn(shape, dtype=kind).requires_grad_() for shape in shapes)
    return x, weight, bias


def passed(layer, x, weight, bias, half: bool) -> list[Tensor]:
    """Output and gradients, in single precision."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y = layer(x, weight, bias)
    slope = torch.linspace(-1, 1, y.numel()).view_as(y)
    wanted = [one for one in (x, weight, bias) if one is not None]
    return [y, *torch.autograd.grad((y.float() * slope).sum(), wanted)]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_in_half_precision_it_is_the_convolution(kind, with_bias, rows):
    x, weight, bias = drawn(rows=rows)
    x = x.detach().to(kind).requires_grad_()
    exact = passed(conv1d, x.detach().double().requires_grad_(), weight.double(), bias.double(), half=False)
    found = passed(pointwise, x, weight, bias if with_bias else None, half=True)
    theirs = passed(conv1d, x, weight, bias if with_bias else None, half=True)
    assert [one.dtype for one in found] == [one.dtype for one in theirs]
    for ours, other in zip(found, theirs, strict=True):
        largest = float(other.detach().abs().max())
        assert float((ours.double() - other.double()).abs().max()) <= 0.02 * largest
    if with_bias:  # as near to the exact values as theirs is, up to a last digit of bfloat16
        for ours, other, right in zip(found, theirs, exact, strict=True):
            own, their = ((one.double() - right).norm() / right.norm() for one in (ours, other))
            assert own <= 1.5 * their + 2**-9


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_in_full_precision_it_is_torchs_own(kind):
    x, weight, bias = drawn(kind)
    found, expected = (passed(layer, x, weight, bias, half=False) for layer in (pointwise, conv1d))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_what_needs_no_gradient_gets_none():
    x, weight, bias = drawn()
    weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        y = pointwise(x.detach(), weight, bias)
    y.sum().backward()
    assert weight.grad is None and x.grad is None and torch.equal(bias.grad, torch.full((16,), 3.0 * 17))


def test_only_bfloat16_on_a_cpu_takes_the_other_way():
    x = torch.zeros(1)
    assert not is_in_half_on_cpu(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert is_in_half_on_cpu(x) and not is_in_half_on_cpu(x.to("meta"))
    with torch.autocast("cpu", torch.float16):
        assert not is_in_half_on_cpu(x)
