"""DINO: which network sees which views, and positives of other utterances from a queue or from audio."""

import copy
import math
from typing import Any

import pytest
import torch
from small_dino import BATCH, LONG, SHORT, eight, make, six, views_of
from torch import Tensor

from sslsv_tk.methods.base import Pairs, evaluation_mode
from sslsv_tk.methods.dino import DINO
from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig
from sslsv_tk.training.step import TrainingStep


def test_the_plan_is_two_long_segments_for_both_and_four_short_ones() -> None:
    assert [(s.seconds, s.side, s.augmented) for s in make().segments] == [
        (4.0, "both", True),
        (4.0, "both", True),
        *[(2.0, "anchor", True)] * 4,
    ]


def test_numbers_and_lengths_of_views_are_settings() -> None:
    method = make(global_views=3, global_seconds=3.0, local_views=1, local_seconds=1.0)
    assert [s.seconds for s in method.segments] == [3.0, 3.0, 3.0, 1.0] and method.slots == 3
    anchors_ABP, positives_SBP = method.project(views_of(LONG, LONG, LONG, SHORT))
    assert anchors_ABP.shape == (4, BATCH, 6) and positives_SBP.shape == (3, BATCH, 6)


def test_without_local_views_the_global_ones_predict_each_other() -> None:
    method = make(local_views=0)
    anchors_ABP, positives_SBP = method.project(views_of(LONG, LONG))
    assert anchors_ABP.shape == positives_SBP.shape == (2, BATCH, 6)
    assert math.isfinite(method.loss(Pairs(anchors_ABP, positives_SBP)).item())


def test_projections_are_unit_rows_of_the_bottleneck() -> None:
    method = make()
    anchors_ABP, positives_SBP = method.project(six())
    assert anchors_ABP.shape == (6, BATCH, 6) and positives_SBP.shape == (2, BATCH, method.projection_dimension)
    for rows in (anchors_ABP, positives_SBP):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:2]))
    assert anchors_ABP.requires_grad and not positives_SBP.requires_grad


def test_global_and_local_views_pass_in_two_groups() -> None:
    method, views = make(), six()
    twin = copy.deepcopy(method)
    anchors_ABP, positives_SBP = method.project(views)
    long = twin.head(twin.encoder(torch.cat(views[:2]))).view(2, BATCH, 6)
    short = twin.head(twin.encoder(torch.cat(views[2:]))).view(4, BATCH, 6)
    torch.testing.assert_close(anchors_ABP, torch.cat([long, short]))
    torch.testing.assert_close(
        positives_SBP, twin.teacher_head(twin.teacher_encoder(torch.cat(views[:2]))).view(2, -1, 6)
    )


def test_the_teacher_sees_the_partners_segments_and_the_student_its_own() -> None:
    plain, live = make(), make()
    views = eight()
    anchors_ABP, positives_SBP = live.project(views)
    own_ABP, own_SBP = plain.project(views[:6])
    assert torch.equal(anchors_ABP, own_ABP) and not torch.allclose(positives_SBP, own_SBP)
    partners = make().project([*views[6:], *views[2:6]])[1]
    assert torch.equal(positives_SBP, partners)


def test_global_views_of_both_networks_can_be_the_partners() -> None:
    method = make(partner_views="global")
    assert [s.side for s in method.segments] == ["positive"] * 2 + ["anchor"] * 4
    assert torch.equal(method.project(six())[0], make().project(six())[0])
    with pytest.raises(ValueError, match="expected 6 views"):
        method.project(eight())


@pytest.mark.parametrize("count", [2, 5, 7, 9])
def test_another_number_of_views_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"expected 6 views .* or 8 .*; found {count}"):
        make().project((eight() * 2)[:count])


def test_one_utterance_with_one_view_of_a_kind_is_refused_in_training_alone() -> None:
    method = make(global_views=1)
    views = views_of(LONG, SHORT, SHORT, SHORT, SHORT, batch=1)
    with pytest.raises(ValueError, match="at least two segments of a kind"):
        method.project(views)
    with evaluation_mode(method), torch.no_grad():
        assert method.project(views)[1].shape == (1, 1, 6)


# -- positives out of a queue -------------------------------------------------------------------------------------


def with_queue(method: DINO) -> tuple[TrainingStep, Tensor]:
    """A step with one cluster, whose sampler has seen everybody, and the rows (S, B, P) that it keeps of them."""
    facts = SamplerFacts(
        BATCH,
        projection_dimension=method.projection_dimension,
        embedding_dimension=method.scoring_encoder().dimension,
        slots=method.slots,
    )
    sampler = SSPSKMeans(SSPSKMeansConfig(clusters=1, neighbours=0, queue_size=BATCH), facts)
    step = TrainingStep(method, sampler)
    with evaluation_mode(method), torch.no_grad():
        _, kept_SBP = method.project(six())
    sampler.observe(kept_SBP, torch.arange(BATCH), step.embed_references(views_of(LONG)[:1]))
    sampler.start_epoch(0)
    return step, kept_SBP


@pytest.mark.parametrize("settings", [{}, {"queue_outputs": True}, {"partner_views": "global"}])
def test_both_teacher_views_are_replaced_by_those_of_the_same_utterance(settings: dict[str, Any]) -> None:
    method = make(**settings)
    step, kept_SBP = with_queue(method)
    twin = copy.deepcopy(method)
    loss, chosen_B = step(six(1), torch.arange(BATCH), step.embed_references(views_of(LONG)[:1]))
    assert not (chosen_B == torch.arange(BATCH)).any()
    anchors_ABP, _ = twin.project(six(1))
    torch.testing.assert_close(loss, twin.loss(Pairs(anchors_ABP, kept_SBP[:, chosen_B])))
    loss.backward()
    assert method.head.prototypes.weight.grad is not None


def test_a_queue_keeps_the_bottleneck_and_not_the_outputs() -> None:
    step, _ = with_queue(make())
    assert step.sampler.state_dict()["queue.rows"].shape == (BATCH, 2, 6)
    wide, _ = with_queue(make(queue_outputs=True))
    assert wide.sampler.state_dict()["queue.rows"].shape == (BATCH, 2, 20)
