"""What the launcher itself writes into the log of a job: the lines above and below the job's own."""

import re
import shlex
import signal
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

NOT_FOUND, NOT_EXECUTABLE = 127, 126
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


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")
