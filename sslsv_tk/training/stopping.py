"""A request to stop (SIGTERM, SIGUSR1) ends training after the step at hand, with its state saved."""

import logging
import os
import signal
import sys
import threading
from types import TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What Slurm sends before it takes a job's machines away or its time is over."""


class Stopped(Exception):
    """Training was asked to stop and has saved its state: run it again, and it goes on."""


class StopRequest:
    """Notes the signals as long as its block runs; loader processes are forked with it and go on serving."""

    def __init__(self) -> None:
        self.is_made = False
        """Did a signal come?"""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there alone
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():  # a request may be made twice
            signal.signal(number, signal.SIG_IGN if self.is_made else handler)

    def _note(self, *_: object) -> None:
        self.is_made = True


def leave(status: int) -> None:
    """End this process; at once where its group broke off, since threads of NCCL would hold Python's own end up."""
    if "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized():
        logging.shutdown()
        os._exit(status)
    sys.exit(status)
