"""DINO over steps: what moves student, teacher, prototypes and centre, and what a run goes on with."""

import copy
import math
from typing import Any

import pytest
import torch
from small_dino import BATCH, LONG, changed, make, optimiser_of, six, snapshot, train_step, views_of
from torch import Tensor, nn

from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.dino import DINO, DINOConfig, dino_loss, teacher_temperature
from sslsv_tk.schedules import Progress


def mean_of(encoder: nn.Module) -> Tensor:
    """Running mean of its first batch norm."""
    return encoder.get_buffer("norm.running_mean")


# -- student, teacher, centre -------------------------------------------------------------------------------------


def test_the_teacher_begins_as_the_student_and_is_what_is_evaluated() -> None:
    method = make()
    for teacher, student in ((method.teacher_encoder, method.encoder), (method.teacher_head, method.head)):
        for (_, ours), (_, theirs) in zip(teacher.named_parameters(), student.named_parameters(), strict=True):
            assert torch.equal(ours, theirs) and ours is not theirs and not ours.requires_grad
    assert method.scoring_encoder() is method.teacher_encoder
    train_step(method, optimiser_of(method), six())
    x = views_of(LONG)[0]
    with torch.no_grad():
        raw = copy.deepcopy(method.teacher_encoder).eval()(x)
    torch.testing.assert_close(method.embed_reference(x), torch.nn.functional.normalize(raw, dim=1))


def test_gradients_reach_all_of_the_student_and_nothing_of_the_teacher() -> None:
    method = make()
    method.loss(Pairs(*method.project(six()))).backward()
    for name, parameter in method.named_parameters():
        assert (parameter.grad is None) == name.startswith("teacher_"), name


def test_the_optimiser_moves_the_student_and_the_average_moves_the_teacher() -> None:
    method = make()
    optimiser = optimiser_of(method)
    before = snapshot(method)
    for step in range(2):
        train_step(method, optimiser, six(step))
    names = changed(method, before)
    assert names == set(before), "every parameter, statistic and the centre has moved"
    expected = before
    twin = make()
    twin_optimiser = optimiser_of(twin)
    momentum = 1 - 0.004 * (1 + math.cos(math.pi * 0.2)) / 2  # 2 of 10 epochs
    for step in range(2):
        train_step(twin, twin_optimiser, six(step))
        for name, student in twin.named_parameters():
            if not name.startswith("teacher_"):
                expected[f"teacher_{name}"] = momentum * expected[f"teacher_{name}"] + (1 - momentum) * student.detach()
    for name, parameter in method.named_parameters():
        if name.startswith("teacher_"):
            torch.testing.assert_close(parameter, expected[name], rtol=1e-5, atol=1e-7)


def test_the_teacher_stands_still_at_the_end_of_the_span() -> None:
    method = make()
    optimiser = optimiser_of(method)
    train_step(method, optimiser, six())
    before = {name: parameter.clone() for name, parameter in method.named_parameters()}
    train_step(method, optimiser, six(1), epochs=10.0)
    for name, parameter in method.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("teacher_"), name


@pytest.mark.parametrize("average", [False, True])
def test_batch_norm_statistics_are_the_teachers_own_unless_averaged(average: bool) -> None:
    method, momentum = make(average_statistics=average, teacher_momentum=0.5), 0.75
    method.project(six())
    own, student = mean_of(method.teacher_encoder).clone(), mean_of(method.encoder).clone()
    assert not torch.allclose(own, student)
    method.after_step(Progress(5.0, span=10))
    expected = momentum * own + (1 - momentum) * student if average else own
    torch.testing.assert_close(mean_of(method.teacher_encoder), expected)


def test_the_teacher_trains_with_statistics_of_its_batch() -> None:
    method = make()
    assert method.teacher_encoder.training and method.teacher_head.training
    x = six()
    other = [torch.cat([view[:1], 3 + view[1:]]) for view in x]
    assert not torch.allclose(method.project(x)[1][:, 0], method.project(other)[1][:, 0], atol=1e-3)


def test_the_prototypes_rest_for_the_first_epoch_and_are_not_decayed_either() -> None:
    method = make()
    optimiser = optimiser_of(method)
    before = method.head.prototypes.weight.clone()
    for step, epochs in enumerate((0.0, 0.5, 0.999)):
        train_step(method, optimiser, six(step), epochs)
        assert torch.equal(method.head.prototypes.weight, before)
    train_step(method, optimiser, six(3), epochs=1.0)
    assert not torch.equal(method.head.prototypes.weight, before)


def test_the_centre_takes_in_the_teachers_outputs_after_the_step() -> None:
    method = make(centre_momentum=0.75)
    centre = torch.zeros(20)
    for step in range(3):
        anchors_ABP, positives_SBP = method.project(six(step))
        method.loss(Pairs(anchors_ABP, positives_SBP))
        centre = 0.75 * centre + 0.25 * method.teacher_head.prototypes(positives_SBP).mean((0, 1))
        method.after_step(Progress(0.0, span=10))
        torch.testing.assert_close(method.centre_K, centre)
        assert not method.centre_K.requires_grad


def test_the_centre_uses_replaced_rows() -> None:
    method = make(centre_momentum=0.0)
    anchors_ABP, positives_SBP = method.project(six())
    replaced = positives_SBP.flip(-1)
    method.loss(Pairs(anchors_ABP, replaced))
    expected = method.teacher_head.prototypes(replaced).mean((0, 1))
    method.after_step(Progress(0.0, span=10))
    torch.testing.assert_close(method.centre_K, expected)


def test_the_loss_of_the_class_is_the_function_of_both_outputs() -> None:
    method = make(average_pairs=False, student_temperature=0.2, teacher_temperature=0.05)
    with torch.no_grad():
        method.centre_K.normal_()
    anchors_ABP, positives_SBP = method.project(six())
    student, teacher = method.head.prototypes(anchors_ABP), method.teacher_head.prototypes(positives_SBP)
    expected = dino_loss(student, teacher, method.centre_K, 0.2, 0.05, average=False)
    torch.testing.assert_close(method.loss(Pairs(anchors_ABP, positives_SBP)), expected)


def test_positives_can_be_all_outputs_and_give_the_same_loss() -> None:
    narrow, wide = make(), make(queue_outputs=True)
    assert (narrow.projection_dimension, wide.projection_dimension) == (6, 20)
    anchors_ABP, positives_SBP = wide.project(six())
    assert anchors_ABP.shape == (6, BATCH, 6) and positives_SBP.shape == (2, BATCH, 20)
    torch.testing.assert_close(wide.loss(Pairs(anchors_ABP, positives_SBP)), narrow.loss(Pairs(*narrow.project(six()))))
    for method in (narrow, wide):
        method.after_step(Progress(0.0, span=10))
    torch.testing.assert_close(narrow.centre_K, wide.centre_K)


def test_projections_are_in_full_precision_within_autocast() -> None:
    method = make(queue_outputs=True)
    with torch.autocast("cpu", torch.bfloat16):
        anchors_ABP, positives_SBP = method.project(six())
    assert anchors_ABP.dtype == positives_SBP.dtype == torch.float32


@pytest.mark.parametrize(("epochs", "expected"), [(0.0, 0.02), (2.5, 0.03), (5.0, 0.04), (7.0, 0.04)])
def test_the_teachers_temperature_rises_along_a_line(epochs: float, expected: float) -> None:
    config = DINOConfig(teacher_temperature_start=0.02, teacher_temperature_epochs=5.0)
    assert teacher_temperature(config, Progress(epochs, span=10)) == pytest.approx(expected)
    assert teacher_temperature(DINOConfig(), Progress(epochs, span=10)) == 0.04


def test_the_loss_uses_the_temperature_of_the_step() -> None:
    method = make(teacher_temperature_start=0.4, teacher_temperature_epochs=5.0)
    anchors_ABP, positives_SBP = method.project(six())
    student, teacher = method.head.prototypes(anchors_ABP), method.teacher_head.prototypes(positives_SBP)
    for epochs, temperature in ((0.0, 0.4), (5.0, 0.04)):
        method.before_step(Progress(epochs, span=10))
        expected = dino_loss(student, teacher, method.centre_K, 0.1, temperature)
        torch.testing.assert_close(method.loss(Pairs(anchors_ABP, positives_SBP)), expected)


# -- state --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"teacher_temperature_start": 0.07, "teacher_temperature_epochs": 3.0}])
def test_a_copy_from_the_state_makes_the_same_next_steps(settings: dict[str, Any]) -> None:
    method = make(**settings)
    optimiser = optimiser_of(method)
    for step in range(2):
        train_step(method, optimiser, six(step))
    resumed = make(**settings)
    resumed.load_state_dict(snapshot(method))
    other = optimiser_of(resumed)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for step in range(2, 4):
        assert torch.equal(train_step(method, optimiser, six(step)), train_step(resumed, other, six(step)))
    assert not changed(resumed, method.state_dict())


def test_epoch_files_hold_the_encoders_alone() -> None:
    method = make()
    weights = method.weights()
    assert {name.split(".")[0] for name in weights} == {"encoder", "teacher_encoder"}
    other = make()
    train_step(method, optimiser_of(method), six())
    other.load_weights(method.weights())
    x = views_of(LONG)[0]
    assert torch.equal(other.embed_reference(x), method.embed_reference(x))


def test_its_schedules_end_with_the_span() -> None:
    assert DINO.follows_span
