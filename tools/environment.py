#!/usr/bin/env python3
"""Facts about the Python environment for the shell scripts; standard library only, any Python from 3.11.

environment.py folder         where the environment belongs: SSLSV_VENV, or a folder of the user's cache
environment.py requirements   what it must hold, one requirement per line
environment.py missing        requirements that the running interpreter does not meet
environment.py missing-to-run the same without the extras: enough for a recipe
"""

import hashlib
import importlib.metadata
import os
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("cluster", "report", "dev")


def requirements(extra_names: Sequence[str] = EXTRAS) -> list[str]:
    """The package's requirements with those of some of its extras."""
    setup = runpy.run_path(str(ROOT / "setup.py"), run_name="requirements")
    extras = [requirement for extra in extra_names for requirement in setup["EXTRAS"][extra]]
    return list(dict.fromkeys([*setup["REQUIREMENTS"], *extras]))


def folder() -> str:
    """The environment's folder: its default name changes with the requirements and the Python version."""
    named = os.environ.get("SSLSV_VENV")
    if named:
        return str(Path(named).expanduser().absolute())
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    key = hashlib.sha256("\n".join([version, *requirements()]).encode()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(cache) / "sslsv_tk" / f"venv-{key}")


def is_met(requirement: str) -> bool:
    """Is `name` or `name==1.2.*` installed? These two forms are all that setup.py uses."""
    match = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:==([0-9.]+)\.\*)?", requirement)
    if match is None:
        raise SystemExit(f"setup.py: requirement {requirement!r} is neither `name` nor `name==1.2.*`.")
    try:
        installed = importlib.metadata.version(match[1])
    except importlib.metadata.PackageNotFoundError:
        return False
    return match[2] is None or (installed + ".").startswith(match[2] + ".")


def unmet(wanted: Sequence[str]) -> list[str]:
    """Those of the requirements that the running interpreter does not meet."""
    return [requirement for requirement in wanted if not is_met(requirement)]


def main() -> None:
    """Print what was asked for."""
    answers = {
        "folder": lambda: [folder()],
        "requirements": requirements,
        "missing": lambda: unmet(requirements()),
        "missing-to-run": lambda: unmet(requirements(extra_names=())),
    }
    if len(sys.argv) != 2 or sys.argv[1] not in answers:
        raise SystemExit(__doc__)
    for line in answers[sys.argv[1]]():
        print(line)


if __name__ == "__main__":
    main()
