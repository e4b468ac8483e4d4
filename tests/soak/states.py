"""Folders that can be brought back as they were: bytes, times, inodes: what the toolkit remembers of them fits.

A copy would have other inodes and be looked at file by file; a user's folder is not. So a state is kept twice: once as
a copy, which nothing touches, and once as links to the very files. What was replaced is linked again, what was written
to is filled again from the copy.
"""

import os
import shutil
import subprocess
from pathlib import Path


class State:
    """One state of a folder, kept in FOLDER/NAME and FOLDER/NAME.links."""

    def __init__(self, kept: Path) -> None:
        self.copy, self.links = kept, kept.with_name(f"{kept.name}.links")

    def keep(self, source: Path) -> None:
        """Keep a folder as it is now."""
        for target, how in ((self.links, "-al"), (self.copy, "-a")):
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run(["cp", how, str(source), str(target)], check=True)

    def restore(self, target: Path) -> None:
        """Bring a folder back; what is there besides goes."""
        target.mkdir(parents=True, exist_ok=True)
        _remove_others(self.copy, target)
        folders = [self.copy]
        for path in self.copy.rglob("*"):
            name = path.relative_to(self.copy)
            if path.is_symlink() or not path.is_dir():
                _refill(path, self.links / name)
                _link(self.links / name, target / name)
            else:
                (target / name).mkdir(exist_ok=True)
                folders.append(path)
        for path in folders:
            _set_time(path, target / path.relative_to(self.copy))


def _remove_others(copy: Path, target: Path) -> None:
    """What the copy has not, or has as something else."""
    for entry in os.scandir(target):
        path, wanted = Path(entry.path), copy / entry.name
        is_folder, folder_wanted = entry.is_dir(follow_symlinks=False), wanted.is_dir() and not wanted.is_symlink()
        if is_folder and folder_wanted:
            _remove_others(wanted, path)
        elif is_folder:
            shutil.rmtree(path)
        elif folder_wanted or not os.path.lexists(wanted):
            path.unlink()


def _refill(copy: Path, link: Path) -> None:
    """Give the file that is linked its bytes and its time again, without making a new one."""
    if copy.is_symlink():
        return
    wanted = copy.read_bytes()
    if link.read_bytes() != wanted:
        with open(link, "r+b") as stream:
            stream.write(wanted)
            stream.truncate()
    if link.stat().st_mtime_ns != copy.stat().st_mtime_ns:
        _set_time(copy, link)
    link.chmod(copy.stat().st_mode)


def _link(link: Path, target: Path) -> None:
    if os.path.lexists(target) and os.path.samestat(os.lstat(link), os.lstat(target)):
        return
    target.unlink(missing_ok=True)
    os.link(link, target, follow_symlinks=False)


def _set_time(source: Path, target: Path) -> None:
    state = source.stat()
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
