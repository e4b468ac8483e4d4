"""Starts a command on a node and passes signals on to it."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType

from sslsv_tk.launch import _job_log


class Forwarded:
    """A command that gets the signals that this process gets."""

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        """`numbers` are the signals to pass on; others are left as they are."""
        self.received = list[int]()
        self._process: subprocess.Popen[bytes] | None = None
        for number in numbers:
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if self._process is not None:
            self._process.send_signal(number)

    def run(self, words: Sequence[str], environment: Mapping[str, str]) -> int:
        """The exit status of the command, 128 + n when signal n ended it; its output is that of this process."""
        try:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=dict(environment))
        except OSError as error:
            code, line = _job_log.cannot_start(words, error)
            print(line, end="", flush=True)
            return code
        for number in list(self.received):  # those that came before there was a process
            self._process.send_signal(number)
        code = self._process.wait()
        return 128 - code if code < 0 else code
