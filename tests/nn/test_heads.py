"""Projectors layer by layer."""

import torch
from torch import nn

from sslsv_tk.nn.heads import mlp, over_views


def kinds(head: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in head]


def test_norm_and_activation_follow_all_but_the_last_layer():
    head = mlp((12, 20, 20, 5))
    assert kinds(head) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [layer.weight.shape for layer in head if isinstance(layer, nn.Linear)] == [(20, 12), (20, 20), (5, 20)]
    assert head[-1].bias is not None
    assert head(torch.randn(3, 12)).shape == (3, 5)


def test_the_projector_of_the_papers_has_so_many_parameters():
    """512 to 2048 to 2048 to 512, each linear layer with a bias, two batch norms with scale and offset."""
    expected = (512 * 2048 + 2048) + (2048 * 2048 + 2048) + (2048 * 512 + 512) + 2 * (2 * 2048)
    assert sum(p.numel() for p in mlp((512, 2048, 2048, 512)).parameters()) == expected


def test_another_activation():
    assert kinds(mlp((4, 5, 6), nn.GELU)) == ["Linear", "BatchNorm1d", "GELU", "Linear"]


def test_a_last_norm_has_no_scale_and_its_layer_no_bias():
    head = mlp((4, 5, 6), last_norm=True)
    assert kinds(head) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert head[-2].bias is None and not head[-1].affine
    rows = head(torch.randn(64, 4))
    assert torch.allclose(rows.mean(0), torch.zeros(6), atol=1e-5)
    assert torch.allclose(rows.var(0, unbiased=False), torch.ones(6), atol=1e-2)


def test_two_widths_are_one_linear_layer():
    assert kinds(mlp((4, 6))) == ["Linear"]


def test_views_pass_a_head_together():
    head, rows_VBX = mlp((4, 5, 6)), torch.randn(2, 3, 4)
    found = over_views(head, rows_VBX)
    assert found.shape == (2, 3, 6)
    assert torch.equal(found.flatten(0, 1), head(rows_VBX.flatten(0, 1)))
    assert not torch.allclose(found[0], head(rows_VBX[0]), atol=1e-3), "they share the statistics of the batch norm"
