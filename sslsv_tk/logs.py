"""Log lines, and how a command ends: one clear line for a user's mistake, never a traceback."""

import logging
import shlex
import sys
from collections.abc import Callable, Sequence

FORMAT = "%(asctime)s (%(name)s) %(message)s"


def logger(name: str) -> logging.Logger:
    """The logger of a command or of a part; lines go to standard error."""
    return logging.getLogger(name)


def run_command(main: Callable[[Sequence[str] | None], int | None], arguments: Sequence[str] | None = None) -> int:
    """Run a command's main: log the command line, turn expected errors into one line and exit status 1.

    Expected are ValueError and its subclasses (the library's word for bad input) and OSError (disk full, not
    allowed, not found). Everything else is a fault of ours and keeps its traceback.
    """
    logging.basicConfig(level=logging.INFO, format=FORMAT, datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr)
    words = sys.argv[1:] if arguments is None else list(arguments)
    program = main.__module__ if main.__module__ != "__main__" else sys.argv[0].rpartition("/")[2].removesuffix(".py")
    log = logger(program.rpartition(".")[2])
    log.info("%s", shlex.join([program, *words]))
    try:
        return main(arguments) or 0
    except (ValueError, OSError) as error:
        log.error("error: %s", " ".join(str(error).split()))
        return 1
    except KeyboardInterrupt:
        log.error("interrupted")
        return 2
