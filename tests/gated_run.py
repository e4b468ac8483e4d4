"""`train` in a process that does nothing of note unless it is let, so that a kill hits the moment it is meant for."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import fork_server


def _work(arguments: Sequence[str], gate: Connection | None) -> None:
    import torch

    from sslsv_tk import logs
    from sslsv_tk.bin import train
    from sslsv_tk.loading.datasets import TrainingSegments
    from sslsv_tk.monitoring.records import RunRecords

    torch.set_num_threads(1)
    if gate is not None:
        _stop_before(os, "replace", gate)
        _stop_before(os, "link", gate)
        _stop_before(TrainingSegments, "__getitem__", gate)
        _stop_before(RunRecords, "write", gate)
        _stop_before(torch.optim.Adam, "step", gate)
        _stop_before(torch.optim.SGD, "step", gate)
    status = logs.run_command(train.main, arguments)
    if gate is not None:
        gate.send("end")
        gate.recv()
    os._exit(status)


def _stop_before(owner: Any, name: str, gate: Connection) -> None:
    """Report before each call of a function, and wait for leave to go on."""
    function: Callable[..., Any] = getattr(owner, name)

    def held(*arguments: Any, **named: Any) -> Any:
        gate.send(name)
        gate.recv()
        return function(*arguments, **named)

    setattr(owner, name, held)


def train(arguments: Sequence[str]) -> int:
    """Run to the end; the exit status."""
    process = fork_server.context.Process(target=_work, args=(list(arguments), None))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def train_until(arguments: Sequence[str], events: int, chance: random.Random) -> list[str] | None:
    """Let a run pass `events` events (a read, a step, a line, a rename), then kill -9 it a random moment later.

    The run cannot end before, since it waits for leave at its next event. Returns the events that it passed; None
    when it ended well by itself, with fewer.
    """
    ours, theirs = fork_server.context.Pipe()
    process = fork_server.context.Process(target=_work, args=(list(arguments), theirs))
    process.start()
    theirs.close()
    passed: list[str] = []
    while len(passed) < events:
        passed.append(ours.recv())
        ours.send(None)
        if passed[-1] == "end":
            process.join()
            assert process.exitcode == 0
            return None
    time.sleep(chance.uniform(0.0, 0.02))
    assert process.is_alive() and process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return passed
