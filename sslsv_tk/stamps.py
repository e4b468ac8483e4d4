"""Which files need not be hashed again: size, time and inode that they had when they had a known digest.

A stamp decides nothing but that. A file whose stamp has changed (it was copied, touched, or written to) is hashed, and
its digest decides. One that is found damaged although it has its stamp, as a bad disk leaves it, gets another time.
`.made.json.stamps` lies beside `made.json`; where that folder cannot be written it lies in the user's cache, so that a
read-only folder is not hashed by every command.
"""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from sslsv_tk import artifacts, digests

RACY_NS = 100_000_000
"""A file written so shortly before it was stamped may be written again without another time."""
Stamp = tuple[int, int, int]


def stamp_of(file: str | bytes | Path) -> Stamp:
    """Size, time and inode of a file."""
    return stamp_in(os.stat(file))


def stamp_in(state: os.stat_result) -> Stamp:
    """The same, of a file whose state is known."""
    return state.st_size, state.st_mtime_ns, state.st_ino


def distrust(file: str | Path) -> None:
    """Give a file that is found damaged another time: then no stamp speaks for it, and its stage does not skip it."""
    with contextlib.suppress(OSError):
        os.utime(file)


class Stamps:
    """The stamps of the files that one record speaks of, by their names in it."""

    def __init__(self, record: Path) -> None:
        self.path = record.with_name(f".{record.name}.stamps")
        self._found: dict[str, Any] = {**_load(self._cached()), **_load(self.path)}
        self._changed = False

    def _cached(self) -> Path:
        above = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return Path(above) / "sslsv_tk" / "stamps" / digests.of_value(str(self.path.absolute()))

    def fit(self, name: str, file: Path, digest: str) -> bool:
        """Had the file, as it is now by size, time and inode, this digest?"""
        stamp = self._found.get(name)
        if not isinstance(stamp, list) or len(stamp) != 5 or stamp[0] != digest:
            return False
        return tuple(stamp[1:4]) == stamp_of(file) and stamp[2] + RACY_NS < stamp[4]

    def note(self, name: str, file: Path, digest: str) -> None:
        """The file has this digest now."""
        self._found[name] = [digest, *stamp_of(file), time.time_ns()]
        self._changed = True

    def save(self) -> None:
        """Write what was noted. Half a file is taken for none: then files are hashed once more, and no harm is done."""
        if not self._changed:
            return
        for path in (self.path, self._cached()):
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(self._found), encoding="utf-8")
                break
        self._changed = False


def _load(path: Path) -> dict[str, Any]:
    try:
        found = artifacts.from_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
