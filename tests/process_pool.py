"""Groups of processes that meet once and then work for all tests of a session, one function after the other."""

import io
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import fork_server
import torch

LIMIT_SECONDS = 240.0


class ProcessFailure(Exception):
    """A function failed in one of the processes; says in which, and how."""


class Group:
    """Processes 0 to `world` - 1 of one gloo group."""

    def __init__(self, world: int, meeting: Path) -> None:
        """`meeting`: a file that is not there yet, by which they meet."""
        self.processes, self.connections = [], []
        for rank in range(world):
            ours, theirs = fork_server.context.Pipe()
            process = fork_server.context.Process(target=_serve, args=(theirs, rank, world, str(meeting)), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.connections.append(ours)

    def run(self, compute: Callable[[int], Any], limit_seconds: float) -> list[Any]:
        """What `compute(rank)` gives in each process. After a ProcessFailure the group is of no more use."""
        work = pickle.dumps(compute)
        for connection in self.connections:
            connection.send((sys.path, work))
        ranks = {connection: rank for rank, connection in enumerate(self.connections)}
        found: list[Any] = [None] * len(ranks)
        until = time.monotonic() + limit_seconds
        while ranks:
            ready = wait(list(ranks), max(0.0, until - time.monotonic()))
            if not ready:
                raise ProcessFailure(f"no answer in {limit_seconds} s of process {', '.join(map(str, ranks.values()))}")
            answers = {ranks.pop(connection): _received(connection) for connection in ready}
            failures = [f"process {rank}: {error}" for rank, (error, _) in answers.items() if error]
            if failures:
                raise ProcessFailure("\n".join(failures))
            for rank, (_, result) in answers.items():
                found[rank] = torch.load(io.BytesIO(result), weights_only=False)
        return found

    def kill(self) -> None:
        """End the processes, whatever they do, and wait until they are gone."""
        for process in self.processes:
            process.kill()
        for process, connection in zip(self.processes, self.connections, strict=True):
            process.join()
            connection.close()


class ProcessPool:
    """One group of each number of processes that is asked for, started when it first is."""

    def __init__(self, folder: Path, limit_seconds: float = LIMIT_SECONDS) -> None:
        """`folder`: where groups meet; `limit_seconds`: how long a function may take."""
        self.folder, self.limit_seconds = folder, limit_seconds
        self.groups: dict[int, Group] = {}
        self._started = 0

    def run(self, processes: int, compute: Callable[[int], Any]) -> list[Any]:
        """What `compute(rank)`, a function of a module, gives in each of so many processes.

        torch's random numbers begin alike for each function, whatever ran before. A failure in any process is a
        ProcessFailure here, with its traceback; the group is killed, as the others may wait for the lost one, and the
        next call has a new one.
        """
        if processes not in self.groups:
            self._started += 1
            self.groups[processes] = Group(processes, self.folder / f"meeting.{self._started}")
        try:
            return self.groups[processes].run(compute, self.limit_seconds)
        except BaseException:
            self.groups.pop(processes).kill()
            raise

    def close(self) -> None:
        """Leave no process behind."""
        while self.groups:
            self.groups.popitem()[1].kill()


def _received(connection: Connection) -> tuple[str, bytes]:
    """An error, "" where there was none, and a result as bytes."""
    try:
        return connection.recv()
    except (EOFError, ConnectionResetError):
        return "ended without an answer", b""


def _serve(connection: Connection, rank: int, world: int, meeting: str) -> None:
    """In a process of the pool: work until there is no one left to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the tests' process decides what it means
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    while True:
        try:
            path, work = connection.recv()
        except EOFError:
            os._exit(0)
        connection.send(_answer(rank, path, work))


def _end_with_the_tests() -> None:
    """Even where they were killed (-9) and this process waits in a collective."""
    tests = parent_process()
    assert tests is not None
    wait([tests.sentinel])
    os._exit(1)


def _answer(rank: int, path: list[str], work: bytes) -> tuple[str, bytes]:
    sys.path[:] = path  # pytest adds a folder of tests when it collects it
    torch.manual_seed(0)
    result = io.BytesIO()
    try:
        torch.save(pickle.loads(work)(rank), result)
    except BaseException:
        return traceback.format_exc(), b""
    return "", result.getvalue()
