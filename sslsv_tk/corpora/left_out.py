"""Files that were left out as unusable, as they were then: one that was repaired since is taken in again.

DIR/rejected            utterances and the reason of each
DIR/.rejected.files     their files: digest, size, time and inode of each ("absent" for one that was not there)
"""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from sslsv_tk import artifacts, digests
from sslsv_tk.audio import sound
from sslsv_tk.stamps import RACY_NS, stamp_of

_ABSENT = "absent"
_UNKNOWN = [-1, -1, -1]


def _beside(listed_in: Path) -> Path:
    return listed_in.with_name(f".{listed_in.name}.files")


def note(listed_in: Path, files: Iterable[str]) -> None:
    """Write down what the unusable files hold; nothing for commands, and no file where there is none."""
    found = {file: [_digest(file), *_stamp(file)] for file in sorted(set(files)) if not sound.is_command(file)}
    if not found:
        _beside(listed_in).unlink(missing_ok=True)
        return
    with artifacts.replacing(_beside(listed_in)) as stream:
        json.dump(digests.sealed({"files": found}), stream)


def changed(listed_in: Path) -> list[str]:
    """The files that hold something else than when they were left out; those that are gone now are not among them."""
    try:
        noted = digests.unsealed(artifacts.from_json(_beside(listed_in).read_bytes()))
        files = noted["files"].items() if noted is not None else ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [
        file
        for file, (digest, *stamp) in files
        if (stamp != _stamp(file) or stamp == _UNKNOWN) and _digest(file) not in (digest, _ABSENT)
    ]


def _file_of(path: str) -> str:
    """The file that holds a value of wav.scp: of an entry of an ark the ark."""
    entry = sound.ark_entry(path)
    return path if entry is None else entry[0]


def _digest(path: str) -> str:
    """Of the whole file; a folder or a pipe in its place is as good as none."""
    try:
        return digests.of_file(_file_of(path)) if os.path.isfile(_file_of(path)) else _ABSENT
    except OSError:
        return _ABSENT


def _stamp(path: str) -> list[int]:
    """Size, time and inode; those of nothing where the file may still be written to."""
    try:
        found = stamp_of(_file_of(path))
    except OSError:
        return _UNKNOWN
    return _UNKNOWN if found[1] + RACY_NS > time.time_ns() else list(found)
