"""The queue against a list of what entered, with batches of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.sampling import queue
from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.queue import PositiveQueue, put_rows

UTTERANCES = 9


def fresh(size: int, utterances: int = UTTERANCES, slots: int = 1, width: int = 1) -> PositiveQueue:
    return PositiveQueue(size, SamplerFacts(utterances, projection_dimension=width, embedding_dimension=1, slots=slots))


class SlowQueue:
    """Keeps a list of (utterance, row) and looks from the newest backwards."""

    def __init__(self, size: int) -> None:
        self.size, self.entries = size, []

    def push(self, utterance: int, row: float) -> None:
        self.entries = [*self.entries, (utterance, row)][-self.size :]

    def look_up(self, utterance: int) -> float | None:
        return next((row for owner, row in reversed(self.entries) if owner == utterance), None)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 6),
    batches=st.lists(st.lists(st.integers(0, UTTERANCES - 1), max_size=15), max_size=8),
)
def test_equals_a_list_for_any_batch_size_repeated_utterances_and_wraps(size, batches):
    queue, slow = fresh(size, slots=2), SlowQueue(size)
    everyone, number = torch.arange(UTTERANCES), 0
    for batch in batches:
        before = queue.holds(everyone)
        rows = torch.arange(number, number + len(batch), dtype=torch.float32) + torch.tensor([[0.0], [0.5]])
        changed, change = queue.push(rows[:, :, None], torch.tensor(batch, dtype=torch.int64))
        for utterance in batch:
            slow.push(utterance, float(number))
            number += 1
        expected = [slow.look_up(u) for u in range(UTTERANCES)]
        holds = queue.holds(everyone)
        assert holds.tolist() == [row is not None for row in expected]
        for u in range(UTTERANCES):
            if expected[u] is not None:
                assert queue.row_of(torch.tensor([u])).tolist() == [[[expected[u]], [expected[u] + 0.5]]]
        total = torch.zeros(UTTERANCES, dtype=torch.int32).index_add_(0, changed, change)
        assert torch.equal(total, holds.int() - before.int())
        assert (change != 0).sum() == (holds != before).sum()


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(1, 6),
    batches=st.lists(st.lists(st.integers(0, UTTERANCES - 1), max_size=6), max_size=8),
    asked=st.lists(st.tuples(st.integers(0, UTTERANCES - 1), st.booleans()), min_size=1, max_size=6),
)
def test_slots_of_newest_rows_and_ages_are_those_of_a_list_of_all_that_entered(size, batches, asked):
    queue, entered = fresh(size), []
    for batch in batches:
        queue.push(torch.zeros(1, len(batch), 1), torch.tensor(batch, dtype=torch.int64))
        entered += batch[-size:]
    newest = {utterance: number for number, utterance in enumerate(entered)}
    expected = [False] * size
    for number, utterance in list(enumerate(entered))[-size:]:
        expected[number % size] = newest[utterance] == number
    assert queue.newest_slots().tolist() == expected

    counted = [(u, is_counted and u in newest) for u, is_counted in asked]
    ages = [(len(entered) - newest[u]) / UTTERANCES for u, is_counted in counted if is_counted]
    found = queue.mean_age(*map(torch.tensor, zip(*counted, strict=True)))
    assert float(found) == pytest.approx(sum(ages) / len(ages) if ages else 0.0)


def test_rows_that_enter_later_do_not_change_rows_that_were_looked_up():
    queue = fresh(2, 3)
    queue.push(torch.tensor([[[1.0], [2.0]]]), torch.tensor([0, 1]))
    found = queue.row_of(torch.tensor([0]))
    queue.push(torch.tensor([[[3.0]]]), torch.tensor([2]))
    assert found.tolist() == [[[1.0]]]
    assert not queue.holds(torch.tensor([0]))


def test_a_saved_queue_goes_on_as_the_one_it_was_saved_from():
    queue, other = fresh(3, 5), fresh(3, 5)
    queue.push(torch.tensor([[[1.0], [2.0]]]), torch.tensor([0, 1]))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(torch.tensor([[[3.0], [4.0]]]), torch.tensor([2, 3]))
    assert torch.equal(queue.rows, other.rows)
    assert torch.equal(queue.holds(torch.arange(5)), other.holds(torch.arange(5)))


@pytest.mark.parametrize("size, utterances, slots, width", [(4, 5, 1, 1), (3, 6, 1, 1), (3, 5, 2, 1), (3, 5, 1, 2)])
def test_the_state_of_a_queue_of_another_size_is_refused(size, utterances, slots, width):
    state = fresh(size, utterances, slots, width).state_dict()
    with pytest.raises(ValueError, match="another training set or other settings"):
        fresh(3, 5).load_state_dict(state)


def test_what_enters_is_a_constant_in_the_precision_of_the_queue():
    queue, positives = fresh(3), torch.ones(1, 2, 1, dtype=torch.bfloat16, requires_grad=True)
    queue.push(positives, torch.tensor([0, 1]))
    assert not queue.rows.requires_grad and queue.rows.dtype == torch.float32


def test_rows_are_put_in_the_place_of_those_to_replace_as_constants():
    positives = torch.zeros(2, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    rows_BSP = torch.arange(24.0).view(3, 2, 4)
    slots, is_replaced = torch.tensor([2, 1, 0]), torch.tensor([True, False, True])
    put = put_rows(positives, rows_BSP.flip(0), slots, is_replaced)
    assert put.dtype == torch.bfloat16
    assert torch.equal(put[:, 0], rows_BSP[0].bfloat16()) and torch.equal(put[:, 2], rows_BSP[2].bfloat16())
    put.sum().backward()
    assert positives.grad.sum(-1).tolist() == [[0, 4, 0], [0, 4, 0]]


def test_the_rows_of_those_drawn_replace_and_the_others_stay():
    queue = fresh(4)
    queue.push(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([7, 8, 7]))
    positives = torch.full((1, 3, 1), -1.0)
    replaced, chosen, age = queue.replace(positives, torch.tensor([0, 1, 2]), torch.tensor([7, -1, 8]))
    assert replaced[0, :, 0].tolist() == [3, -1, 2] and chosen.tolist() == [7, 1, 8]
    assert float(age) == pytest.approx((1 + 2) / 2 / UTTERANCES)


def test_a_method_without_positives_has_no_queue():
    with pytest.raises(ValueError, match="for a method that has positives; found projection 0"):
        fresh(3, width=0)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_both_ways_to_put_rows_are_loops(share, kind):
    draw = torch.Generator().manual_seed(0)
    positives_SBP = torch.randn(2, 7, 3, generator=draw).to(kind).requires_grad_()
    rows_QSP = torch.randn(5, 2, 3, generator=draw)
    slot_B, is_replaced_B = torch.randint(5, (7,), generator=draw), torch.rand(7, generator=draw) < share
    expected = positives_SBP.detach().clone()
    for row in range(7):
        if is_replaced_B[row]:
            expected[:, row] = rows_QSP[slot_B[row]].to(kind)
    for put in (queue._put_few, queue._put_all):
        found = put(positives_SBP, rows_QSP, slot_B, is_replaced_B)
        assert torch.equal(found, expected) and found.dtype == kind
        (slope,) = torch.autograd.grad(found.float().sum(), positives_SBP)
        assert torch.equal(slope.float(), (~is_replaced_B)[None, :, None].float().expand(2, 7, 3))
