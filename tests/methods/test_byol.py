"""BYOL: its loss against a loop, its target network, and partners' cuts as targets."""

import copy
import math

import pytest
import torch
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.byol import BYOL, BYOLConfig, byol_loss
from sslsv_tk.nn.whitening import batch_whitened
from sslsv_tk.schedules import Progress

SMALL = FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=12)


def small_method(**settings: float) -> BYOL:
    torch.manual_seed(0)
    return BYOL(FastResNet34(SMALL), BYOLConfig(**{"hidden": 16, "output": 10, **settings}))


def batch(rows: int = 4, views: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, 40, 51, generator=generator) for _ in range(views)]


def trained(method: BYOL) -> list[torch.nn.Parameter]:
    return [parameter for parameter in method.parameters() if parameter.requires_grad]


def step(method: BYOL, views: list[Tensor], optimiser: torch.optim.Optimizer, epochs: float = 0.0) -> float:
    progress = Progress(epochs, 10)
    method.before_step(progress)
    loss = method.loss(Pairs(*method.project(views)))
    optimiser.zero_grad()
    loss.backward()
    method.after_backward(progress)
    optimiser.step()
    method.after_step(progress)
    return loss.item()


def naive(predictions: Tensor, targets: Tensor) -> float:
    """Equation (2): squared distance of unit rows, mean over the batch; the sum of both directions."""
    total = 0.0
    for p, z in zip(predictions.flatten(0, 1).tolist(), targets.flatten(0, 1).tolist(), strict=True):
        p_length, z_length = math.sqrt(sum(a * a for a in p)), math.sqrt(sum(a * a for a in z))
        total += sum((a / p_length - b / z_length) ** 2 for a, b in zip(p, z, strict=True))
    return total / predictions.shape[1]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_loss_is_that_of_a_loop_over_the_equation(rows: int) -> None:
    z = torch.randn(2, 2, rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    assert byol_loss(z[0], z[1]).item() == pytest.approx(naive(z[0], z[1]), abs=1e-12)


def test_closed_forms() -> None:
    z = torch.eye(4).expand(2, 4, 4)
    assert byol_loss(z, 3 * z).item() == pytest.approx(0, abs=1e-6)
    assert byol_loss(z, z.roll(1, 1)).item() == pytest.approx(4)
    assert byol_loss(z, -z).item() == pytest.approx(8)


def test_the_target_of_a_view_is_what_the_target_network_makes_of_the_other() -> None:
    method = small_method()
    with torch.no_grad():
        for parameter in method.target_projector.parameters():
            parameter.add_(0.3)
    views = batch()
    anchors, positives = method.project(views)
    assert anchors.shape == positives.shape == (2, 4, 10) and method.slots == 2
    assert anchors.requires_grad and not positives.requires_grad
    z = method.target_projector(method.target_encoder(torch.cat(views)))
    torch.testing.assert_close(positives, torch.stack([z[4:], z[:4]]), rtol=1e-4, atol=1e-5)
    p = method.predictor(method.projector(method.encoder(torch.cat(views))))
    torch.testing.assert_close(anchors, torch.stack([p[:4], p[4:]]), rtol=1e-4, atol=1e-5)


def test_partners_cuts_are_the_targets_where_there_are_any() -> None:
    method = small_method()
    views = batch(4, views=4)
    own_anchors, own_positives = method.project(views[:2])
    anchors, positives = method.project(views)
    torch.testing.assert_close(anchors, own_anchors)
    assert not torch.allclose(positives, own_positives)
    z = method.target_projector(method.target_encoder(torch.cat(views[2:])))
    torch.testing.assert_close(positives, torch.stack([z[4:], z[:4]]), rtol=1e-4, atol=1e-5)


def test_gradient_flows_into_encoder_projector_and_predictor_and_not_into_the_target() -> None:
    method = small_method()
    method.loss(Pairs(*method.project(batch()))).backward()
    reached = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert reached == {"encoder", "projector", "predictor"}
    assert not any(p.requires_grad for name, p in method.named_parameters() if name.startswith("target_"))


@pytest.mark.parametrize(
    ("epochs", "momentum"), [(0.0, 0.99), (5.0, 0.995), (10.0, 1.0), (12.0, 1.0), (2.5, 1 - 0.01 * 0.8535534)]
)
def test_the_momentum_rises_along_a_cosine_to_one_at_the_end_of_the_span(epochs: float, momentum: float) -> None:
    assert small_method().target_momentum(Progress(epochs, 10)) == pytest.approx(momentum, abs=1e-9)
    assert BYOL.follows_span


def test_the_target_follows_by_the_momentum_of_the_step() -> None:
    method = small_method(momentum=0.6)
    before = copy.deepcopy(method.state_dict())
    step(method, batch(), torch.optim.SGD(trained(method), 0.5), epochs=5.0)
    for target, online in (("target_encoder", method.encoder), ("target_projector", method.projector)):
        for name, parameter in online.named_parameters():
            expected = 0.8 * before[f"{target}.{name}"] + 0.2 * parameter
            torch.testing.assert_close(method.get_parameter(f"{target}.{name}"), expected.detach())


def test_at_the_end_of_the_span_the_target_stands_still() -> None:
    method = small_method()
    before = copy.deepcopy(dict(method.target_encoder.named_parameters()))
    step(method, batch(), torch.optim.SGD(trained(method), 0.5), epochs=10.0)
    assert all(torch.equal(p, before[name]) for name, p in method.target_encoder.named_parameters())


def test_the_target_has_batch_statistics_of_its_own_passes() -> None:
    method = small_method()
    views = batch()
    before = method.target_encoder.norm.running_mean.clone()
    method.loss(Pairs(*method.project(views)))
    own = method.target_encoder.norm.running_mean.clone()
    assert not torch.equal(own, before)
    method.after_step(Progress(0, 10))
    assert torch.equal(method.target_encoder.norm.running_mean, own)


def test_the_trained_encoder_is_scored_and_epoch_files_do_without_the_target() -> None:
    method = small_method()
    assert method.scoring_encoder() is method.encoder
    weights = method.weights()
    assert not any(name.startswith("target_") for name in weights)
    other = small_method()
    step(other, batch(), torch.optim.SGD(trained(other), 0.5))
    other.load_weights(weights)
    x = batch()[0]
    torch.testing.assert_close(other.embed_reference(x), method.embed_reference(x))


def test_both_segments_serve_both_sides() -> None:
    assert [(s.seconds, s.side) for s in small_method().segments] == [(2.0, "both"), (2.0, "both")]


def test_the_measures_are_the_spreads_of_embeddings_and_projections() -> None:
    method = small_method()
    method.loss(Pairs(*method.project(batch())))
    found = method.measures()
    assert found.keys() == {"projection_deviation", "projection_rank", "embedding_deviation", "effective_rank"}
    assert not any(number.requires_grad for number in found.values())


def test_steps_change_all_parts_and_lower_the_loss() -> None:
    method = small_method()
    before = copy.deepcopy(dict(method.named_parameters()))
    optimiser = torch.optim.Adam(trained(method), 1e-2)
    losses = [step(method, batch(6), optimiser) for _ in range(8)]
    moved = {name.split(".")[0] for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"encoder", "projector", "predictor", "target_encoder", "target_projector"}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("settings", [{"momentum": 1.1}, {"momentum": -0.1}, {"hidden": 0}, {"output": 0}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="of byol must be"):
        small_method(**settings)


def test_a_batch_norm_at_the_projectors_end_takes_away_what_all_projections_share() -> None:
    method = small_method(output_norm=True)
    views = batch(rows=8)
    method.encoder.forward = lambda frames: 5 + 0.01 * torch.randn(len(frames), method.encoder.dimension)  # type: ignore[method-assign]
    method.target_encoder.forward = method.encoder.forward  # type: ignore[method-assign]
    _, targets_SBP = method.project(views)
    assert targets_SBP.mean((0, 1)).abs().max() < 1e-5
    plain = small_method()
    plain.target_encoder.forward = method.encoder.forward  # type: ignore[method-assign]
    assert plain.project(views)[1].mean((0, 1)).abs().max() > 1e-3


def test_whitened_targets_have_no_correlations() -> None:
    method = small_method(whitened_targets=True, output=4)
    views = batch(rows=24)
    anchors, positives = method.project(views)
    assert anchors.requires_grad and not positives.requires_grad
    flat = positives.flatten(0, 1)
    covariance = flat.T @ flat / len(flat)
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 0.05 < 0.8 < covariance.diagonal().min()
    plain = small_method(output=4).project(views)[1]
    torch.testing.assert_close(
        positives, batch_whitened(plain.flatten(0, 1)).unflatten(0, (2, 24)), rtol=1e-3, atol=1e-4
    )


def test_whitened_targets_of_partners() -> None:
    method = small_method(whitened_targets=True)
    views = batch(6, views=4)
    z = method.target_projector(method.target_encoder(torch.cat(views[2:])))
    expected = batch_whitened(z).unflatten(0, (2, 6)).flip(0)
    torch.testing.assert_close(method.project(views)[1], expected, rtol=1e-3, atol=1e-4)
