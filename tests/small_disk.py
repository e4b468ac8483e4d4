"""A file system of a few bytes in memory, for whoever may mount one: that is root."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class NotMounted(OSError):
    """This user may not mount a file system here."""


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of so many bytes at a folder, as long as the block runs; NotMounted where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if done is None or done.returncode != 0:
        raise NotMounted(f"mounting a small tmpfs at {folder} needs root. {done.stderr if done else ''}".strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, size: int) -> None:
    """Another size of the file system."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def used(folder: Path) -> int:
    """Bytes that files take."""
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize
