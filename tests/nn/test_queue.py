"""The queue against a list of what entered, with batches of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.nn.queue import UtteranceQueue

CPU = torch.device("cpu")
UTTERANCES = 9


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
    queue, slow = UtteranceQueue(size, UTTERANCES, (2,), CPU), SlowQueue(size)
    everyone, number = torch.arange(UTTERANCES), 0
    for batch in batches:
        before = queue.holds(everyone)
        rows = torch.arange(number, number + len(batch), dtype=torch.float32)[:, None] + torch.tensor([0.0, 0.5])
        changed, change = queue.push(rows, torch.tensor(batch, dtype=torch.int64))
        for utterance in batch:
            slow.push(utterance, float(number))
            number += 1
        expected = [slow.look_up(u) for u in range(UTTERANCES)]
        holds = queue.holds(everyone)
        assert holds.tolist() == [row is not None for row in expected]
        for u in range(UTTERANCES):
            if expected[u] is not None:
                assert queue.row_of(torch.tensor([u])).tolist() == [[expected[u], expected[u] + 0.5]]
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
    queue, entered = UtteranceQueue(size, UTTERANCES, (1,), CPU), []
    for batch in batches:
        queue.push(torch.zeros(len(batch), 1), torch.tensor(batch, dtype=torch.int64))
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
    queue = UtteranceQueue(2, 3, (1,), CPU)
    queue.push(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
    found = queue.row_of(torch.tensor([0]))
    queue.push(torch.tensor([[3.0]]), torch.tensor([2]))
    assert found.tolist() == [[1.0]]
    assert not queue.holds(torch.tensor([0]))


def test_a_saved_queue_goes_on_as_the_one_it_was_saved_from():
    queue, other = UtteranceQueue(3, 5, (1,), CPU), UtteranceQueue(3, 5, (1,), CPU)
    queue.push(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(torch.tensor([[3.0], [4.0]]), torch.tensor([2, 3]))
    assert torch.equal(queue.rows, other.rows)
    assert torch.equal(queue.holds(torch.arange(5)), other.holds(torch.arange(5)))


@pytest.mark.parametrize("size, utterances, shape", [(4, 5, (1,)), (3, 6, (1,)), (3, 5, (2,))])
def test_the_state_of_a_queue_of_another_size_is_refused(size, utterances, shape):
    state = UtteranceQueue(size, utterances, shape, CPU).state_dict()
    with pytest.raises(ValueError, match="another training set, queue size or width"):
        UtteranceQueue(3, 5, (1,), CPU).load_state_dict(state)
