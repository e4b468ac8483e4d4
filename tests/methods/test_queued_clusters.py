"""MoCo's queues with the clusters of their keys: what is left out, for one epoch, from any state."""

import copy

import pytest
import torch
from clustered_rows import WIDTH, is_left_out, make_moco, naive_info_nce
from contrast_steps import copied
from torch import Tensor
from torch.nn.functional import normalize
from two_processes import numbers

from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.moco import MoCo
from sslsv_tk.schedules import Progress

SPAN = 20


def batch_of(step: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (2, B, D), keys (2, B, D) and clusters of a step."""
    clusters_2B = torch.randint(-1, 3, (2, batch), generator=torch.Generator().manual_seed(step))
    return numbers(10 * step, 2, batch, WIDTH).float(), numbers(10 * step + 1, 2, batch, WIDTH).float(), clusters_2B


def run_step(method: MoCo, epochs: float, queries: Tensor, keys: Tensor, clusters: Tensor | None) -> tuple[float, ...]:
    progress = Progress(epochs, SPAN)
    method.before_step(progress)
    loss = method.loss(Pairs(queries, keys, clusters_2B=clusters))
    method.after_step(progress)
    return loss.item(), float(method.measures()["masked_share"])


@pytest.mark.parametrize("size", [1, 3, 7, 30])
def test_queued_keys_are_left_out_by_the_clusters_of_their_epoch(size: int) -> None:
    """Batches that wrap, also larger than the queue, and short last ones; the third and the sixth begin an epoch."""
    method = make_moco(queue_size=size)
    kept = [list(queue.rows_QP.clone()) for queue in (method.queue_1, method.queue_2)]
    queued, left_out = [-1] * size, 0.0
    for step, (epochs, batch) in enumerate([(4.0, 4), (4.5, 2), (5.0, 4), (5.4, 4), (5.8, 1), (6.0, 4), (6.5, 4)]):
        queries, keys, clusters = batch_of(step, batch)
        if epochs == int(epochs):
            queued = [-1] * size
        progress = Progress(epochs, SPAN)
        method.before_step(progress)
        expected = [naive_info_nce(queries[v], keys[v], kept[v], queued, clusters, 0.3) for v in range(2)]
        assert method.loss(Pairs(queries, keys, clusters_2B=clusters)).item() == pytest.approx(
            sum(expected) / 2, rel=1e-5
        )
        share = sum(is_left_out(clusters, i, k) for i in range(batch) for k in queued) / (batch * size)
        assert float(method.measures()["masked_share"]) == pytest.approx(share)
        left_out += share
        method.after_step(progress)
        queued = [*queued, *clusters[1].tolist()][-size:]
        kept = [[*kept[v], *normalize(keys[v], dim=1)][-size:] for v in range(2)]
    assert left_out > 0.2


def test_steps_without_clusters_leave_nothing_out_and_bring_unknown_ones() -> None:
    """As in stage 4; the queues of keys and of clusters stay side by side."""
    masked, plain = make_moco(), make_moco(mask_same_cluster=False)
    for step in range(3):
        queries, keys, _ = batch_of(step, 4)
        losses = []
        for method in (masked, plain):
            method.before_step(Progress(0.1 * step, SPAN))
            losses.append(method.loss(Pairs(queries, keys)).item())
            method.after_step(Progress(0.1 * step, SPAN))
        assert losses[0] == losses[1] and float(masked.measures()["masked_share"]) == 0
    assert masked.queue_clusters is not None and masked.queue_clusters.rows_QP.eq(-1).all()
    assert int(masked.queue_clusters.head) == int(masked.queue_1.head) == 12 % 7


def test_moco_without_the_option_ignores_clusters_and_has_the_state_it_always_had() -> None:
    method = make_moco(mask_same_cluster=False)
    queries, keys, clusters = batch_of(0, 4)
    assert method.loss(Pairs(queries, keys, clusters_2B=clusters)).item() == method.loss(Pairs(queries, keys)).item()
    assert "masked_share" not in method.measures()
    assert not [name for name in method.state_dict() if "clusters" in name]
    assert {name.partition(".")[0] for name in make_moco().weights()} == {"encoder"}, "epoch files do without"


@pytest.mark.parametrize("epochs", [5.6, 6.0])
def test_moco_goes_on_identically_from_its_state(epochs: float) -> None:
    """In the same epoch with the clusters it had, in a new one without."""
    method = make_moco()
    for step, before in enumerate((5.0, 5.3)):
        run_step(method, before, *batch_of(step, 4))
    other = make_moco(seed=1)
    other.load_state_dict(copied(method))
    for step in (2, 3):
        assert run_step(other, epochs, *batch_of(step, 4)) == run_step(method, epochs, *batch_of(step, 4))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in method.state_dict().items())


def test_the_mask_may_begin_with_stage_5() -> None:
    """The state of a run without it has keys of unknown clusters, and new ones take their places."""
    plain = make_moco(mask_same_cluster=False)
    for step in range(2):
        queries, keys, _ = batch_of(step, 4)
        plain.loss(Pairs(queries, keys))
        plain.after_step(Progress(0.5, SPAN))
    masked, state = make_moco(seed=1), copied(plain)
    masked.load_state_dict(copy.deepcopy(state))
    assert masked.queue_clusters is not None and masked.queue_clusters.rows_QP.eq(-1).all()
    assert int(masked.queue_clusters.head) == int(masked.queue_1.head) == 1
    assert run_step(masked, 1.0, *batch_of(2, 4))[1] == 0
    assert masked.queue_clusters.rows_QP[:, 0].tolist() == [-1, *batch_of(2, 4)[2][1].tolist(), -1, -1]
