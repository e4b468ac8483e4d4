"""What a person sees of a job at work: its lines of progress as they come, and between them a bar on a terminal.

python3 -m sslsv_tk.launch._following LOG INODE SIZE LAUNCHER

A process of its own, so that neither the launcher nor the job ever waits for a terminal. The lines are those that the
job's logger `progress` writes; the bar follows the lines `kind=step`, of which an epoch has several.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

PAUSE = 0.5
"""Seconds between two looks at the log."""
LAST_LOOK = 5.0
"""Seconds that the launcher leaves the follower for its last look."""
WIDTH = 30
_PROGRESS = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+ \(progress\) ")
_STEPS = re.compile(r"(\d[\d,]*) steps per epoch")
_STEP = re.compile(r" kind=step epoch=(\d+) step=(\d+) .*?loss=(\S+)")


class Screen:
    """Turns lines of a log into what is shown: lines for good, and a bar that the next line takes the place of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._has_bar, self._steps = stream, stream.isatty(), 0
        self._shown = False

    def show(self, line: str) -> None:
        """One line of the log."""
        if _PROGRESS.match(line):
            steps = _STEPS.search(line)
            self._steps = int(steps[1].replace(",", "")) if steps else self._steps
            self.clear()
            print(line, file=self._stream, flush=True)
        elif self._has_bar and self._steps and (match := _STEP.search(line)):
            done = (int(match[2]) - 1) % self._steps + 1
            bar = "#" * round(WIDTH * done / self._steps)
            text = f"epoch {match[1]} [{bar:{WIDTH}}] step {done} of {self._steps}, loss {match[3]}"
            print(f"\r{text}\033[K", end="", file=self._stream, flush=True)
            self._shown = True

    def clear(self) -> None:
        """Take the bar away."""
        if self._shown:
            print("\r\033[K", end="", file=self._stream, flush=True)
            self._shown = False


@dataclass(frozen=True)
class Earlier:
    """The log that was there before the launcher began: of an earlier attempt, or of a job that is still at work."""

    inode: int = 0
    size: int = 0

    @classmethod
    def of(cls, log: Path) -> "Earlier":
        """As it is now; an empty one is written to."""
        stat = log.stat() if log.is_file() else None
        return cls(stat.st_ino, stat.st_size) if stat and stat.st_size else cls()

    def opened(self, log: Path) -> BinaryIO | None:
        """The log of this attempt, a new file, or the same where it grows; None while neither is the case."""
        if not log.is_file():
            return None
        stat = log.stat()
        if stat.st_ino == self.inode and stat.st_size <= self.size:
            return None
        stream = log.open("rb")
        stream.seek(self.size if stat.st_ino == self.inode else 0)
        return stream


def lines(path: Path, earlier: Earlier, has_ended: Callable[[], bool]) -> Iterator[str]:
    """Whole lines of a log that grows, until its job has ended."""
    rest = b""
    with contextlib.ExitStack() as stack:
        stream = None
        while True:
            last = has_ended()  # before the look: what was written until then is seen
            if stream is None and (opened := earlier.opened(path)) is not None:
                stream = stack.enter_context(opened)
            *whole, rest = (rest + (stream.read() if stream else b"")).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
            if last:
                return
            time.sleep(PAUSE)


@contextlib.contextmanager
def following(log: str | None) -> Iterator[None]:
    """Show the progress of the job that writes this log, while the block runs; nothing where it is None."""
    if log is None:
        yield
        return
    earlier = Earlier.of(Path(log))
    command = [sys.executable, "-m", __name__, log, str(earlier.inode), str(earlier.size), str(os.getpid())]
    # In a session of its own: Ctrl-C is the launcher's, which ends this one when its job has ended.
    follower = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        follower.terminate()
        try:
            follower.wait(LAST_LOOK)
        except subprocess.TimeoutExpired:  # the terminal takes nothing more
            follower.kill()
            follower.wait()


def main(arguments: list[str]) -> None:
    """Follow one log, until the launcher says that the job has ended, or is gone."""
    ended = list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    log, (inode, size, launcher) = Path(arguments[0]), map(int, arguments[1:])
    screen = Screen(sys.stderr)
    with contextlib.suppress(OSError):  # whoever watched is gone
        for line in lines(log, Earlier(inode, size), lambda: bool(ended) or os.getppid() != launcher):
            screen.show(line)
        screen.clear()


if __name__ == "__main__":
    main(sys.argv[1:])
