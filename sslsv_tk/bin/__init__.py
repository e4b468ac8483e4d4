"""One thin command per step of a recipe: parse, load, call, write."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def _end_while_loading(number: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C while a command imports what it needs: one line, where Python would show what it was importing."""
    os.write(2, b"error: interrupted while the command was being loaded\n")
    os._exit(2)


if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # This is the command itself, of which nothing else is loaded yet. logs.run_command takes over.
    signal.signal(signal.SIGINT, _end_while_loading)
