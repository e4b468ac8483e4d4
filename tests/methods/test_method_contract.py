"""What every method of the registry owes, plugins too, as docs/add_a_method.md explains it.

pytest tests/methods/test_method_contract.py -k my_method
"""

import contextlib
import copy
import dataclasses
import math

import pytest
import torch
from small_settings import ENCODERS, METHODS, WITH_POSITIVES, small_encoder, small_method
from torch import Tensor

from sslsv_tk import config
from sslsv_tk.methods.base import Method, Pairs, evaluation_mode
from sslsv_tk.nn.row_queue import RowQueue
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.schedules import Progress
from sslsv_tk.training.step import TrainingStep

BATCH, SPEAKERS, SPAN = 5, 3, 10
CASES = [
    *((name, None) for name in METHODS),
    *((name, switch) for name, cls in METHODS.items() for switch in cls.needs_clusters),
]


def made(name: str, switch: str | None = None, seed: int = 0) -> Method:
    """A small method in training mode; `switch`: a setting that looks at clusters, switched on."""
    torch.manual_seed(seed)
    settings = {switch: True} if switch else {}
    return small_method(name, small_encoder(), SPEAKERS, **settings).train()


@pytest.fixture(params=CASES, ids=[name if switch is None else f"{name}, {switch}" for name, switch in CASES])
def method(request: pytest.FixtureRequest) -> Method:
    return made(*request.param)


def views_of(method: Method, batch: int = BATCH, seed: int = 0, partners: bool = False) -> list[Tensor]:
    """Views in the order of the plan; with `partners` each segment that serves both sides once more, at the end."""
    draw = torch.Generator().manual_seed(seed)
    again = [segment for segment in method.segments if segment.side == "both"] if partners else []
    return [
        torch.randn(batch, 40, round(100 * segment.seconds) + 1, generator=draw)
        for segment in (*method.segments, *again)
    ]


def pairs_of(method: Method, projected: tuple[Tensor, Tensor], seed: int = 0) -> Pairs:
    """With the labels and clusters that the method may look at; some clusters are unknown."""
    batch = projected[0].shape[1]
    clusters_2B = torch.randint(-1, 3, (2, batch), generator=torch.Generator().manual_seed(seed))
    labels_B = torch.arange(batch) % SPEAKERS if method.needs_labels else None
    return Pairs(*projected, labels_B, clusters_2B)


def snapshot(method: Method) -> dict[str, Tensor]:
    return copy.deepcopy(method.state_dict())


def changed(method: Method, before: dict[str, Tensor]) -> set[str]:
    """Names of the state that is no longer what it was."""
    return {name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])}


def sgd(method: Method) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.05, momentum=0.9)


def train_step(method: Method, optimiser: torch.optim.Optimizer, number: int) -> float:
    """A step as the training loop makes it, half an epoch after the one before."""
    progress = Progress(number / 2, SPAN)
    method.before_step(progress)
    loss = method.loss(pairs_of(method, method.project(views_of(method, seed=number)), seed=number))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    method.after_backward(progress)
    optimiser.step()
    method.after_step(progress)
    return loss.item()


# -- what it says of itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_the_settings_are_a_frozen_dataclass_whose_defaults_are_accepted(name: str) -> None:
    settings = METHODS[name].Config()
    assert dataclasses.is_dataclass(settings) and type(settings).__dataclass_params__.frozen
    assert config.build(METHODS[name].Config, config.to_dict(settings)) == settings, "they go through a YAML file"
    for switch in METHODS[name].needs_clusters:
        assert getattr(settings, switch) is False, "stage 4 has no clusters"


def test_what_only_training_reads_is_there(method: Method) -> None:
    names = method.state_dict().keys()
    for prefix in method.training_only:
        assert any(name.startswith(prefix) for name in names), prefix
    assert any(name.startswith("encoder.") for name in method.weights())


def test_shapes_and_plan_agree(method: Method) -> None:
    sides = {segment.side for segment in method.segments}
    assert sides <= {"anchor", "positive", "both"} and sides & {"anchor", "both"}
    assert bool(sides & {"positive", "both"}) == (method.slots > 0)
    anchors_ABP, positives_SBP = method.project(views_of(method))
    assert anchors_ABP.ndim == positives_SBP.ndim == 3
    assert len(positives_SBP) == method.slots and anchors_ABP.shape[1] == positives_SBP.shape[1] == BATCH
    assert positives_SBP.shape[2] == method.projection_dimension
    if method.projects_embeddings:
        assert method.projection_dimension == method.scoring_encoder().dimension
    assert anchors_ABP.requires_grad


# -- the loss ------------------------------------------------------------------------------------------------------


def test_the_loss_is_a_finite_number_that_writes_nothing(method: Method) -> None:
    pairs = pairs_of(method, method.project(views_of(method)))
    before = snapshot(method)
    loss = method.loss(pairs)
    assert loss.shape == () and loss.isfinite() and loss.requires_grad and loss.dtype == torch.float32
    assert torch.equal(method.loss(pairs), loss) and not changed(method, before)


def test_the_gradient_reaches_the_encoder_and_nothing_that_is_frozen(method: Method) -> None:
    method.loss(pairs_of(method, method.project(views_of(method)))).backward()
    gradients = {name: parameter.grad for name, parameter in method.encoder.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    matrices = [name for name, parameter in method.encoder.named_parameters() if parameter.ndim > 1]
    silent = {name for name in matrices if not gradients[name].any()}  # type: ignore[union-attr]
    assert all(".gate." in name for name in silent), "a gate's one hidden unit may lie below its ReLU"
    assert all(p.grad is None for p in method.parameters() if not p.requires_grad)


def test_the_order_of_a_batch_does_not_matter(method: Method) -> None:
    twin, order_B = copy.deepcopy(method), torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))
    pairs = pairs_of(method, method.project(views_of(method)))
    permuted = pairs_of(method, twin.project([view[order_B] for view in views_of(method)]))
    permuted = dataclasses.replace(
        permuted,
        labels_B=None if pairs.labels_B is None else pairs.labels_B[order_B],
        clusters_2B=pairs.clusters_2B[:, order_B],
    )
    assert twin.loss(permuted).item() == pytest.approx(method.loss(pairs).item(), rel=1e-3, abs=1e-4)


def test_measures_are_detached_numbers(method: Method) -> None:
    method.loss(pairs_of(method, method.project(views_of(method))))
    found = method.measures()
    assert {"embedding_deviation", "effective_rank"} < found.keys(), "self.encode measures them"
    assert all(value.shape == () and value.isfinite() and not value.requires_grad for value in found.values())


def test_a_batch_of_one_is_refused_or_trained_on(method: Method) -> None:
    try:
        loss = method.loss(pairs_of(method, method.project(views_of(method, 1))))
    except ValueError as error:
        assert "training.batch_size" in str(error)
        return
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_one_utterance_can_be_projected_in_evaluation_mode(method: Method) -> None:
    """The pass that fills queues has a last batch of any size."""
    before = snapshot(method)
    with evaluation_mode(method), torch.no_grad():
        together = method.project(views_of(method))
        alone = method.project([view[:1] for view in views_of(method)])
    for several, one in zip(together, alone, strict=True):
        assert several.isfinite().all() and one.isfinite().all() and one.shape[1] == 1
    assert not changed(method, before)


def test_projections_in_bf16_give_a_loss_in_single_precision(method: Method) -> None:
    step = TrainingStep(method, PositiveSampler(None, SamplerFacts(BATCH)), "bf16")
    labels_B = torch.arange(BATCH) % SPEAKERS if method.needs_labels else None
    loss, _ = step(views_of(method), torch.arange(BATCH), None, labels_B)
    assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.parametrize(("name", "switch"), CASES)
def test_steps_at_full_size_do_not_wait_for_the_device(
    name: str, switch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory there is no number to wait for, so that asking for one is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(RowQueue, "is_full", lambda _: True)
    cls, encoder = METHODS[name], ENCODERS["fast_resnet34"]
    with torch.device("meta"):
        settings = config.build(cls.Config, {switch: True} if switch else {})
        method = cls(encoder(encoder.Config()), settings, 100 if cls.needs_labels else None)
        views = [torch.empty(8, 40, round(100 * segment.seconds) + 1) for segment in method.segments]
        labels_B = torch.empty(8, dtype=torch.int64) if method.needs_labels else None
        clusters_2B = torch.empty(2, 8, dtype=torch.int64)
    for progress in (Progress(49.5, 100), Progress(50.0, 100)):
        method.before_step(progress)
        method.loss(Pairs(*method.project(views), labels_B, clusters_2B)).backward()
        method.after_backward(progress)
        method.after_step(progress)
    assert all(number.shape == () for number in method.measures().values())


# -- positives of another utterance --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_POSITIVES)
def test_rows_of_another_utterance_may_be_the_positives(name: str) -> None:
    """Constants out of a queue: the loss is another one, and its gradient still reaches the encoder."""
    method = made(name)
    pairs = pairs_of(method, method.project(views_of(method)))
    with evaluation_mode(method), torch.no_grad():
        others_SBP = method.project(views_of(method, seed=1))[1]
    own = method.loss(pairs)
    loss = method.loss(dataclasses.replace(pairs, positives_SBP=others_SBP))
    assert loss.isfinite() and loss.item() != own.item()
    loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in method.encoder.parameters())
    method.after_step(Progress(2.0, SPAN))


@pytest.mark.parametrize("name", WITH_POSITIVES)
def test_positives_may_be_cut_from_a_partner(name: str) -> None:
    """Where segments serve both sides they come twice: anchors are of the first, positives of the second."""
    method = made(name)
    twin = copy.deepcopy(method)
    views = views_of(method, partners=True)
    planned = len(method.segments)
    if len(views) == planned:  # the loader cuts the positive's segment from the partner
        views = [
            view if segment.side == "anchor" else view.flip(0)
            for view, segment in zip(views, method.segments, strict=True)
        ]
    anchors_ABP, positives_SBP = method.project(views)
    own_ABP, own_SBP = twin.project(views_of(method, partners=True)[:planned])
    assert positives_SBP.shape == own_SBP.shape and not torch.allclose(positives_SBP, own_SBP, atol=1e-3)
    assert anchors_ABP.shape == own_ABP.shape
    assert method.loss(pairs_of(method, (anchors_ABP, positives_SBP))).isfinite()


# -- state ---------------------------------------------------------------------------------------------------------


def test_weights_make_the_same_embeddings(method: Method, request: pytest.FixtureRequest) -> None:
    optimiser = sgd(method)
    for number in range(2):
        train_step(method, optimiser, number)
    weights, whole = method.weights(), method.state_dict()
    assert weights.keys() <= whole.keys()
    other = made(*request.node.callspec.params["method"], seed=1)
    other.load_weights(weights)
    x = views_of(method)[0]
    assert torch.equal(other.embed_reference(x), method.embed_reference(x))
    other.load_weights(whole)
    assert not changed(other, whole)
    with pytest.raises(RuntimeError):
        other.load_weights({name: weights[name] for name in list(weights)[1:]})


@pytest.mark.parametrize("steps", [0, 1, 9])
def test_a_run_goes_on_from_its_state_to_the_same_bits(
    method: Method, request: pytest.FixtureRequest, steps: int
) -> None:
    """Also before the first step, and where queues are full and an epoch has ended."""
    optimiser = sgd(method)
    for number in range(steps):
        assert math.isfinite(train_step(method, optimiser, number))
    other = made(*request.node.callspec.params["method"], seed=1)
    other.load_state_dict(snapshot(method))
    resumed = sgd(other)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for number in range(steps, steps + 3):
        assert train_step(other, resumed, number) == train_step(method, optimiser, number)
    assert not changed(other, method.state_dict())


def test_steps_move_the_encoder_that_is_evaluated(method: Method) -> None:
    before, optimiser = snapshot(method), sgd(method)
    for number in range(3):
        train_step(method, optimiser, number)
    moved = changed(method, before)
    assert any(name.startswith("encoder.") for name in moved)
    scored = method.scoring_encoder()
    assert any(part is scored for part in method.modules()), "it is part of the state"


def test_hooks_may_be_called_before_any_loss(method: Method) -> None:
    """As where a run ends between the pass that fills queues and its first step."""
    method.before_step(Progress(0.0, SPAN))
    before = snapshot(method)
    method.after_backward(Progress(0.0, SPAN))
    assert not changed(method, before)
    assert all(tensor.isfinite().all() for tensor in method.state_dict().values() if tensor.is_floating_point())
