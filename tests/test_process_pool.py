"""The pool of processes that tests share: its answers, what a failure leaves, and that no process stays behind."""

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import parent_process
from pathlib import Path

import fork_server
import pytest
import torch
from process_pool import LIMIT_SECONDS, ProcessFailure, ProcessPool

from sslsv_tk.distributed import collectives


@pytest.fixture(scope="module")
def own_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPool]:
    """One whose processes may be harmed."""
    pool = ProcessPool(tmp_path_factory.mktemp("pool"))
    yield pool
    pool.close()


def ranks(rank: int) -> tuple[int, int, torch.Tensor]:
    return os.getpid(), collectives.processes(), collectives.gather(torch.tensor([rank]))


def drawn(rank: int) -> torch.Tensor:
    return torch.randn(3)


def fail_in_the_last(rank: int) -> None:
    """The others wait for it in a collective."""
    if rank == collectives.processes() - 1:
        raise ArithmeticError("a test of failures")
    collectives.gather(torch.zeros(1))


def die(rank: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(rank: int) -> None:
    time.sleep(3600)


def interrupt(rank: int) -> None:
    """As Ctrl-C does, while the tests wait for an answer."""
    tests = parent_process()
    assert tests is not None and tests.pid is not None
    if rank == 0:
        os.kill(tests.pid, signal.SIGINT)
    time.sleep(3600)


def pids(pool: ProcessPool, processes: int) -> list[int]:
    return [pid for pid, _, _ in pool.run(processes, ranks)]


def are_gone(processes: list[int]) -> bool:
    """Also those that ended and that nobody has waited for: the first process of a container may never do."""
    return all(_state(pid) in ("gone", "Z") for pid in processes)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


@pytest.mark.parametrize("processes", [2, 3])
def test_the_same_processes_answer_in_the_order_of_their_ranks(own_pool, processes):
    first, second = own_pool.run(processes, ranks), own_pool.run(processes, ranks)
    for found in first:
        assert found[1] == processes and found[2].tolist() == list(range(processes))
    assert [pid for pid, _, _ in first] == [pid for pid, _, _ in second]
    assert len({os.getpid(), *(pid for pid, _, _ in first)}) == processes + 1


def test_random_numbers_do_not_depend_on_what_ran_before(own_pool):
    first, second = own_pool.run(2, drawn), own_pool.run(2, drawn)
    assert torch.equal(torch.stack(first), torch.stack(second))


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (fail_in_the_last, r"process 1: Traceback[^$]*ArithmeticError: a test of failures"),
        (die, "ended without an answer"),
    ],
)
def test_after_a_failure_there_are_new_processes(own_pool, compute, message):
    before, others = pids(own_pool, 2), pids(own_pool, 3)
    with pytest.raises(ProcessFailure, match=message):
        own_pool.run(2, compute)
    assert are_gone(before)
    after = pids(own_pool, 2)
    assert not set(before) & set(after) and pids(own_pool, 3) == others


def test_who_does_not_answer_in_time_is_named(tmp_path):
    pool = ProcessPool(tmp_path, limit_seconds=0.5)
    with pytest.raises(ProcessFailure, match=r"no answer in 0\.5 s of process 0, 1"):
        pool.run(2, sleep)
    assert not pool.groups


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt here, also where several processes run the tests, which ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_them(own_pool):
    before = pids(own_pool, 2)
    with pytest.raises(KeyboardInterrupt):
        own_pool.run(2, interrupt)
    assert are_gone(before)


def test_closing_leaves_no_process(tmp_path):
    pool = ProcessPool(tmp_path)
    before = pids(pool, 2)
    assert not are_gone(before)
    pool.close()
    assert are_gone(before)


def _work_until_killed(folder: Path, report) -> None:
    fork_server.context.set_forkserver_preload(["torch"])  # a fork server of its own, which needs no more
    pool = ProcessPool(folder)
    report.send(pids(pool, 2))
    pool.run(2, sleep)


def test_they_end_with_tests_that_were_killed(tmp_path):
    ours, theirs = fork_server.context.Pipe()
    tests = fork_server.context.Process(target=_work_until_killed, args=(tmp_path, theirs))
    tests.start()
    processes = ours.recv()
    tests.kill()
    tests.join()
    until = time.monotonic() + LIMIT_SECONDS
    while not are_gone(processes):
        assert time.monotonic() < until
        time.sleep(0.01)
