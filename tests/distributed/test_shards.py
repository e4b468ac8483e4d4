"""States in parts, and shards of rows that other numbers of processes read again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.distributed.shards import ShardNames, own_state, part_of, reshard, with_part

NAMES = ShardNames(sharded=("rows",), summed=("scatter",))


def saved(rows: int, processes: int) -> list[dict]:
    """What processes save of rows 10, 11, ...; process r brings r + 1 to the sum."""
    everything = torch.arange(10.0, 10 + rows)[:, None].repeat(1, 2)
    states = []
    for rank in range(processes):
        scatter = torch.full((2, 2), rank + 1.0)
        whole = {"epoch": 3, "rows": everything[rank::processes].clone(), "scatter": scatter, "queue": torch.ones(4)}
        states.append(own_state(whole, NAMES, rank))
    return states


def test_the_first_process_saves_everything_and_the_others_their_shards():
    states = saved(7, 3)
    assert [sorted(state) for state in states] == [["epoch", "queue", "rows", "scatter"], *2 * [["rows", "scatter"]]]


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 17), before=st.integers(1, 5), now=st.integers(1, 5))
def test_any_number_of_processes_reads_every_row_once_and_a_sum_that_is_the_same(rows, before, now):
    read = [reshard(saved(rows, before), NAMES, rank, now) for rank in range(now)]
    for rank, state in enumerate(read):
        assert state["rows"].tolist() == [[10.0 + row] * 2 for row in range(rank, rows, now)]
        assert state["epoch"] == 3 and torch.equal(state["queue"], torch.ones(4))
    total = sum(range(1, before + 1))
    assert torch.equal(sum(state["scatter"] for state in read), torch.full((2, 2), float(total)))


def test_as_many_processes_as_before_read_what_each_of_them_saved():
    states = saved(7, 2)
    second = reshard(states, NAMES, 1, 2)
    assert second["rows"] is states[1]["rows"] and second["scatter"] is states[1]["scatter"]
    alone = saved(7, 1)
    assert reshard(alone, NAMES, 0, 1) == alone[0]


def test_rows_mapped_from_files_are_dealt_anew(tmp_path):
    for rank, state in enumerate(saved(11, 2)):
        torch.save(state, tmp_path / f"{rank}.pt")
    mapped = [torch.load(tmp_path / f"{rank}.pt", weights_only=True, mmap=True) for rank in range(2)]
    assert reshard(mapped, NAMES, 2, 3)["rows"][:, 0].tolist() == [12.0, 15.0, 18.0]


def test_states_that_are_not_those_of_one_run_are_refused():
    states = saved(7, 3)
    with pytest.raises(ValueError, match=r"Expected rows in what each of 2 .* none of process 1\. Use the files"):
        reshard([states[0], {"scatter": states[1]["scatter"]}], NAMES, 0, 2)
    with pytest.raises(
        ValueError, match=r"Expected 5 rows of rows .*\[3, 2\].* found \[2, 3\]\..*order of their ranks"
    ):
        reshard([{**states[0], "rows": states[1]["rows"]}, states[0]], NAMES, 0, 1)


def test_a_state_without_shards_is_everybody_s():
    state = {"epoch": 4}
    assert [reshard([state, {}], ShardNames(), rank, 3) for rank in range(3)] == [state] * 3
    assert reshard([state, {}], NAMES, 1, 2) == state, "of other positives: whoever loads it says so"


def test_the_parts_of_a_state_are_told_by_their_names():
    state = {"epoch": 1, "queue.rows": 2, "queue.entry.of": 3, "queued": 4, "references.seen_N": 5}
    assert part_of(state, "queue") == {"rows": 2, "entry.of": 3}
    assert part_of(state, "other") == {}
    assert part_of(with_part("queue", {"rows": 2}), "queue") == {"rows": 2}
