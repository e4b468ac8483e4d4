"""SimSiam: its loss against a loop, its stop of the gradient, and partners' cuts as targets."""

import copy
import math

import pytest
import torch
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Pairs, spread_measures
from sslsv_tk.methods.simsiam import SimSiam, SimSiamConfig, simsiam_loss
from sslsv_tk.nn.whitening import batch_whitened

SMALL = FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=12)


def small_method(**settings: float) -> SimSiam:
    torch.manual_seed(0)
    return SimSiam(FastResNet34(SMALL), SimSiamConfig(**{"hidden": 16, "output": 10, "bottleneck": 4, **settings}))


def batch(rows: int = 4, views: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, 40, 51, generator=generator) for _ in range(views)]


def step(method: SimSiam, views: list[Tensor], optimiser: torch.optim.Optimizer) -> float:
    loss = method.loss(Pairs(*method.project(views)))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def naive(predictions: Tensor, targets: Tensor) -> float:
    """Equations (1) and (2): half of either direction, mean over the batch."""
    total = 0.0
    for p, z in zip(predictions.flatten(0, 1).tolist(), targets.flatten(0, 1).tolist(), strict=True):
        dot = sum(a * b for a, b in zip(p, z, strict=True))
        total -= dot / math.sqrt(sum(a * a for a in p) * sum(b * b for b in z)) / 2
    return total / predictions.shape[1]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_loss_is_that_of_a_loop_over_the_equation(rows: int) -> None:
    z = torch.randn(2, 2, rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    assert simsiam_loss(z[0], z[1]).item() == pytest.approx(naive(z[0], z[1]), abs=1e-12)


def test_closed_forms() -> None:
    z = torch.eye(4).expand(2, 4, 4)
    assert simsiam_loss(z, 3 * z).item() == pytest.approx(-1)
    assert simsiam_loss(z, -z).item() == pytest.approx(1)
    assert simsiam_loss(z, z.roll(1, 1)).item() == pytest.approx(0, abs=1e-7)
    assert simsiam_loss(torch.zeros(2, 4, 4), z).item() == 0  # a prediction of nothing is no division by zero


def test_no_gradient_reaches_the_targets() -> None:
    z = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    predictions, targets = z[0].clone().requires_grad_(), z[1].clone().requires_grad_()
    simsiam_loss(predictions, targets).backward()
    assert predictions.grad is not None and predictions.grad.abs().sum() > 0 and targets.grad is None


def test_the_target_of_a_view_is_the_projection_of_the_other() -> None:
    method = small_method()
    views = batch()
    anchors, positives = method.project(views)
    assert anchors.shape == positives.shape == (2, 4, 10) and method.slots == 2
    assert anchors.requires_grad and not positives.requires_grad
    z = method.projector(method.encoder(torch.cat(views)))
    torch.testing.assert_close(positives, torch.stack([z[4:], z[:4]]), rtol=1e-4, atol=1e-5)
    expected = method.predictor(z)
    torch.testing.assert_close(anchors, torch.stack([expected[:4], expected[4:]]), rtol=1e-4, atol=1e-5)


def test_partners_cuts_are_the_targets_where_there_are_any() -> None:
    method = small_method()
    views = batch(4, views=4)
    own_anchors, own_positives = method.project(views[:2])
    anchors, positives = method.project(views)
    torch.testing.assert_close(anchors, own_anchors)
    assert not torch.allclose(positives, own_positives)
    z = method.projector(method.encoder(torch.cat(views[2:])))
    torch.testing.assert_close(positives, torch.stack([z[4:], z[:4]]), rtol=1e-4, atol=1e-5)
    assert not positives.requires_grad


def test_replaced_rows_of_a_slot_change_that_direction_alone() -> None:
    method = small_method()
    anchors, positives = method.project(batch())
    replaced = positives.clone()
    replaced[1, 2] = torch.randn(10, generator=torch.Generator().manual_seed(9))
    cosine = torch.nn.functional.cosine_similarity
    change = cosine(anchors[1, 2], positives[1, 2], dim=0) - cosine(anchors[1, 2], replaced[1, 2], dim=0)
    found = method.loss(Pairs(anchors, replaced)) - method.loss(Pairs(anchors, positives))
    assert found.item() == pytest.approx(change.item() / 8, abs=1e-6)


def test_both_segments_serve_both_sides() -> None:
    assert [(s.seconds, s.side) for s in small_method().segments] == [(2.0, "both"), (2.0, "both")]


def test_the_projector_ends_with_a_norm_without_scale_and_the_predictor_without_norm() -> None:
    method = small_method()
    last = list(method.projector)[-1]
    assert isinstance(last, torch.nn.BatchNorm1d) and not last.affine
    assert [layer.out_features for layer in method.predictor if isinstance(layer, torch.nn.Linear)] == [4, 10]
    assert isinstance(list(method.predictor)[-1], torch.nn.Linear)


def test_the_measures_are_the_spreads_of_embeddings_and_projections() -> None:
    method = small_method()
    anchors, positives = method.project(batch())
    method.loss(Pairs(anchors, positives))
    found = method.measures()
    assert found.keys() == {"projection_deviation", "projection_rank", "embedding_deviation", "effective_rank"}
    expected = spread_measures(positives.flatten(0, 1))
    torch.testing.assert_close(found["projection_deviation"], expected["embedding_deviation"])
    torch.testing.assert_close(found["projection_rank"], expected["effective_rank"])
    assert not any(number.requires_grad for number in found.values())


def test_steps_change_encoder_and_heads_and_lower_the_loss() -> None:
    method = small_method()
    before = copy.deepcopy(dict(method.named_parameters()))
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    losses = [step(method, batch(6), optimiser) for _ in range(6)]
    moved = {name.split(".")[0] for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"encoder", "projector", "predictor"}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["hidden", "output", "bottleneck"])
def test_impossible_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="of simsiam must be at least 1"):
        small_method(**{name: 0})


@pytest.mark.parametrize("partners", [False, True])
def test_whitened_targets_have_no_correlations_and_predictions_are_what_they_were(partners: bool) -> None:
    method = small_method(whitened_targets=True, output=4)
    views = batch(rows=24, views=4 if partners else 2)
    anchors, positives = method.project(views)
    assert anchors.requires_grad and not positives.requires_grad
    plain_anchors, plain = small_method(output=4).project(views)
    torch.testing.assert_close(anchors, plain_anchors)
    torch.testing.assert_close(
        positives, batch_whitened(plain.flatten(0, 1)).unflatten(0, (2, 24)), rtol=1e-3, atol=1e-4
    )
    flat = positives.flatten(0, 1)
    covariance = flat.T @ flat / len(flat)
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 0.05 < 0.8 < covariance.diagonal().min()
