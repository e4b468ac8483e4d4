"""Which checkpoints there must be: a list beside them, so that one that was deleted is missed.

    checkpoints/.listed.json    names of the epoch files that are kept, of averaged.pt and latest.pt once they are there

A name is listed after its file is written, and goes from the list before its file does. So a kill between the two
never leaves a name without a file.
"""

import json
from collections.abc import Collection
from pathlib import Path

from sslsv_tk import artifacts, digests

NAME = ".listed.json"


def read(folder: Path) -> set[str]:
    """The names that are listed in a folder of checkpoints; none without a list. ValueError where it is damaged."""
    path = folder / NAME
    try:
        found = digests.unsealed(artifacts.from_json(path.read_bytes()))
        if found is not None:
            return set(found["files"])
    except FileNotFoundError:
        return set()
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{path} has other contents than were written")


def write(folder: Path, names: Collection[str]) -> None:
    """List these files and no others."""
    with artifacts.replacing(folder / NAME) as stream:
        json.dump(digests.sealed({"files": sorted(names)}), stream)


def add(folder: Path, name: str) -> None:
    """List one more file; a damaged list is begun anew with it."""
    try:
        known = read(folder)
    except ValueError:
        known = set()
    if name not in known:
        write(folder, known | {name})


def missing(folder: Path) -> list[Path]:
    """The files that are listed and not there; ValueError where the list is damaged."""
    return [path for name in sorted(read(folder)) if not (path := folder / name).is_file()]
