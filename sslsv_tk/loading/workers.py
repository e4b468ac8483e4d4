"""Processes that make batches: each takes every W-th request in turn, so that batches come in order.

A request and its batch lie in a slot of shared memory; pipes carry the numbers of slots and where in them tensors are.
"""

import atexit
import multiprocessing
import os
import signal
import traceback
import weakref
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.loading.datasets import Batch, TrainingSegments
from sslsv_tk.loading.slots import Slots

_ORPHAN_SECONDS = 5
_forking = multiprocessing.get_context("fork")  # the dataset and the slots are inherited, not sent


@dataclass(frozen=True)
class Failure:
    """What a worker hands over in place of a batch."""

    reason: str


class Workers:
    """W processes at work on one dataset until `kill`."""

    def __init__(self, dataset: TrainingSegments, count: int, slots: Slots) -> None:
        """OSError where a process or its pipe cannot be made."""
        self.slots = slots
        self.processes: list[Any] = []
        self._ends: list[Connection] = []
        self._finaliser = weakref.finalize(self, _kill, os.getpid(), self.processes, self._ends)
        _alive.add(self)
        for _ in range(count):
            ours, theirs = _forking.Pipe()
            inherited = [*self._ends, ours]
            self._ends.append(ours)
            process = _forking.Process(target=_serve, args=(dataset, slots, theirs, inherited), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)

    def ask(self, number: int, request: BatchRequest) -> None:
        """Give the request of a batch to the process whose turn it is. OSError where that has died."""
        slot = number % self.slots.count
        self._end(number).send((slot, self.slots.ask(slot, request)))

    def take(self, number: int, seconds: float) -> Batch | Failure | None:
        """That batch, valid as long as its slot is not asked for anew; None where it has not come in `seconds`.

        EOFError or OSError where its process has died; an error of ours is raised as it was there.
        """
        end = self._end(number)
        if not end.poll(seconds):
            return None
        found = end.recv()
        if isinstance(found, Batch):
            return self.slots.read(number % self.slots.count, found)
        if isinstance(found, Failure):
            return found
        raise found

    def kill(self) -> None:
        """End them, whatever they do; they hold nothing."""
        self._finaliser()

    def _end(self, number: int) -> Connection:
        return self._ends[number % len(self._ends)]


_alive: "weakref.WeakSet[Workers]" = weakref.WeakSet()


@atexit.register
def _kill_all() -> None:
    """Before multiprocessing waits for its processes, whose SIGTERM they ignore."""
    for workers in list(_alive):
        workers.kill()


def _kill(owner: int, processes: list[Any], ends: list[Connection]) -> None:
    if os.getpid() != owner:  # a process that inherited them
        return
    for process in processes:
        process.kill()
    for end in ends:
        end.close()


# -- in a worker -----------------------------------------------------------------------------------------------------


def _serve(dataset: TrainingSegments, slots: Slots, end: Connection, inherited: list[Connection]) -> None:
    """Make batches until the trainer is gone. Requests to stop are the trainer's."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for other in inherited:  # else the end of the trainer would not close them
        other.close()
    torch.set_num_threads(1)
    parent = os.getppid()
    try:
        while True:
            while not end.poll(_ORPHAN_SECONDS):
                if os.getppid() != parent:
                    return
            slot, count = end.recv()
            end.send(_made(dataset, slots, slot, count))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _made(dataset: TrainingSegments, slots: Slots, slot: int, count: int) -> Batch | Failure | Exception:
    try:
        return slots.write(slot, dataset[slots.asked(slot, count)])
    except (ValueError, OSError, MemoryError) as error:
        return Failure(" ".join(str(error).split()) or type(error).__name__)
    except Exception as error:
        error.add_note("In a process of the loader:\n" + traceback.format_exc())
        return error
