"""Every sampler chooses on several processes what it chooses on one, and goes on with another number of them."""

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from all_samplers import KINDS, batches, begin, made, partners, step

from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.shards import reshard

EPOCHS, SAVED_EPOCH, SAVED_STEP = 3, 1, 3


def whole_run(kind: str) -> dict[str, Any]:
    """All epochs; the state in the middle of one."""
    sampler, begun, steps, saved = made(kind), [], [], {}
    for epoch in range(EPOCHS):
        begun.append(begin(sampler, epoch))
        for number, utterance_B in enumerate(batches(epoch)):
            if (epoch, number) == (SAVED_EPOCH, SAVED_STEP):
                saved = copy.deepcopy(sampler.state_dict())
            steps.append(step(sampler, utterance_B, epoch))
    return {"begun": begun, "steps": steps, "saved": saved}


def rest_of_run(kind: str, states: list[dict[str, Any]]) -> dict[str, Any]:
    """From the saved states of all processes of a run on."""
    sampler = made(kind)
    sampler.load_state_dict(reshard(states, sampler.shard_names, collectives.rank(), collectives.processes()))
    steps = [step(sampler, part, SAVED_EPOCH) for part in batches(SAVED_EPOCH)[SAVED_STEP:]]
    found = partners(sampler)
    begun = begin(sampler, SAVED_EPOCH + 1)
    steps += [step(sampler, part, SAVED_EPOCH + 1) for part in batches(SAVED_EPOCH + 1)]
    return {"partners": found, "begun": [begun], "steps": steps}


def whole_runs(kinds: list[str], rank: int) -> dict[str, Any]:
    return {kind: whole_run(kind) for kind in kinds}


def rests(kinds: list[str], folders: list[Path], rank: int) -> list[dict[str, Any]]:
    """What follows from the files of runs with other numbers of processes."""
    found = []
    for folder in folders:
        files = [torch.load(file, weights_only=True, mmap=True) for file in sorted(folder.glob("*.pt"))]
        found.append({kind: rest_of_run(kind, [file[kind]["saved"] for file in files]) for kind in kinds})
    return found


@pytest.fixture(scope="module")
def kinds(request) -> list[str]:
    """Those that the tests to be run ask for: with -k one sampler alone is tried."""
    asked = {item.callspec.params["kind"] for item in request.session.items if item.path == request.path}
    return [kind for kind in KINDS if kind in asked]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Where runs of one and of two processes left what they found."""
    return [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")]


@pytest.fixture(scope="module")
def one(kinds, folders) -> dict[str, Any]:
    found = whole_runs(kinds, 0)
    torch.save(found, folders[0] / "0.pt")
    return found


@pytest.fixture(scope="module")
def two(kinds, folders, pool) -> list[dict[str, Any]]:
    found = pool.run(2, functools.partial(whole_runs, kinds))
    for rank, runs in enumerate(found):
        torch.save(runs, folders[1] / f"{rank}.pt")
    return found


@pytest.fixture(scope="module", params=[1, 2, 3])
def going_on(request, kinds, one, two, folders, pool) -> list[list[dict[str, Any]]]:
    """By process, by run that is gone on with: what one, two and three processes find from the saved states on.

    One and three go on with what two have saved, two with that of one and with their own.
    """
    if request.param == 1:
        return [rests(kinds, folders[1:], 0)]
    begun = folders if request.param == 2 else folders[1:]
    return pool.run(request.param, functools.partial(rests, kinds, begun))


def check_same(expected: dict[str, Any], found: list[dict[str, Any]], first_step: int = 0) -> None:
    """Are the choices of one process those of several, whose shares of a batch are put together?"""
    for mine in found:
        for ours, theirs in zip(mine["begun"], expected["begun"][-len(mine["begun"]) :], strict=True):
            assert ours["partners"] == theirs["partners"]
            assert ours["numbers"] == pytest.approx(theirs["numbers"], abs=1e-6)
    for number, theirs in enumerate(expected["steps"][first_step:]):
        for name in ("chosen", "cluster", "replaced"):
            together = torch.cat([mine["steps"][number][name] for mine in found])
            torch.testing.assert_close(together, theirs[name], rtol=0, atol=1e-6 if name == "replaced" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_choose_what_one_chooses(one, two, kind):
    check_same(one[kind], [found[kind] for found in two])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_gone_on_with_by_another_number_of_processes(one, going_on, kind):
    first_step = SAVED_EPOCH * len(batches(0)) + SAVED_STEP
    for run in range(len(going_on[0])):
        found = [process[run][kind] for process in going_on]
        check_same(one[kind], found, first_step)
        assert all(mine["partners"] == one[kind]["begun"][SAVED_EPOCH]["partners"] for mine in found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_process_saves_what_one_alone_saves_and_the_second_only_its_share_of_the_references(one, two, kind):
    alone, (first, second) = one[kind]["saved"], [found[kind]["saved"] for found in two]
    assert first.keys() == alone.keys()
    names = made(kind).shard_names
    assert second.keys() == {*names.sharded, *names.summed}
    for name, value in alone.items():
        if name in names.sharded:
            assert torch.equal(first[name], value[0::2]) and torch.equal(second[name], value[1::2])
        elif name in names.summed:
            torch.testing.assert_close(first[name] + second[name], value)
        elif isinstance(value, torch.Tensor) and value.dtype.is_floating_point:
            torch.testing.assert_close(first[name], value)  # sums over processes are in another order
        elif isinstance(value, torch.Tensor):
            assert torch.equal(first[name], value), name
        else:
            assert first[name] == value, name
