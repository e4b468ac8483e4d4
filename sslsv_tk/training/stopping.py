"""A request to stop (SIGTERM, SIGUSR1) ends training after the step at hand, with its state saved.

A second SIGTERM, some seconds after the first, ends it at once, also where the training process itself waits for a
read that never answers.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from types import TracebackType
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What Slurm sends before it takes a job's machines away or its time is over."""
TWICE_SECONDS = 3.0
"""What comes sooner is the same request by another way: Slurm and its job script both send it."""
INTERRUPTED = 2
_LEAVING_SECONDS = 5.0
_AT_ONCE = b"error: asked to stop again: ended at once, without saving; the next run goes on from the last checkpoint\n"


class Stopped(Exception):
    """Training was asked to stop and has saved its state: run it again, and it goes on."""


class StopRequest:
    """Notes the signals as long as its block runs; loader processes are forked with it and go on serving."""

    def __init__(self) -> None:
        self.is_made = False
        """Did a signal come?"""
        self._before: dict[signal.Signals, Any] = {}
        self._told: socket.socket | None = None
        self._fd_before = -1

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there alone
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
            # Python runs handlers between two instructions of the main thread, which may wait in a read for ever; the
            # byte that it writes here comes through in any case.
            reading, self._told = socket.socketpair()
            self._told.setblocking(False)
            self._fd_before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=_end_at_a_second_one, args=(reading,), name="stopping", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told is not None:
            signal.set_wakeup_fd(self._fd_before)
            self._told.close()
        for number, handler in self._before.items():  # a request may be made twice
            signal.signal(number, signal.SIG_IGN if self.is_made else handler)

    def _note(self, *_: object) -> None:
        self.is_made = True


def _end_at_a_second_one(told: socket.socket) -> None:
    """In a thread: look at the signals that the process gets, until the other end is closed."""
    first: float | None = None
    with told:
        while number := told.recv(1):
            if number[0] != signal.SIGTERM:  # after SIGUSR1 a time limit sends one, and leaves half a minute
                continue
            now = time.monotonic()
            first = now if first is None else first
            if now - first > TWICE_SECONDS:
                _leave_at_once()


def _leave_at_once() -> NoReturn:
    """Say so and end, whatever other threads wait for."""
    # The log may lie on the very disk that does not answer.
    limit = threading.Timer(_LEAVING_SECONDS, os._exit, [INTERRUPTED])
    limit.daemon = True
    limit.start()
    for worker in multiprocessing.active_children():
        worker.kill()
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), _AT_ONCE)
    os._exit(INTERRUPTED)


def leave(status: int) -> None:
    """End this process, at once where Python's own end would wait.

    It would for threads of NCCL in a group that broke off, and for a process of the loader that hangs in a read.
    """
    broke_off = "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized()
    if broke_off or multiprocessing.active_children():
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
