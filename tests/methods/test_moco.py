"""MoCo: its loss against the authors' figures and a loop, keys and queues, what moves and what does not."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrast_steps import WIDTH, adam, changed, copied, small, train_step, views
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.methods.base import Pairs, encode
from sslsv_tk.methods.moco import MoCo, MoCoConfig, cosine_measures, info_nce_loss
from sslsv_tk.schedules import Progress

BEGIN = Progress(0.0, span=20)


def make(**settings: Any) -> MoCo:
    method = small(MoCo, MoCoConfig(**{"queue_size": 6, **settings}))
    assert isinstance(method, MoCo)
    return method


def rows(count: int, seed: int, width: int = 5) -> Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def naive(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> float:
    """Equation (1) of He et al., term by term; the queue as rows."""
    total = 0.0
    for q, k in zip(query, key, strict=True):
        own = math.exp(cosine(q, k) / temperature)
        total -= math.log(own / (own + sum(math.exp(cosine(q, row) / temperature) for row in queue)))
    return total / len(query)


def test_the_loss_is_that_of_the_authors(reference_folder: Path) -> None:
    reference = np.load(reference_folder / "loss_moco.npz")
    query, key, queue_DK = (torch.from_numpy(reference[name]) for name in ("query", "key", "queue_DK"))
    loss = info_nce_loss(query, key, queue_DK, float(reference["temperature"]))
    assert loss.item() == pytest.approx(float(reference["loss"]), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.03, 0.5])
@pytest.mark.parametrize(("batch", "size"), [(1, 1), (3, 7), (7, 3)])
def test_the_loss_is_that_of_loops_over_the_equation(batch: int, size: int, temperature: float) -> None:
    query, key, queue = rows(batch, 1), rows(batch, 2), rows(size, 3)
    found = info_nce_loss(query, key, normalize(queue, dim=1).T, temperature)
    assert found.item() == pytest.approx(naive(query, key, queue, temperature), abs=1e-9)
    assert torch.allclose(found, info_nce_loss(9 * query, 0.1 * key, normalize(queue, dim=1).T, temperature))


def test_equal_rows_give_the_logarithm_of_the_candidates() -> None:
    same = torch.ones(4, 3) / math.sqrt(3)
    assert info_nce_loss(same, same, same[:1].T.expand(3, 7), 0.03).item() == pytest.approx(math.log(8), rel=1e-5)


def test_a_negative_that_is_nearer_than_the_key_costs_its_lead_over_the_temperature() -> None:
    query, key, queue_DK = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0], [0.0]])
    assert info_nce_loss(query, key, queue_DK, 0.03).item() == pytest.approx(1 / 0.03, rel=1e-6)


def test_measures_are_mean_cosines_with_the_key_and_with_the_queue() -> None:
    query, key, queue = rows(3, 1), rows(3, 2), rows(4, 3)
    found = cosine_measures(query, key, normalize(queue, dim=1).T)
    assert float(found["positive_cosine"]) == pytest.approx(
        np.mean([cosine(q, k) for q, k in zip(query, key, strict=True)])
    )
    # the mean over all pairs is the cosine sum, term by term
    assert float(found["negative_cosine"]) == pytest.approx(np.mean([cosine(q, row) for q in query for row in queue]))


def test_each_query_gets_the_key_of_the_other_view() -> None:
    method = make()
    with torch.no_grad():
        for parameter in method.key_encoder.parameters():
            parameter.mul_(1.1)
    inputs = views(0)
    queries, keys = method.project(inputs)
    assert queries.shape == keys.shape == (2, 4, method.projection_dimension) == (2, 4, WIDTH)
    torch.testing.assert_close(queries, encode(method.encoder, inputs, "apart"))
    torch.testing.assert_close(keys, encode(method.key_encoder, inputs, "apart").flip(0))
    assert not torch.allclose(queries[0], keys[1], atol=1e-3)


def test_with_partners_the_keys_are_those_of_the_partner() -> None:
    method = make()
    inputs = views(0, count=4)
    queries, keys = method.project(inputs)
    torch.testing.assert_close(queries, encode(method.encoder, inputs[:2], "apart"))
    torch.testing.assert_close(keys, encode(method.key_encoder, inputs[2:], "apart").flip(0))


def test_the_plan_is_two_segments_that_serve_both_sides() -> None:
    plan = make(segment_seconds=1.5).segments
    assert [(s.seconds, s.side, s.augmented) for s in plan] == [(1.5, "both", True)] * 2
    assert make().slots == 2


def test_the_loss_is_the_mean_of_both_directions_each_with_its_queue() -> None:
    method = make(temperature=0.2)
    queries, keys = (rows.detach() for rows in method.project(views(0)))
    expected = [
        naive(query.double(), key.double(), queue.rows_QP.double(), 0.2)
        for query, key, queue in zip(queries, keys, (method.queue_1, method.queue_2), strict=True)
    ]
    assert method.loss(Pairs(queries, keys)).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)


def test_queues_begin_with_unit_rows_of_the_seed() -> None:
    first, again = make(), make()
    other = small(MoCo, MoCoConfig(queue_size=6), seed=1)
    assert torch.allclose(first.queue_1.rows_QP.norm(dim=1), torch.ones(6))
    assert torch.equal(first.queue_1.rows_QP, again.queue_1.rows_QP)
    assert not torch.equal(first.queue_1.rows_QP, first.queue_2.rows_QP)
    assert not torch.equal(first.queue_1.rows_QP, other.queue_1.rows_QP)


@pytest.mark.parametrize("size", [1, 3, 6, 9])
def test_the_newest_keys_are_in_the_queues_whatever_the_batches(size: int) -> None:
    """Full batches, then a short last one; also a queue that is smaller than a batch."""
    method = make(queue_size=size, views="together")
    kept: list[list[Tensor]] = [list(queue.rows_QP.clone()) for queue in (method.queue_1, method.queue_2)]
    for step, batch in enumerate((4, 4, 1, 4)):
        queries, keys = method.project(views(step, batch))
        method.loss(Pairs(queries, keys))
        method.after_step(BEGIN)
        for slot in range(2):
            kept[slot] = [*kept[slot], *normalize(keys[slot], dim=1)][-size:]
    for queue, expected in zip((method.queue_1, method.queue_2), kept, strict=True):
        head = int(queue.head)
        torch.testing.assert_close(queue.rows_QP.roll(-head, 0), torch.stack(expected))


def test_replaced_keys_enter_the_queues() -> None:
    method = make()
    queries, keys = method.project(views(0))
    replaced = keys.clone()
    replaced[:, 2] = torch.arange(1.0, WIDTH + 1)
    method.loss(Pairs(queries, replaced))
    method.after_step(BEGIN)
    for queue in (method.queue_1, method.queue_2):
        torch.testing.assert_close(queue.rows_QP[2], normalize(torch.arange(1.0, WIDTH + 1), dim=0))


def test_keys_enter_once_and_only_after_a_loss() -> None:
    method = make()
    before = copied(method)
    method.after_step(BEGIN)
    assert not changed(method, before)
    method.loss(Pairs(*method.project(views(0))))
    method.after_step(BEGIN)
    once = int(method.queue_1.entered)
    method.after_step(BEGIN)
    assert int(method.queue_1.entered) == once == 4


def test_the_gradient_reaches_the_encoder_and_no_key() -> None:
    method = make()
    queries, keys = method.project(views(0))
    assert queries.requires_grad and not keys.requires_grad
    method.loss(Pairs(queries, keys)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.encoder.parameters() if p.ndim > 1)
    assert all(p.grad is None and not p.requires_grad for p in method.key_encoder.parameters())


def test_the_key_encoder_follows_by_its_momentum() -> None:
    method = make(momentum=0.9)
    optimiser = adam(method)
    train_step(method, optimiser, views(0))
    key = {name: parameter.clone() for name, parameter in method.key_encoder.named_parameters()}
    method.before_step(BEGIN)
    for name, parameter in method.encoder.named_parameters():
        expected = 0.9 * key[name] + 0.1 * parameter
        torch.testing.assert_close(method.key_encoder.get_parameter(name), expected.detach(), atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(p, key[name]) for name, p in method.key_encoder.named_parameters())


def test_the_key_encoder_has_batch_statistics_of_its_own_passes() -> None:
    method = make()
    before = copied(method)
    method.project(views(0, count=4))  # queries and keys from different audio
    moved = changed(method, before)
    assert "key_encoder.norm.running_mean" in moved and "encoder.norm.running_mean" in moved
    assert not torch.equal(method.key_encoder.norm.running_mean, method.encoder.norm.running_mean)


def norms(method: MoCo) -> tuple[Tensor, Tensor]:
    """Running means of the first batch norm of encoder and key encoder."""
    return method.encoder.norm.running_mean.clone(), method.key_encoder.norm.running_mean.clone()


def test_with_averaged_statistics_a_key_says_nothing_of_its_batch() -> None:
    method, inputs = make(key_statistics="average"), views(0)
    _, keys = method.project(inputs)
    _, alone = method.project([view[:2] for view in inputs])
    torch.testing.assert_close(keys[:, :2], alone, atol=1e-5, rtol=1e-4)
    assert method.key_encoder.training, "only the pass is in evaluation mode"
    _, of_batch = make(key_statistics="batch").project(inputs)
    _, of_part = make(key_statistics="batch").project([view[:2] for view in inputs])
    assert not torch.allclose(of_batch[:, :2], of_part, atol=1e-3)


def test_averaged_statistics_follow_those_of_the_encoder() -> None:
    method = make(key_statistics="average", momentum=0.75)
    train_step(method, adam(method), views(0))
    encoder, key = norms(method)
    method.before_step(Progress(0.1, span=20))
    torch.testing.assert_close(norms(method)[1], 0.75 * key + 0.25 * encoder)


def test_steps_change_encoder_key_encoder_and_queues() -> None:
    method = make(momentum=0.9)
    before = copied(method)
    optimiser = adam(method)
    for step in range(2):
        assert math.isfinite(train_step(method, optimiser, views(step)))
    moved = changed(method, before)
    trained = {f"encoder.{name}" for name, p in method.encoder.named_parameters() if p.ndim > 1}
    assert all(".gate." in name for name in trained - moved), "a gate's one hidden unit may lie below its ReLU"
    trained &= moved
    assert {f"key_{name}" for name in trained} <= moved
    assert {"queue_1.rows_QP", "queue_2.rows_QP", "queue_1.head", "queue_2.entered"} <= moved


def test_epoch_files_do_without_keys_and_queues() -> None:
    method = make()
    names = set(method.weights())
    assert names == {f"encoder.{name}" for name in method.encoder.state_dict()}
    other = small(MoCo, MoCoConfig(queue_size=3), seed=1)
    other.load_weights(method.weights())
    assert not changed(other, {**copied(other), **method.weights()})


def test_extraction_uses_the_encoder_of_the_queries() -> None:
    method = make()
    assert method.scoring_encoder() is method.encoder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature of moco must be above 0; found 0.0"),
        ({"queue_size": 0}, "queue_size of moco must be at least 1"),
        ({"momentum": 1.0}, "to below 1 .it never moves.; found 1.0"),
        ({"momentum": -0.1}, "momentum of moco must be from 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoCoConfig(**settings)
