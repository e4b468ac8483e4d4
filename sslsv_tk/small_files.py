"""Text of small files that a user names: what would never end, as a pipe or a device, is not read."""

import stat
from pathlib import Path

MOST_BYTES = 2**17
"""The longest configuration of the recipe has a few thousand."""


def read(path: Path, what: str) -> str:
    """What a file says; ValueError where it is no text, no file or far too long. `what` it is, for the message."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ValueError(f"{path}: a pipe or a device, not a {what}.")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"{path}: {status.st_size} bytes, so not a {what}.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path}: no such {what}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text, so not a YAML file.") from None
