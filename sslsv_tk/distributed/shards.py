"""States as checkpoints hold them: parts under names, and shards of which every process of a run saved its own.

Of W processes, process r holds the rows i with i % W == r of a sharded tensor, row i in its place i // W. Of a summed
tensor each holds a part; the sum over the processes counts.

    row      0  1  2  3  4        of 2 processes process 0 saves the rows 0 2 4, process 1 the rows 1 3;
    saved    0  1  0  1  0        process 1 of 3 then reads the rows 1 4
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ShardNames:
    """Which tensors of a state are not the same on all processes."""

    sharded: tuple[str, ...] = ()
    """Their rows lie on the processes in turn."""
    summed: tuple[str, ...] = ()
    """Every process holds a part of a sum."""


def with_part(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a part's state under its name, as `part_of` finds them."""
    return {f"{name}.{key}": value for key, value in state.items()}


def part_of(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The entries of a state that belong to a part, without its name."""
    return {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{name}.")}


def own_state(state: Mapping[str, Any], names: ShardNames, rank: int) -> dict[str, Any]:
    """What a process saves of its whole state: the first one everything, the others their shards."""
    return {name: value for name, value in state.items() if rank == 0 or name in (*names.sharded, *names.summed)}


def reshard(states: Sequence[Mapping[str, Any]], names: ShardNames, rank: int, processes: int) -> dict[str, Any]:
    """The whole state of a process, of now `processes`, from what each process of a run saved (`own_state`).

    Where there are as many processes as then, it is what this one saved, besides what the first one saved for all. Else
    the rows are dealt anew, exactly; of tensors that are mapped from files only those rows are read. A sum goes to the
    first process. A ValueError says where the states are not those of one run.
    """
    _check(states, names)
    state = dict(states[0])
    if len(states) == processes:
        return {**state, **own_state(states[rank], names, rank)}
    for name in names.sharded:
        if name in state:
            state[name] = _dealt_rows([other[name] for other in states], rank, processes)
    for name in names.summed:
        if name in state:
            state[name] = sum(other[name] for other in states) if rank == 0 else torch.zeros_like(state[name])
    return state


def _dealt_rows(shards: Sequence[Tensor], rank: int, processes: int) -> Tensor:
    """The rows of a process, from those of processes among which they were dealt otherwise."""
    rows = torch.arange(sum(map(len, shards)))[rank::processes]
    dealt = shards[0].new_empty(len(rows), *shards[0].shape[1:])
    for holder, shard in enumerate(shards):
        is_here = rows % len(shards) == holder
        dealt[is_here] = shard[rows[is_here] // len(shards)]
    return dealt


def _check(states: Sequence[Mapping[str, Any]], names: ShardNames) -> None:
    """Are these the shards of one run, all of them and in their order?"""
    for name in (*names.sharded, *names.summed):
        if name not in states[0]:
            continue  # of other positives: whoever loads the state says so
        lacking = [rank for rank, state in enumerate(states) if name not in state]
        if lacking:
            raise ValueError(
                f"Expected {name} in what each of {len(states)} processes saved, found none of process {lacking[0]}. "
                "Use the files of all processes of one checkpoint."
            )
    for name in names.sharded:
        rows = [len(state[name]) for state in states if name in state]
        expected = [len(range(rank, sum(rows), len(rows))) for rank in range(len(rows))]
        if rows != expected:
            raise ValueError(
                f"Expected {sum(rows)} rows of {name} dealt to {len(rows)} processes in turn ({expected}), found "
                f"{rows}. Use the files of all processes of one checkpoint, in the order of their ranks."
            )
