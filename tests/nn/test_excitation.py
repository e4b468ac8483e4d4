"""Squeeze and excitation against a loop over channels."""

import pytest
import torch

from sslsv_tk.nn.excitation import SqueezeExcitation


@pytest.mark.parametrize("shape", [(2, 8, 3, 5), (2, 8, 15)], ids=["bands and frames", "frames"])
@torch.no_grad()
def test_each_channel_is_scaled_by_its_gate(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = SqueezeExcitation(8, 2), torch.randn(shape)
    means = x.reshape(2, 8, 15).sum(2) / 15
    hidden = (means @ layer.gate[0].weight.T + layer.gate[0].bias).clamp(min=0)
    assert hidden.shape == (2, 2)
    gates = 1 / (1 + (-(hidden @ layer.gate[2].weight.T + layer.gate[2].bias)).exp())
    expected = torch.stack([x[b, c] * gates[b, c] for b in range(2) for c in range(8)]).view_as(x)
    assert torch.allclose(layer(x), expected, atol=1e-6)
