"""The ring against a list of what entered, with batches of any size."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.nn.row_queue import RowQueue


def numbered(first: int, count: int) -> torch.Tensor:
    """Rows that tell which entry they are."""
    return torch.arange(first, first + count, dtype=torch.float32)[:, None] + torch.tensor([0.0, 0.5])


@settings(max_examples=150, deadline=None)
@given(size=st.integers(1, 6), batches=st.lists(st.integers(0, 15), max_size=8))
def test_holds_the_newest_rows_in_their_order(size, batches):
    queue, entered = RowQueue(size, 2), 0
    for count in batches:
        queue.push(numbered(entered, count))
        entered += count
        assert int(queue.entered) == entered
        assert int(queue.head) == entered % size
        assert queue.is_full() == (entered >= size)
        inside = range(max(0, entered - size), entered)
        for entry in inside:
            assert queue.rows_QP[entry % size].tolist() == [entry, entry + 0.5]
        assert (queue.rows_QP != 0).any(1).sum() == len(inside)


def test_the_rows_that_are_hand_listed():
    queue = RowQueue(4, 2)
    for first, count in ((1, 3), (4, 3), (7, 9)):
        queue.push(numbered(first, count))
    assert queue.rows_QP[:, 0].tolist() == [13.0, 14.0, 15.0, 12.0]


def test_the_device_is_asked_again_only_after_rows_entered():
    queue = RowQueue(3, 2)
    assert not queue.is_full()
    queue.entered.fill_(3)
    assert not queue.is_full(), "nothing was pushed, so it did not look"
    queue.push(numbered(0, 1))
    assert queue.is_full()


@pytest.mark.parametrize("entered", [0, 2, 3, 7])
def test_a_state_goes_on_identically(entered):
    first, second = RowQueue(3, 2), RowQueue(3, 2)
    first.push(numbered(1, entered))
    second.push(numbered(100, 5))
    assert second.is_full()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.is_full() == (entered >= 3)
    for queue in (first, second):
        queue.push(numbered(50, 2))
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_a_state_of_another_size_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch for rows_QP"):
        RowQueue(3, 2).load_state_dict(RowQueue(4, 2).state_dict())


def test_rows_are_copies_without_gradient_in_the_queues_own_precision():
    queue = RowQueue(3, 2)
    rows = torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    queue.push(rows)
    assert queue.rows_QP.dtype == torch.float32 and not queue.rows_QP.requires_grad
    with torch.no_grad():
        rows.zero_()
    assert queue.rows_QP[:2].eq(1).all()


def test_no_optimiser_sees_it():
    assert list(RowQueue(3, 2).parameters()) == []
    assert set(RowQueue(3, 2).state_dict()) == {"rows_QP", "head", "entered"}
