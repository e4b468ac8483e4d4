"""A small file system that is nearly full: what writers do there."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import small_disk

PAGE = 4096
"""What a file takes at least, and a multiple of which it takes."""


class Disk:
    """A file system in memory, of which as much as a test wants is taken by a file that nobody asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def leave(self, room: int) -> None:
        """Leave so many bytes free, and what is used already."""
        self.empty()
        state = os.statvfs(self.folder)
        with open(self._filler, "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, state.f_bavail * state.f_frsize - room))

    def empty(self) -> None:
        """Leave all the room that there is."""
        self._filler.unlink(missing_ok=True)

    @property
    def used(self) -> int:
        """Bytes that files take."""
        return small_disk.used(self.folder)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Disk]:
    """A disk of so many bytes; the test is skipped where this user may not mount one."""
    with ExitStack() as stack:
        try:
            stack.enter_context(small_disk.mounted(folder, size))
        except small_disk.NotMounted as error:
            pytest.skip(f"full disks are not tried: {error}")
        yield Disk(folder)
