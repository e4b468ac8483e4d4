"""Barlow Twins: its loss against loops over the equations and closed forms."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.barlow_twins import BarlowTwins, BarlowTwinsConfig, barlow_twins_loss, cross_correlation
from sslsv_tk.methods.base import Pairs

SMALL = FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=12)


def small_method(**settings: float) -> BarlowTwins:
    torch.manual_seed(0)
    return BarlowTwins(FastResNet34(SMALL), BarlowTwinsConfig(**{"hidden": 16, "output": 10, **settings}))


def batch(rows: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, 40, 51, generator=generator) for _ in range(2)]


def pair(rows: int, width: int) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    return z[0], 0.5 * z[0] + 3 * z[1] + 7


def naive(z1: Tensor, z2: Tensor, redundancy: float) -> float:
    """Equations (1) and (2), value by value, with NumPy's coefficient of correlation."""
    total = 0.0
    for i in range(z1.shape[1]):
        for j in range(z2.shape[1]):
            c = float(np.corrcoef(z1[:, i].numpy(), z2[:, j].numpy())[0, 1])
            total += (1 - c) ** 2 if i == j else redundancy * c * c
    return total


def step(method: BarlowTwins, views: list[Tensor], optimiser: torch.optim.Optimizer) -> float:
    loss = method.loss(Pairs(*method.project(views)))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


@pytest.mark.parametrize("redundancy", [0.005, 0.0, 1.0])
@pytest.mark.parametrize(("rows", "width"), [(2, 3), (6, 4), (5, 1)])
def test_the_loss_is_that_of_loops_over_the_equations(rows: int, width: int, redundancy: float) -> None:
    z1, z2 = pair(rows, width)
    assert barlow_twins_loss(z1, z2, redundancy).item() == pytest.approx(naive(z1, z2, redundancy), abs=2e-3)


def test_scale_and_offset_of_a_value_do_not_matter() -> None:
    z1, z2 = pair(6, 4)
    torch.testing.assert_close(cross_correlation(z1, z2), cross_correlation(9 * z1 - 4, z2 + 1), rtol=1e-4, atol=1e-5)


def test_equal_views_of_independent_values_cost_nothing() -> None:
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert barlow_twins_loss(z, z, 0.005).item() == pytest.approx(0, abs=1e-8)


def test_constant_projections_cost_one_per_value_and_a_gradient_is_a_number() -> None:
    z = torch.ones(6, 4, requires_grad=True)
    loss = barlow_twins_loss(z, z, 0.005)
    loss.backward()
    assert loss.item() == 4
    assert z.grad is not None and torch.isfinite(z.grad).all()


def test_one_value_in_all_places_costs_the_redundancy_of_every_pair() -> None:
    z = torch.randn(20, 1, generator=torch.Generator().manual_seed(0)).expand(20, 5)
    assert barlow_twins_loss(z, z, 0.01).item() == pytest.approx(0.01 * 5 * 4, rel=1e-4)


def test_the_method_s_loss_is_the_function_s_and_its_measures_are_means() -> None:
    method = small_method(redundancy=0.02)
    anchors, positives = method.project(batch(6))
    loss = method.loss(Pairs(anchors, positives))
    assert loss.item() == pytest.approx(barlow_twins_loss(anchors[0], positives[0], 0.02).item(), rel=1e-6)
    found = method.measures()
    assert {"embedding_deviation", "effective_rank", "projection_deviation", "projection_rank"} < found.keys()
    assert not any(number.requires_grad for number in found.values())
    summed = 10 * found["invariance"] + 0.02 * 90 * found["redundancy"]
    assert loss.item() == pytest.approx(summed.item(), rel=1e-5)


def test_steps_change_encoder_and_projector_and_lower_the_loss() -> None:
    method = small_method()
    before = copy.deepcopy(dict(method.named_parameters()))
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    losses = [step(method, batch(6), optimiser) for _ in range(6)]
    moved = {name.split(".")[0] for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"encoder", "projector"}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("settings", [{"redundancy": -1.0}, {"hidden": 0}, {"output": 0}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="of barlow_twins must"):
        small_method(**settings)
