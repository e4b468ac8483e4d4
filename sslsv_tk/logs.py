"""Log lines, and how a command ends: one clear line for a user's mistake, never a traceback."""

import contextlib
import logging
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from sslsv_tk import artifacts

FORMAT = "%(asctime)s (%(name)s) %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
_LACK_OF_MEMORY = ("can't allocate memory", "out of memory")
"""In errors of torch, on the CPU and on a GPU."""


def logger(name: str) -> logging.Logger:
    """The logger of a command or of a part; lines go to standard error."""
    return logging.getLogger(name)


class _Lines(logging.StreamHandler[IO[str]]):
    """Writes log lines; what a full disk does not take is remembered, where logging would print a traceback."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self.setFormatter(logging.Formatter(FORMAT, TIME_FORMAT))
        self.error: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:
        """Called where a line could not be written."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        self.error = self.error or (error if isinstance(error, OSError) else None)


@contextlib.contextmanager
def also_to(path: str | Path) -> Iterator[None]:
    """Append log lines to a file as well, as long as the block runs; OSError at its end where the disk had no room."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with artifacts.naming(path), open(path, "a", encoding="utf-8") as stream:
        handler = _Lines(stream)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
        if handler.error is not None:
            raise handler.error


def run_command(main: Callable[[Sequence[str] | None], int | None], arguments: Sequence[str] | None = None) -> int:
    """Run a command's main: log the command line, turn expected errors into one line and exit status 1.

    Expected are ValueError and its subclasses (the library's word for bad input), OSError (disk full, not allowed, not
    found), memory that does not suffice, and a library that cannot be loaded. Everything else is a fault of ours and
    keeps its traceback.
    """
    if callable(handler := signal.getsignal(signal.SIGINT)) and getattr(handler, "__module__", "") == "sslsv_tk.bin":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # all is loaded
    logging.basicConfig(level=logging.INFO, handlers=[_Lines(sys.stderr)])
    words = sys.argv[1:] if arguments is None else list(arguments)
    program = main.__module__ if main.__module__ != "__main__" else sys.argv[0].rpartition("/")[2].removesuffix(".py")
    log = logger(program.rpartition(".")[2])
    log.info("%s", shlex.join([program, *words]))
    try:
        return main(arguments) or 0
    except (ValueError, OSError, MemoryError, RuntimeError, ImportError) as error:
        line = _line_of(error)
        if line is None:
            raise
        log.error("error: %s", " ".join(line.split()))
        return 1
    except KeyboardInterrupt:
        log.error("interrupted")
        return 2


def _line_of(error: Exception) -> str | None:
    """What a user is told of an error; None: it is a fault of ours."""
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        if name == __name__.partition(".")[0]:
            return None
        return f"{name or 'a library'} cannot be loaded ({error}). tools/install.sh makes or repairs the environment."
    lack = isinstance(error, MemoryError) or any(sign in str(error) for sign in _LACK_OF_MEMORY)
    if lack and not isinstance(error, (ValueError, OSError)):
        tried = re.search(r"tried to allocate [\d.]+ \w+", str(error), re.IGNORECASE)
        said = tried[0] if tried else str(error) or "an array cannot be made"
        return f"not enough memory: {said}. Ask for less at a time, as by a smaller training.batch_size."
    return str(error) if isinstance(error, (ValueError, OSError)) else None
