"""Signals that stop an array: held back until a back end is ready to take them."""

import contextlib
import ctypes
import signal
import sys
from collections.abc import Iterator

from sslsv_tk.launch.base import Interrupted

STOPPING_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def stopping() -> set[signal.Signals]:
    """Signals that stop the array: those that the caller has not told us to ignore, as nohup does."""
    return {number for number in STOPPING_SIGNALS if signal.getsignal(number) != signal.SIG_IGN}


@contextlib.contextmanager
def held(numbers: set[signal.Signals]) -> Iterator[set[signal.Signals]]:
    """Hold signals back until they are waited for, so that none falls between two lines; those held before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield {signal.Signals(number) for number in before}
    finally:
        while signal.sigtimedwait(numbers - before, 0):  # a second Ctrl-C, while the first was being obeyed
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def pause(seconds: float, numbers: set[signal.Signals]) -> None:
    """Sleep, but raise Interrupted at once when one of the signals, which must be held back, comes."""
    got = signal.sigtimedwait(numbers, max(0.0, seconds))
    if got is not None:
        raise Interrupted(signal.Signals(got.si_signo).name)


def end_with_parent(signal_number: int) -> None:
    """Ask Linux to send this process a signal when its parent ends, even by kill -9 (prctl PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal_number)
