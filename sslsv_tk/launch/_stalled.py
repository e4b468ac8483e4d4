"""Jobs of this machine that do nothing: said once, with what they wait for, as far as Linux tells it.

A job is at work while its processes use the processor or its log grows. Looks are counted, not seconds, so a launcher
that was suspended itself finds nothing wrong.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOOK_SECONDS = 20.0
"""Between two looks at the jobs."""
MOST_IDLE_LOOKS = 9
"""Three minutes."""
_CALLS: dict[
    str, dict[int, str | int]
] = {  # numbers of calls of the system: which argument is a file that is open, or the name of one
    "x86_64": {0: "read of", 17: "read of", 1: "write to", 18: "write to", 2: 0, 257: 1},
    "aarch64": {63: "read of", 67: "read of", 64: "write to", 68: "write to", 56: 1},
}
_MOST_NAME_BYTES = 4096
_STATES = {
    "T": "is stopped (kill -CONT {pid} lets it go on)",
    "t": "is stopped by a debugger",
    "D": "waits for a disk",
}


@dataclass
class Watch:
    """One job: the leader of its session, and its log."""

    session: int
    log: Path
    _seen: tuple[int, int] = (-1, -1)
    _idle: int = field(default=0, init=False)

    def look(self) -> str | None:
        """What is to be said of the job, once in each spell of idleness; call it every LOOK_SECONDS."""
        processes = list(_of_session(self.session))
        ticks = sum(_ticks(fields) for _, fields in processes)
        now = (ticks, self.log.stat().st_size if self.log.is_file() else 0)
        self._idle = self._idle + 1 if now == self._seen else 0
        self._seen = now
        if self._idle != MOST_IDLE_LOOKS:
            return None
        reasons = [reason for pid, fields in processes if (reason := _reason(pid, fields[0]))]
        minutes = MOST_IDLE_LOOKS * LOOK_SECONDS / 60
        return (
            f"has done nothing for {minutes:.2g} minutes: {'; '.join(reasons) or 'what it waits for is not known'}; it"
            f" is waited for, see {self.log}"
        )


def say(number: int, what: str) -> None:
    """A line on the terminal; a terminal that takes none must not stop the jobs."""
    with contextlib.suppress(OSError):
        print(f"launch: job {number} {what}", file=sys.stderr, flush=True)


def _of_session(session: int) -> Iterator[tuple[int, list[str]]]:
    """Each process of a session, and what /proc/PID/stat says of it from its state on."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
                fields = Path(entry.path, "stat").read_text().rpartition(") ")[2].split()
                if int(fields[3]) == session:
                    yield int(entry.name), fields


def _ticks(fields: list[str]) -> int:
    """Processor time of a process and of its children that have ended."""
    return sum(map(int, fields[11:15]))


def _reason(pid: int, state: str) -> str:
    """What a process waits for, in words; nothing where it may be waiting for another one of the job."""
    name = f"process {pid} ({_name(pid)})"
    if state in "Tt":
        return f"{name} {_STATES[state].format(pid=pid)}"
    if file := _file(pid):
        return f"{name} waits for a {file}"
    return f"{name} {_STATES[state]}" if state in _STATES else ""


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "?"


def _file(pid: int) -> str:
    """The file that a process reads, writes or opens at this moment; nothing where that cannot be seen."""
    calls = _CALLS.get(platform.machine(), {})
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = Path(f"/proc/{pid}/syscall").read_text().split()
        call = calls.get(int(words[0]))
        if isinstance(call, str):
            target = os.readlink(f"/proc/{pid}/fd/{int(words[1], 16)}")
            return f"{call} {target}" if target.startswith("/") else ""
        if call is not None:
            return f"file to open, {_text_at(pid, int(words[1 + int(call)], 16))}"
    return ""


def _text_at(pid: int, address: int) -> str:
    """The text in the memory of a process that begins there."""
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        page = _MOST_NAME_BYTES - address % _MOST_NAME_BYTES  # the next page may not be there
        return os.fsdecode(os.pread(descriptor, page, address).partition(b"\0")[0])
    finally:
        os.close(descriptor)
