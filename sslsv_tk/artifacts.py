"""Files that appear whole or not at all."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

RECORD = "made.json"
"""The record of what made a folder (records.py)."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StaleArtifact(ValueError):
    """An artifact on disk was made with other options or from other inputs."""


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Where the disk, a quota or a limit has no room for what the block writes, the OSError names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its name when the block ends without an error.

    A reader sees the old file or the new one, never a part, also after kill -9 or on a full disk.
    `mode` is "w" (UTF-8 text) or "wb".
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), open(temporary, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def from_json(text: str | bytes) -> Any:
    """The value that a JSON text holds; ValueError where it is none, also where it is nested without end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
