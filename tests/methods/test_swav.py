"""SwAV: its loss against the authors' figures and a loop, prototypes, queues, and what moves when."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrast_steps import adam, changed, copied, small, train_step, views
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.swav import SwAV, SwAVConfig, assignment_measures, swapped_prediction_loss
from sslsv_tk.nn.heads import Views
from sslsv_tk.nn.sinkhorn import sinkhorn
from sslsv_tk.schedules import Progress

WIDTH, PROTOTYPES = 6, 9


def make(seed: int = 0, **settings: Any) -> SwAV:
    few = {"hidden": (8,), "projection": WIDTH, "prototypes": PROTOTYPES, "queue_size": 6, "queue_epoch": 2.0}
    method = small(SwAV, SwAVConfig(**{**few, **settings}), seed=seed)
    assert isinstance(method, SwAV)
    return method


def scores(seed: int, rows: int = 4) -> Tensor:
    return 2 * torch.rand(rows, PROTOTYPES, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1


def naive(scores_1: Tensor, scores_2: Tensor, q_1: Tensor, q_2: Tensor, temperature: float) -> float:
    """Equations (1) and (2) of Caron et al., prototype by prototype; the mean of both directions."""
    total = 0.0
    for predicted, assigned in ((scores_1, q_2), (scores_2, q_1)):
        for row, target in zip(predicted.tolist(), assigned.tolist(), strict=True):
            below = sum(math.exp(score / temperature) for score in row)
            total -= sum(q * math.log(math.exp(s / temperature) / below) for s, q in zip(row, target, strict=True))
    return total / (2 * len(scores_1))


def test_the_loss_is_that_of_the_authors(reference_folder: Path) -> None:
    reference = np.load(reference_folder / "loss_swav.npz")
    names = ("scores_1", "scores_2", "assignments_1", "assignments_2")
    loss = swapped_prediction_loss(*(torch.from_numpy(reference[n]) for n in names), float(reference["temperature"]))
    assert loss.item() == pytest.approx(float(reference["loss"]), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("rows", [1, 4])
def test_the_loss_is_that_of_loops_over_the_equation(rows: int, temperature: float) -> None:
    s1, s2 = scores(1, rows), scores(2, rows)
    q1, q2 = sinkhorn(s1, 3, 0.5), sinkhorn(s2, 3, 0.5)
    found = swapped_prediction_loss(s1, s2, q1, q2, temperature)
    assert found.item() == pytest.approx(naive(s1, s2, q1, q2, temperature), abs=1e-9)


def test_the_loss_is_at_least_the_entropy_of_the_assignments() -> None:
    q = torch.softmax(scores(1) / 0.1, 1)
    entropy = float(assignment_measures(q)["assignment_entropy"])
    assert swapped_prediction_loss(scores(1), scores(1), q, q, 0.1).item() == pytest.approx(entropy, abs=1e-9)
    assert swapped_prediction_loss(scores(2), scores(2), q, q, 0.1).item() > entropy + 0.1


def test_equal_scores_give_the_logarithm_of_the_prototypes() -> None:
    q = torch.full((3, 8), 1 / 8)
    assert swapped_prediction_loss(torch.ones(3, 8), torch.ones(3, 8), q, q, 0.1).item() == pytest.approx(math.log(8))


def test_the_measures_of_assignments_at_their_ends() -> None:
    sharp = assignment_measures(torch.eye(4))
    assert float(sharp["assignment_entropy"]) == 0 and float(sharp["used_prototypes"]) == pytest.approx(4)
    collapsed = assignment_measures(torch.eye(4)[:1].expand(5, 4))
    assert float(collapsed["assignment_entropy"]) == 0 and float(collapsed["used_prototypes"]) == pytest.approx(1)
    flat = assignment_measures(torch.full((5, 4), 1 / 4))
    assert float(flat["assignment_entropy"]) == pytest.approx(math.log(4))
    assert float(flat["used_prototypes"]) == pytest.approx(4)
    told = [float(found["assignment_information"]) for found in (sharp, collapsed, flat)]
    assert told == pytest.approx([math.log(4), 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("how", ["apart", "together"])
def test_projections_are_those_of_both_views(how: Views) -> None:
    method, inputs = make(views=how), views(0)
    anchors, positives = method.project(inputs)
    assert anchors.shape == positives.shape == (1, 4, WIDTH) == (1, 4, method.projection_dimension)
    if how == "together":
        expected = method.projector(method.encoder(torch.cat(inputs)))
    else:
        expected = torch.cat([method.projector(method.encoder(view)) for view in inputs])
    torch.testing.assert_close(torch.cat([anchors[0], positives[0]]), expected)


def test_the_projector_is_that_of_the_papers() -> None:
    with torch.device("meta"):
        method = small(SwAV, SwAVConfig())
    assert method.projector[-1].weight.shape == (512, 2048) and method.projector[3].weight.shape == (2048, 2048)
    assert method.prototypes.weight.shape == (6000, 512) and method.prototypes.bias is None
    assert method.queue_1.rows_QP.shape == (3840, 512)


def test_the_plan_is_two_augmented_segments() -> None:
    plan = make(segment_seconds=1.5).segments
    assert [(s.seconds, s.side, s.augmented) for s in plan] == [(1.5, "anchor", True), (1.5, "positive", True)]


def expected_loss(method: SwAV, z1: Tensor, z2: Tensor, queues: tuple[Tensor, Tensor] | None) -> float:
    prototypes = normalize(method.prototypes.weight.detach(), dim=1)
    rows = [normalize(z.detach(), dim=1) for z in (z1, z2)]
    s = [r @ prototypes.T for r in rows]
    together = s if queues is None else [torch.cat([q @ prototypes.T, a]) for a, q in zip(s, queues, strict=True)]
    q = [sinkhorn(t, 3, 0.05)[-len(z1) :] for t in together]
    return naive(s[0], s[1], q[0], q[1], 0.1)


def test_the_method_puts_scores_assignments_and_loss_together() -> None:
    method = make()
    anchors, positives = method.project(views(0))
    assert method.loss(Pairs(anchors, positives)).item() == pytest.approx(
        expected_loss(method, anchors[0], positives[0], None), rel=1e-4
    )
    assert method.loss(Pairs(3 * anchors, 0.1 * positives)).item() == pytest.approx(
        method.loss(Pairs(anchors, positives)).item()
    )


def test_a_full_queue_is_assigned_with_the_batch() -> None:
    method = make()
    before = method.project(views(0))
    without = method.loss(Pairs(*before)).item()
    chance = torch.Generator().manual_seed(5)
    queues = tuple(normalize(torch.randn(6, WIDTH, generator=chance), dim=1) for _ in range(2))
    method.queue_1.push(queues[0][:5])
    method.queue_2.push(queues[1][:5])
    assert method.loss(Pairs(*before)).item() == without  # not full yet
    method.queue_1.push(queues[0][5:])
    method.queue_2.push(queues[1][5:])
    found = method.loss(Pairs(*before)).item()
    assert found == pytest.approx(expected_loss(method, before[0][0], before[1][0], queues), rel=1e-4)
    assert found != without


@pytest.mark.parametrize(("epochs", "entered"), [(0.0, 0), (1.9, 0), (2.0, 4), (7.5, 4)])
def test_projections_enter_the_queues_from_their_epoch_on(epochs: float, entered: int) -> None:
    method = make()
    method.loss(Pairs(*method.project(views(0))))
    method.after_step(Progress(epochs, span=20))
    assert int(method.queue_1.entered) == int(method.queue_2.entered) == entered


@pytest.mark.parametrize("queue_rows", ["seen", "own"])
def test_which_positives_enter_the_queue(queue_rows: str) -> None:
    method = make(queue_rows=queue_rows)
    anchors, positives = method.project(views(0))
    replaced = torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(1))
    method.loss(Pairs(anchors, replaced))
    method.after_step(Progress(3.0, span=20))
    expected = replaced if queue_rows == "seen" else positives
    torch.testing.assert_close(method.queue_1.rows_QP[:4], normalize(anchors[0].detach(), dim=1))
    torch.testing.assert_close(method.queue_2.rows_QP[:4], normalize(expected[0].detach(), dim=1))
    assert not torch.allclose(normalize(replaced[0], dim=1), normalize(positives[0], dim=1), atol=1e-2)


@pytest.mark.parametrize("size", [1, 3, 6, 9])
def test_the_newest_projections_are_in_the_queues_whatever_the_batches(size: int) -> None:
    method, kept = make(queue_size=size, views="together"), []
    for step, batch in enumerate((4, 4, 1, 4)):
        anchors, positives = method.project(views(step, batch))
        assert math.isfinite(method.loss(Pairs(anchors, positives)).item())
        method.after_step(Progress(2.0, span=20))
        kept = [*kept, *normalize(anchors[0].detach(), dim=1)][-size:]
    torch.testing.assert_close(method.queue_1.rows_QP.roll(-int(method.queue_1.head), 0), torch.stack(kept))


@pytest.mark.parametrize("from_start", [True, False])
def test_a_queue_is_used_from_its_epoch_on_however_early_it_was_filled(from_start: bool) -> None:
    method = make(queue_size=8, queue_epoch=3.0, queue_from_start=from_start)
    optimiser = adam(method)
    used = []
    for step, epochs in enumerate((0.0, 1.0, 2.0, 2.9, 3.0, 3.1, 3.2, 3.3)):
        method.before_step(Progress(epochs, span=20))
        projected = method.project(views(step))
        queues = method.queue_1.rows_QP.clone(), method.queue_2.rows_QP.clone()
        found = method.loss(Pairs(*projected)).item()
        alone, with_queue = (expected_loss(method, projected[0][0], projected[1][0], q) for q in (None, queues))
        used.append(found == pytest.approx(with_queue, rel=1e-4))
        assert used[-1] or found == pytest.approx(alone, rel=1e-4)
        train_step(method, optimiser, views(step), epochs)
    assert used == [False] * 4 + ([True] * 4 if from_start else [False, False, True, True])


def test_prototypes_of_learned_length_begin_as_those_of_torch_s_weight_normalisation() -> None:
    method = make(prototype_length="learned", prototypes=4000, projection=64)
    lengths = method.prototypes.length_K
    assert lengths.mean().item() == pytest.approx(3**-0.5, abs=0.003) and lengths.std().item() < 0.05
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(64, 4000, bias=False))
    with torch.no_grad():
        theirs.parametrizations.weight.original1.copy_(method.prototypes.weight)
        theirs.parametrizations.weight.original0.copy_(lengths[:, None])
    z = normalize(torch.randn(5, 64), dim=1)
    torch.testing.assert_close(method.prototypes(z), theirs(z))
    assert torch.allclose(method.prototypes(z), torch.nn.functional.linear(z, method.prototypes.weight), atol=1e-6)


def test_learned_lengths_are_trained_and_stand_still_at_first() -> None:
    for epochs, moves in ((0.5, False), (1.0, True)):
        method = make(prototype_length="learned")
        before = copied(method)
        train_step(method, adam(method), views(0), epochs)
        both = {"prototypes.weight", "prototypes.length_K"}
        assert (both & set(changed(method, before)) == both) == moves


def test_without_a_queue() -> None:
    method = make(queue_size=0)
    optimiser = adam(method)
    for step in range(2):
        assert math.isfinite(train_step(method, optimiser, views(step), epochs=16.0))
    assert int(method.queue_1.entered) == 0


def test_the_loss_writes_nothing() -> None:
    method = make()
    projected = method.project(views(0))
    before = copied(method)
    assert method.loss(Pairs(*projected)).item() == method.loss(Pairs(*projected)).item()
    assert not changed(method, before)
    method.after_step(Progress(3.0, span=20))
    once = copied(method)
    method.after_step(Progress(3.0, span=20))
    assert not changed(method, once)


@pytest.mark.parametrize(("epochs", "moves"), [(0.0, False), (0.99, False), (1.0, True), (5.0, True)])
def test_the_prototypes_stand_still_at_first_also_with_momentum_and_decay(epochs: float, moves: bool) -> None:
    method = make()
    before = method.prototypes.weight.detach().clone()
    trained = [p for p in method.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, 0.1, momentum=0.9, weight_decay=0.1)
    for step in range(2):
        train_step(method, optimiser, views(step), epochs)
        assert torch.allclose(method.prototypes.weight, before, atol=1e-6) != moves
        assert (method.prototypes.weight.grad is None) != moves


def test_prototypes_are_unit_rows_at_every_step() -> None:
    method = make()
    ones = torch.ones(PROTOTYPES)
    assert torch.allclose(method.prototypes.weight.norm(dim=1), ones)
    train_step(method, adam(method), views(0), epochs=2.0)
    assert not torch.allclose(method.prototypes.weight.norm(dim=1), ones, atol=1e-5)
    method.before_step(Progress(2.0, span=20))
    assert torch.allclose(method.prototypes.weight.norm(dim=1), ones)
    assert method.prototypes.weight.requires_grad


def test_the_gradient_reaches_both_views_the_projector_and_the_prototypes() -> None:
    method = make()
    anchors, positives = method.project(views(0))
    anchors.retain_grad()
    positives.retain_grad()
    method.loss(Pairs(anchors, positives)).backward()
    for tensor in (anchors, positives, method.prototypes.weight, *method.projector.parameters()):
        assert tensor.grad is not None
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in (anchors, positives, method.prototypes.weight))
    assert not any(p.grad is None for p in method.encoder.parameters())


def test_steps_change_what_is_trained_and_the_queues() -> None:
    method = make()
    before, optimiser = copied(method), adam(method)
    for step in range(3):
        assert math.isfinite(train_step(method, optimiser, views(step), epochs=2.0))
    matrices = {name for name, p in method.named_parameters() if p.ndim > 1}
    assert matrices | {"queue_1.rows_QP", "queue_2.rows_QP", "queue_1.entered"} <= changed(method, before)


def test_measures_are_detached_and_add_up() -> None:
    method = make()
    loss = method.loss(Pairs(*method.project(views(0))))
    found = method.measures()
    names = {"positive_cosine", "divergence", "assignment_entropy", "assignment_information", "used_prototypes"}
    assert set(found) == names | {"embedding_deviation", "effective_rank"}
    assert all(not value.requires_grad and torch.isfinite(value) for value in found.values())
    torch.testing.assert_close(found["divergence"] + found["assignment_entropy"], loss.detach())
    assert 1 <= float(found["used_prototypes"]) <= PROTOTYPES


def test_epoch_files_do_without_the_queues() -> None:
    method = make()
    assert not [name for name in method.weights() if name.startswith("queue")]
    assert "prototypes.weight" in method.weights()
    make(queue_size=3).load_weights(method.weights())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature of swav must be above 0; found 0.0"),
        ({"sinkhorn_epsilon": -0.1}, "sinkhorn_epsilon of swav must be above 0; found -0.1"),
        ({"sinkhorn_iterations": 0}, "hidden, projection and sinkhorn_iterations of swav must be at least 1"),
        ({"hidden": (8, 0)}, "hidden, projection and sinkhorn_iterations of swav must be at least 1"),
        ({"projection": 0}, "hidden, projection and sinkhorn_iterations of swav must be at least 1"),
        ({"prototypes": 1}, "one alone predicts nothing; expected 2 or more, found 1"),
        ({"queue_size": -1}, "queue_size, queue_epoch and frozen_epochs of swav must not be negative"),
        ({"queue_epoch": -1.0}, "must not be negative"),
        ({"frozen_epochs": -1.0}, "must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SwAVConfig(**settings)


def test_a_projector_may_be_one_layer() -> None:
    method = make(hidden=())
    assert len(method.projector) == 1
