"""The supervised baseline: its loss against the authors' figures and a loop over angles, with all its options."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrast_steps import WIDTH, adam, changed, copied, small, train_step, views
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.supervised import (
    Supervised,
    SupervisedConfig,
    aam_softmax_loss,
    classification_measures,
)

CLASSES = 5
LABELS = torch.tensor([0, 3, 4, 3])


def make(classes: int | None = CLASSES, seed: int = 0, **settings: Any) -> Supervised:
    method = small(Supervised, SupervisedConfig(**settings), classes, seed)
    assert isinstance(method, Supervised)
    return method


def cosines(rows: int = 6, classes: int = 7) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(rows)
    cosine = 1.9 * torch.rand(rows, classes, dtype=torch.float64, generator=chance) - 0.95
    return cosine, torch.randint(classes, (rows,), generator=chance)


def naive(cosine: Tensor, labels: Tensor, scale: float, margin: float, top: int, penalty: float) -> float:
    """The softmax over cosines of angles, each moved as the papers say, utterance by utterance."""
    total = 0.0
    for row, own in zip(cosine.tolist(), labels.tolist(), strict=True):
        others = sorted((c for c in range(len(row)) if c != own), key=lambda c: -row[c])
        angles = [math.acos(value) for value in row]
        logits = [scale * math.cos(angle) for angle in angles]
        logits[own] = scale * math.cos(angles[own] + margin)
        for c in others[:top]:
            logits[c] = scale * math.cos(angles[c] - penalty)
        total -= logits[own] - math.log(sum(math.exp(logit) for logit in logits))
    return total / len(labels)


def test_the_loss_is_that_of_the_authors(reference_folder: Path) -> None:
    reference = np.load(reference_folder / "loss_aam.npz")
    cosine, labels = torch.from_numpy(reference["cosine"]), torch.from_numpy(reference["label"])
    loss = aam_softmax_loss(cosine, labels, float(reference["scale"]), float(reference["margin"]))
    assert loss.item() == pytest.approx(float(reference["loss"]), rel=1e-5)


@pytest.mark.parametrize(("top", "penalty"), [(0, 0.06), (1, 0.06), (3, 0.1), (6, 0.2)])
@pytest.mark.parametrize("margin", [0.0, 0.2])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_loss_is_that_of_loops_over_angles(scale: float, margin: float, top: int, penalty: float) -> None:
    cosine, labels = cosines()
    found = aam_softmax_loss(cosine, labels, scale, margin, top, penalty)
    assert found.item() == pytest.approx(naive(cosine, labels, scale, margin, top, penalty), abs=1e-8)


def test_without_margins_it_is_the_softmax() -> None:
    cosine, labels = cosines()
    expected = torch.nn.functional.cross_entropy(30 * cosine, labels)
    assert torch.allclose(aam_softmax_loss(cosine, labels, 30.0, 0.0), expected, atol=1e-6)


def test_both_margins_make_it_harder() -> None:
    cosine, labels = cosines()
    losses = [aam_softmax_loss(cosine, labels, 30.0, *m).item() for m in ((0.0,), (0.2,), (0.2, 3), (0.2, 6))]
    assert losses == sorted(losses) and len(set(losses)) == 4


def test_the_penalty_falls_on_the_nearest_other_speakers() -> None:
    """Angles in degrees: the margin takes the own one from 10 to 30, the penalty the two nearest 10 nearer."""
    degrees = math.pi / 180
    cosine = (degrees * torch.tensor([[40.0, 10.0, 80.0, 50.0, 120.0]])).cos()
    moved = (degrees * torch.tensor([[30.0, 30.0, 80.0, 40.0, 120.0]])).cos()
    found = aam_softmax_loss(cosine, torch.tensor([1]), 5.0, 20 * degrees, inter_top_k=2, inter_margin=10 * degrees)
    assert found.item() == pytest.approx(torch.nn.functional.cross_entropy(5 * moved, torch.tensor([1])).item())


def test_an_utterance_on_its_centre_has_a_finite_gradient() -> None:
    cosine = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]], requires_grad=True)
    aam_softmax_loss(cosine, torch.tensor([0, 0]), 30.0, 0.2, inter_top_k=2).backward()
    assert cosine.grad is not None and torch.isfinite(cosine.grad).all()


def test_measures_count_whose_own_speaker_is_nearest() -> None:
    cosine = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.5, 0.4]])
    found = classification_measures(cosine, torch.tensor([0, 1, 1]))
    assert float(found["accuracy"]) == pytest.approx(2 / 3)
    assert float(found["target_cosine"]) == pytest.approx((0.9 + 0.3 + 0.4) / 3)


def test_projections_are_embeddings_and_no_positives() -> None:
    method = make()
    anchors, positives = method.project(views(0, count=1))
    assert anchors.shape == (1, 4, WIDTH) and positives.shape == (0, 4, WIDTH)
    assert method.slots == 0 and method.needs_labels and method.projection_dimension == WIDTH
    assert [(s.seconds, s.side, s.augmented) for s in method.segments] == [(2.0, "anchor", True)]


@pytest.mark.parametrize("sub_centers", [1, 3])
def test_the_nearest_centre_of_each_speaker_counts(sub_centers: int) -> None:
    method = make(sub_centers=sub_centers)
    assert method.centers_CD.shape == (CLASSES * sub_centers, WIDTH)
    anchors, positives = method.project(views(0, count=1))
    rows = normalize(anchors[0].detach().double(), dim=1)
    centers = normalize(method.centers_CD.detach().double(), dim=1)
    cosine = torch.zeros(4, CLASSES, dtype=torch.float64)
    for b in range(4):
        for c in range(CLASSES):
            cosine[b, c] = max(float(rows[b] @ centers[c * sub_centers + k]) for k in range(sub_centers))
    expected = naive(cosine, LABELS, 30.0, 0.2, 0, 0.0)
    assert method.loss(Pairs(anchors, positives, LABELS)).item() == pytest.approx(expected, rel=1e-4)
    assert float(method.measures()["target_cosine"]) == pytest.approx(float(cosine[range(4), LABELS].mean()), rel=1e-4)


def test_the_settings_reach_the_loss() -> None:
    method = make(scale=7.0, margin=0.1, inter_top_k=2, inter_margin=0.3)
    anchors, positives = method.project(views(0, count=1))
    cosine = normalize(anchors[0].detach(), dim=1) @ normalize(method.centers_CD.detach(), dim=1).T
    expected = naive(cosine.double(), LABELS, 7.0, 0.1, 2, 0.3)
    assert method.loss(Pairs(anchors, positives, LABELS)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {"sub_centers": 3, "inter_top_k": 2}])
def test_steps_lower_the_loss_and_change_encoder_and_centres(settings: dict[str, Any]) -> None:
    method = make(**settings)
    before, optimiser = copied(method), adam(method)
    losses = [train_step(method, optimiser, views(0, count=1), labels_B=LABELS) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert {name for name, p in method.named_parameters() if p.ndim > 1} <= changed(method, before)


def test_epoch_files_keep_the_centres() -> None:
    method = make()
    assert set(method.weights()) == set(method.state_dict())


@pytest.mark.parametrize("classes", [None, 0, 1])
def test_a_training_set_without_labels_is_refused(classes: int | None) -> None:
    with pytest.raises(ValueError, match=r"needs the true speakers .* two or more; found .* Prepare the set with"):
        make(classes)


def test_a_batch_without_labels_is_refused() -> None:
    method = make()
    with pytest.raises(ValueError, match="needs the speaker of every utterance; found no labels"):
        method.loss(Pairs(*method.project(views(0, count=1))))


def test_more_hard_speakers_than_there_are_are_refused() -> None:
    make(inter_top_k=CLASSES - 1)
    with pytest.raises(ValueError, match="expected at most 4 with 5 speakers, found 5"):
        make(inter_top_k=CLASSES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, "scale of supervised must be above 0; found 0.0"),
        ({"margin": -0.1}, "margin of supervised is an angle in radians: .* found -0.1"),
        ({"margin": 30.0}, "margin of supervised is an angle in radians: .* found 30.0"),
        ({"inter_margin": 2.0}, "inter_margin of supervised is an angle in radians: .* found 2.0"),
        ({"sub_centers": 0}, "sub_centers of supervised must be at least 1, inter_top_k not negative; found 0 and 0"),
        ({"inter_top_k": -1}, "inter_top_k not negative; found 1 and -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SupervisedConfig(**settings)
