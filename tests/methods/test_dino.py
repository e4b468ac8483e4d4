"""DINO: its loss against the authors' figures and loops over equation (2); its measures and settings."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_dino import make, six
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.dino import (
    DINO,
    DINOConfig,
    dino_loss,
    target_measures,
    teacher_distribution,
)
from sslsv_tk.schedules import Progress


def outputs(student_views: int, teacher_views: int, batch: int = 3, count: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(student_views)
    return (
        torch.randn(student_views, batch, count, dtype=torch.float64, generator=generator),
        torch.randn(teacher_views, batch, count, dtype=torch.float64, generator=generator),
        torch.randn(count, dtype=torch.float64, generator=generator),
    )


# -- the loss -----------------------------------------------------------------------------------------------------


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def naive_dino(student: Tensor, teacher: Tensor, centre: Tensor, tau_s: float, tau_t: float) -> tuple[float, int]:
    """Equation (2), term by term, and how many pairs of views it has."""
    summed, pairs, batch = 0.0, 0, student.shape[1]
    for t, s in itertools.product(range(len(teacher)), range(len(student))):
        if s == t:
            continue
        pairs += 1
        for i in range(batch):
            a = softmax([float(x - c) / tau_t for x, c in zip(teacher[t, i], centre, strict=True)])
            b = softmax([float(x) / tau_s for x in student[s, i]])
            summed -= sum(p * math.log(q) for p, q in zip(a, b, strict=True)) / batch
    return summed, pairs


@pytest.mark.parametrize(("student_views", "teacher_views"), [(6, 2), (2, 2), (2, 1), (5, 1), (4, 3), (2, 3)])
def test_the_loss_is_that_of_loops_over_the_equation(student_views: int, teacher_views: int) -> None:
    student, teacher, centre = outputs(student_views, teacher_views)
    expected, pairs = naive_dino(student, teacher, centre, 0.1, 0.04)
    assert dino_loss(student, teacher, centre, 0.1, 0.04, average=False).item() == pytest.approx(expected, rel=1e-10)
    assert dino_loss(student, teacher, centre, 0.1, 0.04).item() == pytest.approx(expected / pairs, rel=1e-10)


def test_two_and_six_views_make_ten_pairs() -> None:
    student, teacher, centre = outputs(6, 2)
    summed = dino_loss(student, teacher, centre, 0.1, 0.04, average=False)
    assert summed.item() == pytest.approx(10 * dino_loss(student, teacher, centre, 0.1, 0.04).item(), rel=1e-12)


def test_gradients_are_those_of_the_sum_over_pairs() -> None:
    student, teacher, centre = outputs(6, 2)
    student.requires_grad_()
    dino_loss(student, teacher, centre, 0.1, 0.04, average=False).backward()
    expected = torch.zeros_like(student)
    for t, s in itertools.product(range(2), range(6)):
        if s != t:
            target = torch.softmax((teacher[t] - centre) / 0.04, -1)
            expected[s] += (torch.softmax(student[s] / 0.1, -1) - target) / 0.1 / student.shape[1]
    torch.testing.assert_close(student.grad, expected.detach())


def test_two_steps_with_the_centre_are_those_of_the_authors(reference_folder: Path) -> None:
    reference = np.load(reference_folder / "loss_dino.npz")
    tau_s, tau_t = float(reference["student_temperature"]), float(reference["teacher_temperature"])
    momentum, centre = float(reference["center_momentum"]), torch.zeros(32)
    for step in (1, 2):
        student = torch.from_numpy(reference[f"student_{step}"]).view(6, 4, 32)
        teacher = torch.from_numpy(reference[f"teacher_{step}"]).view(2, 4, 32)
        loss = dino_loss(student, teacher, centre, tau_s, tau_t)
        assert loss.item() == pytest.approx(float(reference[f"loss_{step}"]), rel=1e-5)
        centre = centre.lerp(teacher.mean((0, 1)), 1 - momentum)
        expected = reference[f"center_{step}"][0]
        assert np.abs(centre.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_method_makes_the_two_steps_of_the_authors(reference_folder: Path) -> None:
    """Identity in place of the prototypes: what the class does with its centre, not only what the function computes."""
    reference = np.load(reference_folder / "loss_dino.npz")
    method = make(prototypes=32, bottleneck=32, queue_outputs=True)
    method.head.prototypes = method.teacher_head.prototypes = torch.nn.Identity()  # type: ignore[assignment]
    for step in (1, 2):
        student = torch.from_numpy(reference[f"student_{step}"]).view(6, 4, 32)
        teacher = torch.from_numpy(reference[f"teacher_{step}"]).view(2, 4, 32)
        assert method.loss(Pairs(student, teacher)).item() == pytest.approx(float(reference[f"loss_{step}"]), rel=1e-5)
        method.after_step(Progress(0.0, span=10))
        expected = reference[f"center_{step}"][0]
        assert np.abs(method.centre_K.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_uniform_teacher_and_student_give_the_logarithm_of_the_prototypes() -> None:
    same = torch.ones(6, 3, 32)
    assert dino_loss(same, same[:2], torch.zeros(32), 0.1, 0.04).item() == pytest.approx(math.log(32), rel=1e-6)


def test_sure_and_equal_views_give_no_loss() -> None:
    sure = 20 * torch.eye(32)[:3].expand(6, 3, 32)
    assert dino_loss(sure, sure[:2], torch.zeros(32), 0.1, 0.04).item() == pytest.approx(0.0, abs=1e-5)


def test_a_centre_that_is_added_to_all_prototypes_changes_nothing() -> None:
    student, teacher, centre = outputs(6, 2)
    first, second = (dino_loss(student, teacher, c, 0.1, 0.04).item() for c in (centre, centre + 3.0))
    assert first == pytest.approx(second, rel=1e-10)


def test_no_gradient_flows_to_the_teachers_outputs() -> None:
    student, teacher, centre = outputs(6, 2)
    dino_loss(student.requires_grad_(), teacher.requires_grad_(), centre, 0.1, 0.04).backward()
    assert teacher.grad is None and student.grad is not None and bool((student.grad != 0).any((1, 2)).all())


def test_large_outputs_do_not_overflow() -> None:
    student, teacher, centre = (1e4 * x.float() for x in outputs(6, 2))
    assert math.isfinite(dino_loss(student, teacher, centre, 0.1, 0.04).item())


def test_one_view_of_each_has_no_pair() -> None:
    student, teacher, centre = outputs(1, 1)
    with pytest.raises(ValueError, match="different segments"):
        dino_loss(student, teacher, centre, 0.1, 0.04)


# -- measures -----------------------------------------------------------------------------------------------------


def test_targets_that_are_all_one_prototype_have_neither_entropy_nor_information() -> None:
    target = torch.zeros(2, 4, 8)
    target[..., 3] = 1.0
    assert {name: float(x) for name, x in target_measures(target).items()} == {
        "teacher_entropy": 0.0,
        "teacher_information": 0.0,
    }


def test_uniform_targets_have_all_entropy_and_no_information() -> None:
    found = target_measures(torch.full((2, 4, 8), 1 / 8))
    assert float(found["teacher_entropy"]) == pytest.approx(math.log(8))
    assert float(found["teacher_information"]) == pytest.approx(0.0, abs=1e-6)


def test_a_prototype_for_each_row_tells_which_row_it_is() -> None:
    found = target_measures(torch.eye(8).view(2, 4, 8))
    assert float(found["teacher_entropy"]) == 0.0
    assert float(found["teacher_information"]) == pytest.approx(math.log(8))


@pytest.mark.parametrize("average", [True, False])
def test_kl_is_the_mean_divergence_over_the_pairs(average: bool) -> None:
    method = make(average_pairs=average)
    anchors_ABP, positives_SBP = method.project(six())
    method.loss(Pairs(anchors_ABP, positives_SBP))
    student = torch.log_softmax(method.head.prototypes(anchors_ABP) / 0.1, -1)
    target = teacher_distribution(method.teacher_head.prototypes(positives_SBP), method.centre_K, 0.04)
    terms = [
        (target[t] * (target[t].log() - student[s])).sum(-1).mean()
        for t, s in itertools.product(range(2), range(6))
        if s != t
    ]
    found = method.measures()
    assert float(found["kl"]) == pytest.approx(sum(term.item() for term in terms) / 10, rel=1e-4)
    assert found.keys() >= {"teacher_entropy", "teacher_information", "centre_norm", "embedding_deviation"}
    assert not any(value.requires_grad for value in found.values())


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_seconds": 4.5}, "local views are the short ones; found local_seconds 4.5 above global_seconds 4.0"),
        ({"global_views": 0}, "at least one global view"),
        ({"global_views": 1, "local_views": 0}, "two views in all"),
        ({"local_views": -1}, "at least one global view"),
        ({"prototypes": 1}, "at least 2 prototypes"),
        ({"hidden": 0}, "hidden and bottleneck of at least 1"),
        ({"bottleneck": 0}, "hidden and bottleneck of at least 1"),
        ({"frozen_epochs": -1.0}, "frozen_epochs not negative"),
        ({"student_temperature": 0.0}, "student_temperature of dino must be above 0; found 0.0"),
        ({"teacher_temperature": -0.1}, "teacher_temperature of dino must be above 0; found -0.1"),
        ({"teacher_temperature_start": 0.0, "teacher_temperature_epochs": 1.0}, "teacher_temperature_start of dino"),
        ({"teacher_temperature_start": 0.02}, "a warm-up of the teacher's temperature needs"),
        ({"teacher_temperature_epochs": 5.0}, "a warm-up of the teacher's temperature needs"),
        ({"centre_momentum": 1.5}, "centre_momentum of dino must be from 0 to 1; found 1.5"),
        ({"teacher_momentum": -0.1}, "teacher_momentum of dino must be from 0 to below 1.*found -0.1"),
        ({"teacher_momentum": 1.0}, "teacher_momentum of dino must be from 0 to below 1.*found 1.0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DINOConfig(**settings)


def test_a_segment_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="A segment needs a positive length"):
        make(local_seconds=0.0)


def test_the_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        method = DINO(FastResNet34(FastResNet34Config(pooling="statistics")), DINOConfig())
    assert (method.slots, method.projection_dimension, tuple(method.centre_K.shape)) == (2, 256, (65_536,))
    assert tuple(method.head.prototypes.weight.shape) == (65_536, 256)
