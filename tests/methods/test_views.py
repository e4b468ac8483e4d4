"""Views apart and together: optimiser steps against loops over rows, channels and equations, in float64.

By hand are: linear layers, batch norms with their running statistics, the losses, and Adam. Only the gradient is
torch's. B utterances.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method
from sslsv_tk.methods.moco import MoCo, MoCoConfig
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig
from sslsv_tk.methods.swav import SwAV, SwAVConfig
from sslsv_tk.methods.vicreg import VICReg, VICRegConfig
from sslsv_tk.nn.heads import Views
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.schedules import Progress
from sslsv_tk.systems.configuration import OptimisationConfig
from sslsv_tk.training.optimisation import make_optimiser
from sslsv_tk.training.step import TrainingStep

Rows = list[Tensor]
State = dict[str, Tensor]
BANDS, WIDTH, BATCH, STEPS, RATE = 3, 4, 5, 3, 0.01


class Tiny(Encoder):
    """Mean of the frames, a linear layer, a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.dimension = WIDTH
        self.linear, self.norm = nn.Linear(BANDS, WIDTH, bias=False), nn.BatchNorm1d(WIDTH)

    def forward(self, input_BFL: Tensor) -> Tensor:
        found: Tensor = self.norm(self.linear(input_BFL.mean(-1)))
        return found


METHODS: dict[str, tuple[type[Method], Callable[..., Any]]] = {
    "simclr": (SimCLR, SimCLRConfig),
    "moco": (MoCo, lambda views: MoCoConfig(temperature=0.1, queue_size=7, momentum=0.9, views=views)),
    "vicreg": (VICReg, lambda views: VICRegConfig(hidden=6, output=3, views=views)),
    "swav": (
        SwAV,
        lambda views: SwAVConfig(
            (6,), 3, 8, prototype_length="learned", frozen_epochs=0, queue_size=4, queue_from_start=True, queue_epoch=2,
            views=views,
        ),
    ),
}  # fmt: skip


# -- layers by hand ------------------------------------------------------------------------------------------------


def linear(state: State, name: str, rows: Rows) -> Rows:
    weight = state[f"{name}.weight"]
    bias = state.get(f"{name}.bias", torch.zeros(len(weight), dtype=torch.float64))
    return [
        torch.stack([sum(w * x for w, x in zip(weight[o], row, strict=True)) + bias[o] for o in range(len(bias))])
        for row in rows
    ]


def batch_norm(state: State, name: str, rows: Rows) -> Rows:
    """Statistics of these rows; the running ones move by a tenth."""
    columns = []
    for channel in range(len(rows[0])):
        values = [row[channel] for row in rows]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        unbiased = variance * len(values) / (len(values) - 1)
        for moving, new in (("running_mean", mean), ("running_var", unbiased)):
            old = state[f"{name}.{moving}"]
            old[channel] = 0.9 * old[channel] + 0.1 * float(new.detach())
        weight, bias = state[f"{name}.weight"][channel], state[f"{name}.bias"][channel]
        columns.append([(value - mean) / (variance + 1e-5) ** 0.5 * weight + bias for value in values])
    state[f"{name}.num_batches_tracked"] += 1
    return [torch.stack([column[row] for column in columns]) for row in range(len(rows))]


def network(state: State, rows: Rows, encoder: str = "encoder") -> Rows:
    """One pass: the encoder, and the projector where there is one (linear, norm, ReLU, ..., linear)."""
    rows = batch_norm(state, f"{encoder}.norm", linear(state, f"{encoder}.linear", rows))
    layers = sorted({int(name.split(".")[1]) for name in state if name.startswith("projector.")})
    for layer in layers:
        if f"projector.{layer}.running_mean" in state:
            rows = [row.clamp(min=0) for row in batch_norm(state, f"projector.{layer}", rows)]
        else:
            rows = linear(state, f"projector.{layer}", rows)
    return rows


def projected(state: State, views: list[Tensor], how: Views, encoder: str = "encoder") -> tuple[Rows, Rows]:
    first, second = ([utterance.mean(-1) for utterance in view] for view in views)
    if how == "apart":
        return network(state, first, encoder), network(state, second, encoder)
    both = network(state, first + second, encoder)
    return both[:BATCH], both[BATCH:]


# -- losses by hand ------------------------------------------------------------------------------------------------


def unit(row: Tensor) -> Tensor:
    return row / sum(x * x for x in row) ** 0.5


def simclr(state: State, views: list[Tensor], how: Views, step: int) -> Tensor:
    first, second = projected(state, views, how)
    rows = [unit(row) for row in first + second]
    total = torch.zeros((), dtype=torch.float64)
    for i, anchor in enumerate(rows):
        similarities = {j: torch.exp(anchor @ other / 0.03) for j, other in enumerate(rows) if j != i}
        total = total - torch.log(similarities[(i + BATCH) % (2 * BATCH)] / sum(similarities.values()))
    return total / len(rows)


def moco(state: State, views: list[Tensor], how: Views, step: int) -> Tensor:
    for name in [name for name in state if name.startswith("encoder.") and name.endswith(("weight", "bias"))]:
        key = f"key_{name}"
        state[key] = 0.9 * state[key] + 0.1 * state[name].detach()
    queries = projected(state, views, how)
    with torch.no_grad():
        keys = projected(state, views, how, "key_encoder")[::-1]
    total = torch.zeros((), dtype=torch.float64)
    for view in range(2):
        name = f"queue_{view + 1}.rows_QP"
        for query, key in zip(queries[view], keys[view], strict=True):
            positive = torch.exp(unit(query) @ unit(key) / 0.1)
            negatives = sum(torch.exp(unit(query) @ row / 0.1) for row in state[name].clone())
            total = total - torch.log(positive / (positive + negatives))
        for place, key in enumerate(keys[view]):
            state[name][(step * BATCH + place) % 7] = unit(key)
    return total / (2 * BATCH)


def vicreg(state: State, views: list[Tensor], how: Views, step: int) -> Tensor:
    first, second = projected(state, views, how)
    width = len(first[0])
    loss = sum(((a - b) ** 2).sum() for a, b in zip(first, second, strict=True)) / (BATCH * width)
    for rows in (first, second):
        mean = sum(rows) / BATCH
        covariance = [
            [sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in rows) / (BATCH - 1) for j in range(width)]
            for i in range(width)
        ]
        loss = loss + sum((1 - (covariance[i][i] + 1e-4) ** 0.5).clamp(min=0) for i in range(width)) / width
        loss = loss + 0.1 * sum(covariance[i][j] ** 2 for i in range(width) for j in range(width) if i != j) / width
    assert isinstance(loss, Tensor)
    return loss


def swav(state: State, views: list[Tensor], how: Views, step: int) -> Tensor:
    """The queue of 4 is filled by the first step and used from the third on (an epoch each)."""
    prototypes = [n * unit(w) for n, w in zip(state["prototypes.length_K"], state["prototypes.weight"], strict=True)]
    rows = [[unit(row) for row in view] for view in projected(state, views, how)]
    scores = [[[row @ prototype for prototype in prototypes] for row in view] for view in rows]
    queued = [state[f"queue_{view}.rows_QP"] if step >= 2 else [] for view in (1, 2)]
    targets = [
        balanced(
            [[float(s.detach()) for s in row] for row in view]
            + [[float((row @ p).detach()) for p in prototypes] for row in queue]
        )
        for view, queue in zip(scores, queued, strict=True)
    ]
    loss = torch.zeros((), dtype=torch.float64)
    for view in range(2):
        for row, target in zip(scores[view], targets[1 - view], strict=False):
            below = sum(torch.exp(score / 0.1) for score in row)
            loss = loss - sum(q * torch.log(torch.exp(s / 0.1) / below) for s, q in zip(row, target, strict=True))
    for view in range(2):
        for place, row in list(enumerate(rows[view]))[-4:]:
            state[f"queue_{view + 1}.rows_QP"][(step * BATCH + place) % 4] = row.detach()
    return loss / (2 * BATCH)


def balanced(scores: list[list[float]]) -> list[list[float]]:
    """Sinkhorn: columns, then rows, are scaled to a sum of 1, three times."""
    values = [[math.exp(score / 0.05) for score in row] for row in scores]
    for _ in range(3):
        sums = [sum(column) for column in zip(*values, strict=True)]
        values = [[value / total for value, total in zip(row, sums, strict=True)] for row in values]
        values = [[value / sum(row) for value in row] for row in values]
    return values


LOSSES = {"simclr": simclr, "moco": moco, "vicreg": vicreg, "swav": swav}


# -- steps ---------------------------------------------------------------------------------------------------------


def draw(step: int) -> list[Tensor]:
    chance = torch.Generator().manual_seed(step)
    return [torch.randn(BATCH, BANDS, 2, generator=chance, dtype=torch.float64) for _ in range(2)]


def made(name: str, how: Views) -> Method:
    torch.manual_seed(1)
    method, config = METHODS[name]
    return method(Tiny(), config(views=how)).double().train()


def steps_of_the_method(method: Method) -> list[float]:
    step = TrainingStep(method, PositiveSampler(None, SamplerFacts(BATCH)))
    optimiser = make_optimiser(method, OptimisationConfig(learning_rate=RATE))
    losses = []
    for number in range(STEPS):
        progress = Progress(float(number), span=10)
        method.before_step(progress)
        loss, _ = step(draw(number), torch.arange(BATCH), None)
        optimiser.zero_grad()
        loss.backward()
        method.after_backward(progress)
        optimiser.step()
        method.after_step(progress)
        losses.append(loss.item())
    return losses


def steps_by_hand(name: str, state: State, trained: list[str], how: Views) -> list[float]:
    losses, first, second = [], {}, {}
    for number in range(STEPS):
        for key in trained:
            state[key] = state[key].detach().requires_grad_()
        loss = LOSSES[name](state, draw(number), how, number)
        gradients = dict(zip(trained, torch.autograd.grad(loss, [state[key] for key in trained]), strict=True))
        for key, gradient in gradients.items():
            first[key] = 0.9 * first.get(key, 0) + 0.1 * gradient
            second[key] = 0.999 * second.get(key, 0) + 0.001 * gradient**2
            mean, square = first[key] / (1 - 0.9 ** (number + 1)), second[key] / (1 - 0.999 ** (number + 1))
            state[key] = state[key].detach() - RATE * mean / (square**0.5 + 1e-8)
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("how", ["apart", "together"])
@pytest.mark.parametrize("name", METHODS)
def test_steps_are_those_of_loops(name: str, how: Views) -> None:
    method = made(name, how)
    state = {key: tensor.detach().clone() for key, tensor in method.state_dict().items()}
    trained = [key for key, parameter in method.named_parameters() if parameter.requires_grad]
    assert steps_of_the_method(method) == pytest.approx(steps_by_hand(name, state, trained, how), rel=1e-10)
    for key, tensor in method.state_dict().items():
        if not key.endswith(("head", "entered")):
            found, expected = tensor, state[key].detach()
            # A bias before a batch norm has no gradient but rounding, which Adam divides by 1e-8.
            assert torch.allclose(found, expected, rtol=1e-8, atol=1e-7), (key, found - expected)


@pytest.mark.parametrize("name", METHODS)
def test_apart_and_together_differ_in_gradient_and_in_running_statistics(name: str) -> None:
    found = {how: made(name, how) for how in ("apart", "together")}
    for method in found.values():
        steps_of_the_method(method)
    apart, together = (method.state_dict() for method in found.values())
    assert int(apart["encoder.norm.num_batches_tracked"]) == 2 * int(together["encoder.norm.num_batches_tracked"])
    assert not torch.allclose(apart["encoder.linear.weight"], together["encoder.linear.weight"], atol=1e-4)


@pytest.mark.parametrize("how", ["apart", "together"])
def test_a_compiled_encoder_takes_the_same_steps(how: Views) -> None:
    """Traced, without generated code: running statistics move between two passes of one step."""
    eager, compiled = made("vicreg", how), made("vicreg", how)
    compiled.encoder.compile(backend="aot_eager")
    assert steps_of_the_method(compiled) == pytest.approx(steps_of_the_method(eager), rel=1e-9)
    for key, tensor in compiled.state_dict().items():
        torch.testing.assert_close(tensor, eager.state_dict()[key], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("how", ["apart", "together"])
@pytest.mark.parametrize("name", METHODS)
def test_views_are_the_same_in_evaluation(name: str, how: Views) -> None:
    """The pass over all utterances that fills a queue, after which no statistics have moved."""
    method = made(name, how)
    steps_of_the_method(method)
    before = {key: tensor.clone() for key, tensor in method.state_dict().items()}
    step = TrainingStep(method, PositiveSampler(None, SamplerFacts(BATCH)))
    both = step.project_positives(draw(0))
    rows = [step.project_positives([view[row : row + 1] for view in draw(0)]) for row in range(BATCH)]
    torch.testing.assert_close(both, torch.cat(rows, 1))
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.state_dict().items())
