"""SimCLR: its loss against the authors' figures and against loops over the equation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Pairs, spread_measures
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig, cosine_measures, nt_xent_loss
from sslsv_tk.nn.heads import Views


class Means(Encoder):
    """Mean of the frames of each band through a linear layer and a batch norm."""

    dimension = 6

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.calls: list[int] = []

    def forward(self, input_BFL: Tensor) -> Tensor:
        self.calls.append(len(input_BFL))
        return self.norm(self.linear(input_BFL.mean(2)))


def pair(batch: int = 5, width: int = 3) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, batch, width, dtype=torch.float64, generator=torch.Generator().manual_seed(batch))
    return z[0], z[1]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def naive_one_direction(z1: Tensor, z2: Tensor, temperature: float, margin: float = 0.0) -> float:
    """Equation (1) of the paper, term by term; the margin is taken from the cosine of the pair, above and below."""
    total = 0.0
    for i in range(len(z1)):
        own = math.exp((cosine(z1[i], z2[i]) - margin) / temperature)
        below = own + sum(math.exp(cosine(z1[i], z2[j]) / temperature) for j in range(len(z2)) if j != i)
        total -= math.log(own / below)
    return total / len(z1)


def naive_symmetric(z1: Tensor, z2: Tensor, temperature: float, margin: float = 0.0) -> float:
    """Every row of either view against all the other rows."""
    rows, total = [*z1, *z2], 0.0
    for i in range(len(rows)):
        positive = (i + len(z1)) % len(rows)
        own = math.exp((cosine(rows[i], rows[positive]) - margin) / temperature)
        others = [j for j in range(len(rows)) if j not in (i, positive)]
        total -= math.log(own / (own + sum(math.exp(cosine(rows[i], rows[j]) / temperature) for j in others)))
    return total / len(rows)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_measures_are_mean_cosines_of_positives_and_of_negatives(batch: int) -> None:
    z1, z2 = pair(batch)
    found = cosine_measures(z1, z2)
    negatives = [cosine(z1[i], z2[j]) for i in range(batch) for j in range(batch) if i != j]
    assert float(found["positive_cosine"]) == pytest.approx(np.mean([cosine(z1[i], z2[i]) for i in range(batch)]))
    assert float(found["negative_cosine"]) == pytest.approx(np.mean(negatives or [0.0]))


def test_the_loss_leaves_its_measures_for_the_log() -> None:
    method = SimCLR(Means(), SimCLRConfig())
    views = [torch.randn(4, 4, 9, generator=torch.Generator().manual_seed(view)) for view in range(2)]
    anchors_ABP, positives_SBP = method.project(views)
    method.loss(Pairs(anchors_ABP, positives_SBP))
    expected = cosine_measures(anchors_ABP[0], positives_SBP[0])
    expected |= spread_measures(torch.cat([anchors_ABP[0], positives_SBP[0]]))
    assert method.measures().keys() == expected.keys()
    for name, value in method.measures().items():
        assert not value.requires_grad
        torch.testing.assert_close(value, expected[name].detach())


def test_loss_and_gradients_are_those_of_the_authors(reference_folder: Path) -> None:
    reference = np.load(reference_folder / "loss_simclr.npz")
    z1, z2 = (torch.from_numpy(reference[name]).requires_grad_() for name in ("z1", "z2"))
    loss = nt_xent_loss(z1, z2, float(reference["temperature"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(reference["loss"]), rel=1e-5)
    for tensor, name in ((z1, "grad_z1"), (z2, "grad_z2")):
        assert tensor.grad is not None
        assert np.abs(tensor.grad.numpy() - reference[name]).max() <= 1e-5 * np.abs(reference[name]).max()


@pytest.mark.parametrize("margin", [0.0, 0.1, 1.5])
@pytest.mark.parametrize("temperature", [0.03, 0.5])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_loss_is_that_of_loops_over_the_equation(batch: int, temperature: float, margin: float) -> None:
    z1, z2 = pair(batch)
    one = naive_one_direction(z1, z2, temperature, margin)
    both = naive_symmetric(z1, z2, temperature, margin)
    assert nt_xent_loss(z1, z2, temperature, symmetric=False, margin=margin).item() == pytest.approx(one, abs=1e-9)
    assert nt_xent_loss(z1, z2, temperature, symmetric=True, margin=margin).item() == pytest.approx(both, abs=1e-9)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_margin_asks_for_a_lead_of_the_positive(symmetric: bool) -> None:
    """Orthogonal pairs: cosine 1 with the positive, 0 with each of the others, so a margin of 1 makes all alike."""
    z = torch.eye(4, dtype=torch.float64)
    losses = [nt_xent_loss(z, z, 0.1, symmetric, margin).item() for margin in (0.0, 0.3, 0.6, 1.0)]
    assert losses == sorted(losses) and losses[0] < 1e-3
    assert losses[-1] == pytest.approx(math.log(7 if symmetric else 4))


def test_the_margin_of_the_settings_reaches_the_loss() -> None:
    z1, z2 = pair()
    method = SimCLR(Means(), SimCLRConfig(temperature=0.2, margin=0.3))
    assert method.loss(Pairs(z1[None], z2[None])).item() == pytest.approx(naive_symmetric(z1, z2, 0.2, 0.3), abs=1e-9)
    assert method.loss(Pairs(z1[None], z2[None])).item() > naive_symmetric(z1, z2, 0.2)


@pytest.mark.parametrize("margin", [-0.1, 2.0])
def test_a_margin_that_no_cosine_can_have_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=f"expected from 0 to below 2; found {margin}"):
        SimCLRConfig(margin=margin)


def test_equal_rows_give_the_logarithm_of_the_candidates() -> None:
    z = torch.ones(8, 4)
    assert nt_xent_loss(z, z, 0.03, symmetric=False).item() == pytest.approx(math.log(8), rel=1e-5)
    assert nt_xent_loss(z, z, 0.03, symmetric=True).item() == pytest.approx(math.log(15), rel=1e-5)


def test_orthogonal_pairs_give_next_to_no_loss() -> None:
    assert nt_xent_loss(torch.eye(4), 3 * torch.eye(4), 0.03).item() < 1e-6


def test_the_length_of_a_row_does_not_matter() -> None:
    z1, z2 = pair()
    assert torch.allclose(nt_xent_loss(z1, z2, 0.1), nt_xent_loss(7 * z1, 0.1 * z2, 0.1))


def test_constant_positives_get_no_gradient_and_are_no_obstacle() -> None:
    z1, z2 = pair()
    nt_xent_loss(z1.requires_grad_(), z2, 0.1).backward()
    assert z1.grad is not None and z1.grad.abs().sum() > 0 and z2.grad is None


@pytest.mark.parametrize(("how", "passes"), [("apart", [5, 5]), ("together", [10])])
def test_views_go_through_the_encoder_one_by_one_or_in_one_pass(how: Views, passes: list[int]) -> None:
    method = SimCLR(Means(), SimCLRConfig(views=how))
    views = [torch.randn(5, 4, 7), torch.randn(5, 4, 7)]
    anchors, positives = method.project(views)
    assert method.encoder.calls == passes
    assert anchors.shape == positives.shape == (1, 5, method.projection_dimension)
    expected = torch.cat([method.encoder(part) for part in (views if how == "apart" else [torch.cat(views)])])
    assert torch.allclose(torch.cat([anchors[0], positives[0]]), expected, atol=1e-6)
    assert method.loss(Pairs(anchors, positives)).item() == pytest.approx(
        nt_xent_loss(anchors[0], positives[0], 0.03).item(), rel=1e-6
    )


def test_the_option_chooses_the_direction() -> None:
    z1, z2 = pair()
    method = SimCLR(Means(), SimCLRConfig(temperature=0.2, symmetric=False))
    assert method.loss(Pairs(z1[None], z2[None])).item() == pytest.approx(naive_one_direction(z1, z2, 0.2), abs=1e-9)


def test_the_plan_is_two_augmented_segments() -> None:
    plan = SimCLR(Means(), SimCLRConfig(segment_seconds=1.5)).segments
    assert [(s.seconds, s.side, s.augmented) for s in plan] == [(1.5, "anchor", True), (1.5, "positive", True)]


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_of_nothing_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature of simclr must be above 0"):
        SimCLRConfig(temperature=temperature)


def test_a_segment_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="A segment needs a positive length"):
        SimCLR(Means(), SimCLRConfig(segment_seconds=0.0))
