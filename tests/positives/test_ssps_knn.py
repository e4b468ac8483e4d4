"""Nearest neighbours in a queue, against a loop over everything that ever entered."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from ssps_samplers import EMBEDDING, WIDTH, facts, filled, projections, references

from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_knn import SSPSKNN, SSPSKNNConfig


def knn(utterances: int = 40, **more) -> SSPSKNN:
    return filled(utterances, kind=SSPSKNN, **more)


class SlowQueue:
    """A list of (utterance, row number, reference), the oldest first."""

    def __init__(self, size: int) -> None:
        self.size, self.entries = size, []

    def push(self, utterances: list[int], rows: list[float], reference_BD: torch.Tensor) -> None:
        self.entries = [*self.entries, *zip(utterances, rows, reference_BD, strict=True)][-self.size :]

    def nearest(self, utterance: int, reference_D: torch.Tensor, count: int) -> list[tuple[int, float]]:
        """The candidates of an utterance, the nearest first: of each other utterance its newest row."""
        newest = {owner: (row, theirs) for owner, row, theirs in self.entries if owner != utterance}
        by_cosine = sorted(newest, key=lambda owner: -float(newest[owner][1] @ reference_D))
        return [(owner, newest[owner][0]) for owner in by_cosine[:count]]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999),
    size=st.integers(1, 14),
    nearest=st.integers(1, 13),
    weights=st.sampled_from(["uniform", "exponential"]),
    sizes=st.lists(st.integers(1, 17), min_size=1, max_size=6),
)
def test_every_choice_is_one_of_the_nearest_newest_rows_of_others(seed, size, nearest, weights, sizes):
    """A queue that wraps, batches larger than it, rows that a newer one of the same utterance made stale."""
    nearest = min(nearest, max(1, min(size, 12) - 1))
    config = SSPSKNNConfig(nearest=nearest, queue_size=size, weights=weights)
    sampler, random = SSPSKNN(config, facts(12, seed)), np.random.default_rng(seed)
    slow = SlowQueue(min(size, 12))
    sampler.end_pass(0)
    sampler.start_epoch(0)
    entered = 0
    for number, count in enumerate(sizes):
        utterance_B = torch.from_numpy(random.integers(0, 12, count))
        positives_SBP = torch.arange(entered, entered + count, dtype=torch.float32)[None, :, None].expand(1, -1, WIDTH)
        reference_RBD = references(count, seed + number)
        replaced, chosen = sampler.replace(positives_SBP - 1000, utterance_B, reference_RBD)
        for place, utterance in enumerate(utterance_B.tolist()):
            candidates = slow.nearest(utterance, reference_RBD[0, place], nearest)
            found = (int(chosen[place]), float(replaced[0, place, 0]))
            own = (utterance, float(entered + place - 1000))
            assert found in candidates if candidates else found == own
        sampler.observe(positives_SBP, utterance_B, reference_RBD)
        slow.push(utterance_B.tolist(), positives_SBP[0, :, 0].tolist(), reference_RBD[0])
        entered += count


@pytest.mark.parametrize("weights", ["uniform", "exponential"])
def test_ranks_come_as_often_as_their_weights_say(weights):
    sampler = knn(60, nearest=4, queue_size=60, weights=weights, decay=0.5)
    everyone, reference_RBD = torch.arange(60), references(60)
    cosines = reference_RBD[0] @ reference_RBD[0].T - 9 * torch.eye(60)
    nearest = cosines.argsort(dim=1, descending=True)[:, :4].tolist()
    counts = np.zeros(4)
    for epoch in range(60):
        sampler.start_epoch(epoch)
        _, chosen = sampler.replace(projections(everyone), everyone, reference_RBD)
        for anchor, drawn in enumerate(chosen.tolist()):
            counts[nearest[anchor].index(drawn)] += 1
    shares = np.ones(4) if weights == "uniform" else np.exp(-0.5 * np.arange(4))
    assert chisquare(counts, shares / shares.sum() * 3600).pvalue > 1e-3


def test_steep_exponential_weights_take_the_nearest_alone():
    sampler = knn(nearest=30, queue_size=40, weights="exponential", decay=60.0)
    sampler.start_epoch(0)
    everyone, reference_RBD = torch.arange(40), references(40)
    _, chosen = sampler.replace(projections(everyone), everyone, reference_RBD)
    assert torch.equal(chosen, (reference_RBD[0] @ reference_RBD[0].T - 9 * torch.eye(40)).argmax(1))


def test_with_as_many_neighbours_as_the_queue_has_others_everyone_else_in_it_is_a_candidate():
    sampler, everyone = knn(20, nearest=5, queue_size=6), torch.arange(14, 20)
    drawn = {anchor: set() for anchor in range(14, 20)}
    for epoch in range(80):
        sampler.start_epoch(epoch)
        _, chosen = sampler.replace(projections(everyone), everyone, references(20)[:, 14:])
        for anchor, partner in enumerate(chosen.tolist()):
            drawn[14 + anchor].add(partner)
    assert all(found == set(range(14, 20)) - {anchor} for anchor, found in drawn.items())


def test_an_empty_queue_and_one_with_the_own_row_alone_keep_the_own_positive_and_its_gradient():
    sampler = SSPSKNN(SSPSKNNConfig(nearest=3, queue_size=5), facts(8))
    sampler.end_pass(0)
    assert sampler.start_epoch(0) == {"queue_filled": 0.0}
    own = torch.tensor([2])
    for _ in range(2):
        positives = projections(own).requires_grad_()
        replaced, chosen = sampler.replace(positives, own, references(1))
        assert chosen.tolist() == [2] and torch.equal(replaced, positives)
        replaced.sum().backward()
        assert torch.equal(positives.grad, torch.ones_like(positives))
        assert sampler.measures()["queue_age"] == 0
        sampler.observe(positives, own, references(1))


def test_where_one_row_is_queued_its_owner_keeps_its_own():
    sampler, everyone = knn(slots=2, nearest=5, queue_size=1), torch.arange(40)
    sampler.start_epoch(0)
    positives = projections(everyone, 2) + 0.25
    replaced, chosen = sampler.replace(positives, everyone, references(40))
    assert chosen.tolist() == [39] * 40
    assert torch.equal(replaced[:, :39], projections(chosen[:39], 2)) and torch.equal(replaced[:, 39], positives[:, 39])


def test_choices_are_those_of_seed_and_epoch():
    everyone, reference_RBD = torch.arange(40), references(40)

    def chosen(seed: int, epoch: int) -> list[int]:
        other = knn(seed=seed, nearest=9, queue_size=40)
        other.start_epoch(epoch)
        return other.replace(projections(everyone), everyone, reference_RBD)[1].tolist()

    assert len({tuple(chosen(*key)) for key in [(0, 3), (0, 4), (1, 3)]}) == 3


def test_the_queue_s_age_is_that_of_the_rows_taken():
    sampler = knn(10, nearest=9, queue_size=10, weights="exponential", decay=60.0)
    sampler.start_epoch(0)
    anchors = torch.tensor([3, 8])
    reference_RBD = references(10)
    _, chosen = sampler.replace(projections(anchors), anchors, reference_RBD[:, anchors])
    ages = [(10 - partner) / 10 for partner in chosen.tolist()]  # utterance u was the row u of 10
    assert float(sampler.measures()["queue_age"]) == pytest.approx(np.mean(ages))


def test_several_segments_of_a_reference_count_by_their_mean():
    sampler = SSPSKNN(SSPSKNNConfig(nearest=1, queue_size=3), facts(4))
    sampler.end_pass(0)
    sampler.start_epoch(0)
    axes = torch.eye(EMBEDDING)
    sampler.observe(projections(torch.arange(2)), torch.arange(2), torch.stack([axes[:2], axes[[2, 2]]]))
    anchor = torch.tensor([3])
    _, chosen = sampler.replace(projections(anchor), anchor, axes[None, 1:2])
    assert chosen.tolist() == [1], "0 lies between axes 0 and 2, 1 between 1 and 2"


def test_the_epoch_that_fills_the_queue_replaces_nothing_and_the_next_one_does():
    sampler, everyone = SSPSKNN(SSPSKNNConfig(nearest=3, queue_size=4, filling="epoch"), facts(10)), torch.arange(10)
    sampler.start_epoch(5)
    for part in everyone.split(5):
        _, chosen = sampler.replace(projections(part), part, references(5, int(part[0])))
        assert torch.equal(chosen, part), "the filling epoch replaces nothing"
        sampler.observe(projections(part), part, references(5, int(part[0])))
    assert sampler.start_epoch(6) == {"queue_filled": 1.0}
    _, chosen = sampler.replace(projections(everyone), everyone, references(10))
    assert (chosen != everyone).all() and set(chosen.tolist()) <= set(range(6, 10))


def test_a_pass_over_references_alone_leaves_the_queue_as_it_is():
    sampler = knn(10, nearest=3, queue_size=10)
    sampler.observe(None, torch.arange(10), references(10, seed=5))
    assert sampler.queue.entered == 10
    torch.testing.assert_close(sampler.queued.references_QD, references(10)[0])


@pytest.mark.parametrize(
    "named, message",
    [
        ({"nearest": 0}, "nearest: expected at least 1, found 0"),
        ({"queue_size": 0}, "queue_size: expected a whole number, or a share of the utterances.*found 0"),
        ({"weights": "exponential", "decay": 0.0}, "decay: exponential weights need a number above 0; found 0"),
    ],
)
def test_settings_out_of_range_are_refused(named, message):
    with pytest.raises(ValueError, match=message):
        SSPSKNNConfig(**named)


@pytest.mark.parametrize("size, utterances", [(7, 40), (40, 7)])
def test_so_many_neighbours_that_they_are_everyone_are_refused(size, utterances):
    SSPSKNN(SSPSKNNConfig(nearest=6, queue_size=size), facts(utterances))
    with pytest.raises(ValueError, match=r"nearest: a queue of 7 utterances .* has 6 others .* found 7\. Set fewer"):
        SSPSKNN(SSPSKNNConfig(nearest=7, queue_size=size), facts(utterances))


def test_choices_without_references_and_methods_without_positives_are_refused():
    sampler, batch = knn(nearest=3, queue_size=40), torch.arange(4)
    sampler.start_epoch(0)
    with pytest.raises(ValueError, match="need the embeddings of reference segments with every batch"):
        sampler.replace(projections(batch), batch)
    with pytest.raises(ValueError, match=r"method that has positives.*slots 0"):
        SSPSKNN(SSPSKNNConfig(), facts(5, slots=0))


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    state = knn(nearest=3, queue_size=7).state_dict()
    wider = SamplerFacts(40, projection_dimension=WIDTH, embedding_dimension=EMBEDDING + 1)
    for config, told in [
        (SSPSKNNConfig(nearest=3, queue_size=8), facts(40)),
        (SSPSKNNConfig(nearest=3, queue_size=7), facts(41)),
        (SSPSKNNConfig(nearest=3, queue_size=7), wider),
        (SSPSKNNConfig(nearest=3, queue_size=7), facts(40, projection=WIDTH + 1)),
    ]:
        sampler = SSPSKNN(config, told)
        with pytest.raises(ValueError, match="another training set or other settings"):
            sampler.load_state_dict(state)
        assert sampler.queue.entered == 0 and sampler.pass_before(0) == "everything"
