"""What the launcher itself writes into the log of a job: the lines above and below the job's own."""

import contextlib
import re
import shlex
import shutil
import signal
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

NOT_FOUND, NOT_EXECUTABLE = 127, 126
_ROOM_BYTES = 2**16
OWN_LINES = ("# command:", "# host:", "# started:", "# ended:")


def keep_earlier(log: Path) -> None:
    """Rename the log of an earlier attempt, x.log to x.1.log, the next one to x.2.log: none is ever erased."""
    if not log.is_file() or log.stat().st_size == 0:
        return
    numbers = [
        re.fullmatch(rf"{re.escape(log.stem)}\.(\d+){re.escape(log.suffix)}", path.name)
        for path in log.parent.iterdir()
    ]
    last = max((int(match[1]) for match in numbers if match), default=0)
    log.rename(log.with_name(f"{log.stem}.{last + 1}{log.suffix}"))


def head(words: Sequence[str]) -> str:
    """The first lines: command, host, start."""
    return f"# command: {shlex.join(words)}\n# host: {socket.gethostname()}\n# started: {_now()}\n#\n"


def end(code: int, seconds: float) -> str:
    """The last line of a job that ended by itself or by a signal: exit code and elapsed seconds."""
    by_signal = f" ({signal.Signals(code - 128).name})" if code - 128 in set(signal.Signals) else ""
    return f"# ended: {_now()}, exit code {code}{by_signal}, elapsed {seconds:.1f} s\n"


def ended_from_outside(state: str) -> str:
    """The last line of a job that could not write its own."""
    return f"# ended: before {_now()}, {state}\n"


def cannot_start(words: Sequence[str], error: OSError) -> tuple[int, str]:
    """The exit status of a command that cannot be started, as a shell has it, and the line for the log."""
    code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return code, f"{words[0]}: {error.strerror}\n"


def add(log: IO[bytes], text: str) -> None:
    """Write into the log of a job; a full disk that has no room for it must not keep the launcher from its jobs."""
    with contextlib.suppress(OSError):
        log.write(text.encode())


def full_disk(path: str | Path) -> str | None:
    """Where a log may lack its last lines for want of room: a sentence about that."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(Path(path).parent).free < _ROOM_BYTES:
            return f"The disk of {path} is full, so the log may lack the reason. Make room."
    return None


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")
