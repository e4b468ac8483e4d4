"""The head of DINO: unit bottleneck, prototypes of which only the direction counts."""

import torch
from torch import nn

from sslsv_tk.nn.dino_head import DINOHead, UnitPrototypes


def rows(count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def test_outputs_are_cosines_with_the_prototypes() -> None:
    prototypes = UnitPrototypes(4, 7)
    z_BP = nn.functional.normalize(rows(3, 4), dim=1)
    found = prototypes(z_BP)
    for i in range(3):
        for k in range(7):
            weight = prototypes.weight[k]
            assert abs((found[i, k] - z_BP[i] @ weight / weight.norm()).item()) < 1e-6


def test_outputs_are_those_of_weight_normalisation_with_gain_one() -> None:
    prototypes, z_BP = UnitPrototypes(4, 7), rows(3, 4)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 7, bias=False))
    with torch.no_grad():
        layer.parametrizations.weight.original0.fill_(1.0)
        layer.parametrizations.weight.original1.copy_(prototypes.weight)
    ours, theirs = prototypes(z_BP), layer(z_BP)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(prototypes.weight.grad, layer.parametrizations.weight.original1.grad)


def test_the_length_of_a_prototype_does_not_matter() -> None:
    prototypes, z_BP = UnitPrototypes(4, 7), rows(3, 4)
    before = prototypes(z_BP)
    with torch.no_grad():
        prototypes.weight.mul_(0.01)
    torch.testing.assert_close(prototypes(z_BP), before)


def test_prototypes_are_one_matrix_that_any_leading_shape_may_meet() -> None:
    prototypes = UnitPrototypes(4, 7)
    assert {name: tuple(p.shape) for name, p in prototypes.named_parameters()} == {"weight": (7, 4)}
    z = rows(6, 4)
    torch.testing.assert_close(prototypes(z.view(2, 3, 4)), prototypes(z).view(2, 3, 7))


def test_prototypes_stay_in_full_precision_within_autocast() -> None:
    prototypes, z_BP = UnitPrototypes(64, 7), nn.functional.normalize(rows(5, 64), dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = prototypes(z_BP)
    assert inside.dtype == torch.float32 and torch.equal(inside, prototypes(z_BP))


def test_the_head_ends_at_unit_rows_in_single_precision() -> None:
    head = DINOHead(6, 16, 5, 9)
    with torch.autocast("cpu", torch.bfloat16):
        z_BP = head(rows(8, 6))
    assert z_BP.shape == (8, 5) and z_BP.dtype == torch.float32
    torch.testing.assert_close(z_BP.norm(dim=1), torch.ones(8))


def test_the_layers_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        head = DINOHead(512, 2048, 256, 65_536)
    names = [type(layer).__name__ for layer in head.projector]
    assert names == ["Linear", "BatchNorm1d", "GELU", "Linear", "BatchNorm1d", "GELU", "Linear"]
    projector = 512 * 2048 + 2048 + 2 * 2048 + 2048 * 2048 + 2048 + 2 * 2048 + 2048 * 256 + 256
    assert sum(p.numel() for p in head.parameters()) == projector + 65_536 * 256


def test_weights_begin_small_and_biases_at_nothing() -> None:
    head = DINOHead(64, 128, 32, 9)
    linear = [layer for layer in head.projector if isinstance(layer, nn.Linear)]
    assert all(0.018 < layer.weight.std().item() < 0.022 for layer in linear)
    assert all(not layer.bias.any() for layer in linear)
