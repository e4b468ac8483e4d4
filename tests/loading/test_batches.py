"""The order of an epoch."""

import numpy as np
import pytest

from sslsv_tk.loading.batches import EpochBatches


def rows(batches: EpochBatches, epoch: int, first_step: int = 0) -> list[list[int]]:
    return [request.utterance_B.tolist() for request in batches.epoch(epoch, first_step=first_step)]


@pytest.mark.parametrize(("utterances", "batch"), [(1, 1), (10, 10), (23, 5), (100, 7)])
def test_an_epoch_visits_each_utterance_at_most_once(utterances: int, batch: int) -> None:
    batches = EpochBatches(utterances, batch, seed=0)
    found = rows(batches, 3)
    assert len(found) == batches.steps == utterances // batch
    assert all(len(each) == batch for each in found)
    flat = [row for each in found for row in each]
    assert len(set(flat)) == len(flat) and set(flat) <= set(range(utterances))


def test_who_is_left_out_differs_from_epoch_to_epoch() -> None:
    batches = EpochBatches(23, 5, seed=0)
    visited = set[int]()
    for epoch in range(10):
        visited |= {row for each in rows(batches, epoch) for row in each}
    assert visited == set(range(23))


@pytest.mark.parametrize("step", [0, 1, 3, 4])
def test_an_epoch_entered_at_any_step_goes_on_with_the_same_batches(step: int) -> None:
    assert rows(EpochBatches(23, 5, 7), 2, step) == rows(EpochBatches(23, 5, 7), 2)[step:]


def test_the_order_is_that_of_seed_and_epoch() -> None:
    first = rows(EpochBatches(100, 10, 7), 2)
    assert first == rows(EpochBatches(100, 10, 7), 2)
    assert first != rows(EpochBatches(100, 10, 7), 3)
    assert first != rows(EpochBatches(100, 10, 8), 2)


def test_partners_travel_with_their_utterances() -> None:
    partners = np.arange(23)[::-1].copy()
    for request in EpochBatches(23, 5, 0).epoch(4, partners):
        assert request.epoch == 4 and request.partner_B is not None
        assert (request.partner_B == 22 - request.utterance_B).all()
    assert all(request.partner_B is None for request in EpochBatches(23, 5, 0).epoch(4))


def test_references_are_asked_for_unless_they_come_in_passes() -> None:
    for wanted in (True, False):
        requests = list(EpochBatches(23, 5, 0).epoch(4, with_references=wanted))
        assert all(request.with_views and request.with_references == wanted for request in requests)
    assert all(request.with_references for request in EpochBatches(23, 5, 0).epoch(4))


@pytest.mark.parametrize("with_views", [True, False])
@pytest.mark.parametrize("first", [0, 5, 10, 15, 23])
def test_in_a_pass_everyone_comes_once_in_a_random_order(first: int, with_views: bool) -> None:
    requests = list(EpochBatches(23, 5, 0).everyone(-1, first, with_views))
    assert [len(request.utterance_B) for request in requests] == ([5, 5, 5, 4, 4] if first < 23 else [])[first // 5 :]
    assert all(request.epoch == -1 and request.partner_B is None for request in requests)
    assert all(request.with_views == with_views and request.with_references for request in requests)
    order = [row for request in EpochBatches(23, 5, 0).everyone(-1) for row in request.utterance_B]
    assert sorted(order) == list(range(23)) and order != list(range(23))
    assert [row for request in requests for row in request.utterance_B] == order[first:], "it is entered at any place"


@pytest.mark.parametrize(
    "utterances, sizes", [(5, [5]), (6, [3, 3]), (9, [5, 4]), (10, [5, 5]), (11, [5, 3, 3]), (14, [5, 5, 4])]
)
def test_no_batch_of_a_pass_is_small(utterances: int, sizes: list[int]) -> None:
    batches, first = EpochBatches(utterances, 5, 0), 0
    for request, size in zip(batches.everyone(-1), sizes, strict=True):
        assert len(request.utterance_B) == size == batches.whole(first)
        first += size


def test_the_order_of_a_pass_is_that_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        requests = EpochBatches(23, 5, seed).everyone(epoch)
        return tuple(row for request in requests for row in request.utterance_B.tolist())

    assert order(0, -1) == order(0, -1)
    assert len({order(seed, epoch) for seed in range(2) for epoch in (-1, 0, 1)}) == 6


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"A batch of 6 utterances does not fit a training set of 5\. Set training"):
        EpochBatches(5, 6, 0)
