"""VICReg: its loss against the authors' figures and against loops over the equations."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.vicreg import VICReg, VICRegConfig, covariance_term, term_measures, variance_term, vicreg_loss
from sslsv_tk.schedules import Progress

SMALL = FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=12)


def small_method(**settings: float) -> VICReg:
    torch.manual_seed(0)
    return VICReg(FastResNet34(SMALL), VICRegConfig(**{"hidden": 16, "output": 10, **settings}))


def batch(rows: int = 4, views: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, 40, 51, generator=generator) for _ in range(views)]


def pair(rows: int = 5, width: int = 3) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    return z[0], z[1]


def naive(z1: Tensor, z2: Tensor, invariance: float, variance: float, covariance: float) -> float:
    """Equations (1) to (6) of the paper, number by number; the distance is per value."""
    rows, width = z1.shape
    total = 0.0
    for i in range(rows):
        total += invariance * sum(float(z1[i, j] - z2[i, j]) ** 2 for j in range(width)) / (rows * width)
    for z in (z1, z2):
        means = [sum(float(z[i, j]) for i in range(rows)) / rows for j in range(width)]
        for j in range(width):
            for k in range(width):
                products = [(float(z[i, j]) - means[j]) * (float(z[i, k]) - means[k]) for i in range(rows)]
                c = sum(products) / (rows - 1)
                total += variance * max(0.0, 1 - math.sqrt(c + 1e-4)) / width if j == k else covariance * c * c / width
    return total


def step(method: VICReg, views: list[Tensor], optimiser: torch.optim.Optimizer) -> float:
    progress = Progress(0.5, 10)
    method.before_step(progress)
    loss = method.loss(Pairs(*method.project(views)))
    optimiser.zero_grad()
    loss.backward()
    method.after_backward(progress)
    optimiser.step()
    method.after_step(progress)
    return loss.item()


def test_the_loss_is_that_of_the_authors(reference_folder: Path) -> None:
    reference = np.load(reference_folder / "loss_vicreg.npz")
    z1, z2 = (torch.from_numpy(reference[name]) for name in ("z1", "z2"))
    weights = [float(reference[name]) for name in ("inv", "var", "cov")]
    assert vicreg_loss(z1, z2, *weights).item() == pytest.approx(float(reference["loss"]), rel=1e-5)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 0.1), (25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.5, 2.0, 0.04)])
@pytest.mark.parametrize(("rows", "width"), [(2, 3), (5, 3), (4, 1), (3, 7)])
def test_the_loss_is_that_of_loops_over_the_equations(
    rows: int, width: int, weights: tuple[float, float, float]
) -> None:
    z1, z2 = pair(rows, width)
    assert vicreg_loss(z1, z2, *weights).item() == pytest.approx(naive(z1, z2, *weights), rel=1e-9)


def test_constant_projections_cost_nearly_the_whole_hinge_and_a_gradient_is_a_number() -> None:
    z = torch.ones(6, 4, requires_grad=True)
    loss = vicreg_loss(z, z, 1.0, 1.0, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(2 * (1 - 0.01), rel=1e-5)
    assert z.grad is not None and torch.isfinite(z.grad).all()


def test_independent_values_of_unit_deviation_cost_nothing() -> None:
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert vicreg_loss(z, z, 1.0, 1.0, 0.1).item() == 0


def test_a_value_that_repeats_another_costs_covariance_but_not_variance() -> None:
    z = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)) * 3
    twice = z.expand(50, 2)
    assert variance_term(twice).item() == 0
    assert covariance_term(twice).item() == pytest.approx(z.var().item() ** 2, rel=1e-5)


def test_the_projector_of_the_papers_is_the_default() -> None:
    method = VICReg(FastResNet34(FastResNet34Config()), VICRegConfig())
    shapes = [tuple(p.shape) for p in method.projector.parameters() if p.ndim == 2]
    assert shapes == [(2048, 512), (2048, 2048), (512, 2048)]


def test_the_loss_leaves_its_terms_for_the_log() -> None:
    method = small_method(invariance=2.0, variance=3.0, covariance=0.5)
    anchors, positives = method.project(batch())
    loss = method.loss(Pairs(anchors, positives))
    found = method.measures()
    for name, expected in term_measures(anchors[0], positives[0]).items():
        torch.testing.assert_close(found[name], expected.detach())
    assert {"embedding_deviation", "effective_rank", "projection_deviation", "projection_rank"} < found.keys()
    assert not any(number.requires_grad for number in found.values())
    weighted = 2 * found["invariance"] + 3 * found["variance"] + 0.5 * found["covariance"]
    assert loss.item() == pytest.approx(weighted.item(), rel=1e-5)


def test_constant_positives_get_no_gradient_and_the_anchors_do() -> None:
    z1, z2 = pair(5, 10)
    small_method().loss(Pairs(z1.requires_grad_()[None], z2[None])).backward()
    assert z1.grad is not None and z1.grad.abs().sum() > 0 and z2.grad is None


def test_two_steps_change_encoder_and_projector_and_lower_the_loss() -> None:
    method = small_method()
    before = copy.deepcopy(dict(method.named_parameters()))
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    losses = [step(method, batch(6), optimiser) for _ in range(6)]
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert {name.split(".")[0] for name in moved} == {"encoder", "projector"}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "settings", [{"invariance": 0.0}, {"variance": -1.0}, {"covariance": -0.1}, {"hidden": 0}, {"output": 0}]
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"of vicreg must be|vicreg needs"):
        small_method(**settings)
