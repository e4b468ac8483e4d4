#!/usr/bin/env python3
"""Facts about the Python environment for the shell scripts; standard library only, any Python from 3.11.

environment.py folder            where the environment belongs: SSLSV_VENV, or a folder of the user's cache
environment.py requirements SET  what it must hold, one requirement per line
environment.py missing SET       requirements of the set that the running interpreter does not meet
environment.py broken SET        installed requirements that cannot be imported; status 1 if one of them stops the work
environment.py describe          Python, torch and torchaudio of the running interpreter
environment.py untested          installed packages in another version than tools/locks name
environment.py unlocked          installed packages that tools/locks do not name
environment.py unfit             the torchaudio that must replace one that does not load beside the installed torch
environment.py torchaudio        one line if torchaudio cannot be imported: both versions, and the pair to install
environment.py lock SET          the lines of tools/locks/SET.txt: what is installed here and no smaller set locks
environment.py key               changes with all that an installation depends on: requirements, locks, scripts, Python

SET: needed (without it no recipe runs), run (needed, and what a recipe can use), test (run, and what tests use).
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "tools/locks"
EXTRAS = {"needed": (), "run": ("report",), "test": ("report", "dev")}
MODULES = {
    "pytest-xdist": "xdist",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "scipy": "scipy.signal",
    "tensorboard": "torch.utils.tensorboard",
    "types-pyyaml": None,
    "scipy-stubs": None,
}
"""What is imported of a requirement where that is not its name; None: stubs, which nobody can import."""
FITTING_TORCHAUDIO = {"2.11": "2.11.0"}
"""By release of torch: torchaudio 2.11.1 admits torch 2.11, beside which it does not load (undefined symbol)."""
NOT_OURS = {"pip", "wheel", "sslsv-tk"}


def normal(name: str) -> str:
    """A package's name as the index compares it: `types-PyYAML` and `types_pyyaml` are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_version() -> str:
    """Major and minor number: packages are built for these."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def requirements(name: str = "test") -> list[str]:
    """Those of a set: the package's and those of some of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for extra in EXTRAS[name] for requirement in project["optional-dependencies"][extra]]
    return list(dict.fromkeys([*project["dependencies"], *extras]))


def folder() -> str:
    """The environment's folder: its default name changes with the requirements, the locks and the Python version."""
    named = os.environ.get("SSLSV_VENV")
    if named:
        return str(Path(named).expanduser().absolute())
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(cache) / "sslsv_tk" / f"venv-{key()[:12]}")


def key(*scripts: str) -> str:
    """A digest of the Python version, the requirements, the locks and some of the scripts in tools/."""
    paths = [*sorted(LOCKS.glob("*.txt")), *(ROOT / "tools" / script for script in scripts)]
    parts = [python_version(), *requirements(), *(path.read_text(encoding="utf-8") for path in paths)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def installed(name: str) -> str | None:
    """The version of a package that the running interpreter has."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def release(version: str) -> list[int]:
    """[2, 11] of 2.11.0+cu130: no zeros at the end; the build and a, b, rc (as in NVIDIA's) do not count."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def parts_of(requirement: str) -> tuple[str, str, str]:
    """Name, relation and version of `name`, `name>=1.2` or `name==1.2.3`: pyproject.toml has no other forms."""
    match = re.fullmatch(r"([A-Za-z0-9_.-]+?)(?:(>=|==)([0-9][0-9A-Za-z.+]*))?", requirement)
    if match is None:
        raise SystemExit(f"pyproject.toml: expected `name`, `name>=1.2` or `name==1.2.3`, found {requirement!r}.")
    return match[1], match[2] or "", match[3] or ""


def is_met(requirement: str) -> bool:
    """Does the running interpreter have the package, in a version that fits?"""
    name, relation, wanted = parts_of(requirement)
    found = installed(name)
    if found is None or not relation:
        return found is not None
    return release(found) == release(wanted) if relation == "==" else release(found) >= release(wanted)


def missing(name: str) -> list[str]:
    """Those requirements of a set that are not met; an older version is named with what is there."""
    wanted = [requirement for requirement in requirements(name) if not is_met(requirement)]
    found = [installed(parts_of(requirement)[0]) for requirement in wanted]
    return [one if has is None else f"{one} (found: {has})" for one, has in zip(wanted, found, strict=True)]


def locked(names: Sequence[str] = ("run", "test")) -> dict[str, str]:
    """Version by name of package."""
    lines = [line for name in names for line in (LOCKS / f"{name}.txt").read_text(encoding="utf-8").splitlines()]
    pins = [parts_of(line) for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, _, version in pins}


def all_installed() -> dict[str, str]:
    """Version by name of every package but those that every environment has."""
    found = {normal(package.metadata["Name"]): package.version for package in importlib.metadata.distributions()}
    return {name: found[name] for name in sorted(found) if name not in NOT_OURS}


def untested() -> list[str]:
    """`name version` of what is locked in another version; another build of the same version is another one."""
    pins = locked()
    return [f"{name} {version}" for name, version in all_installed().items() if pins.get(name, version) != version]


def unlocked() -> list[str]:
    """`name version` of what no lock names."""
    pins = locked()
    return [f"{name} {version}" for name, version in all_installed().items() if name not in pins]


def lock(name: str) -> list[str]:
    """Pins of what is installed; those that the set to run has are not repeated in the set to test."""
    known = locked(["run"]) if name == "test" else {}
    return [f"{package}=={version}" for package, version in all_installed().items() if package not in known]


def fitting_torchaudio(torch: str | None) -> str | None:
    """The one torchaudio that loads beside this torch, where there is only one."""
    return FITTING_TORCHAUDIO.get(".".join((torch or "").split(".")[:2]))


def unfit() -> list[str]:
    """`torchaudio==2.11.0` where another one is beside torch 2.11."""
    wanted, found = fitting_torchaudio(installed("torch")), installed("torchaudio")
    return [f"torchaudio=={wanted}"] if wanted and found and release(found) != release(wanted) else []


def remedy(package: str) -> str:
    """What to install in place of a package that cannot be imported; for torchaudio the pair."""
    if package != "torchaudio":
        return f"Install it again: pip install --force-reinstall --no-deps {package}"
    torch, pins = installed("torch"), locked()
    fitting = fitting_torchaudio(torch)
    versions = (torch, fitting) if fitting else (pins["torch"], pins["torchaudio"])
    pair = "torch=={} torchaudio=={}".format(*versions)
    return f"Install a pair that loads: pip install {pair}. Nothing else needs it"


def trouble(package: str) -> str | None:
    """One line if a fresh interpreter cannot import the package."""
    module = MODULES.get(normal(package), package)
    if module is None:
        return None
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    beside = f" beside torch {installed('torch')}" if package == "torchaudio" else ""
    return (
        f"{package} {installed(package) or '(not installed)'} cannot be loaded{beside} ({reason}). {remedy(package)}."
    )


def broken(name: str) -> list[str]:
    """One line for each requirement of a set that cannot be imported."""
    found = [trouble(parts_of(requirement)[0]) for requirement in requirements(name)]
    return [line for line in found if line]


def describe() -> list[str]:
    """One line; nothing is imported for it."""
    versions = [f"{name} {installed(name) or 'not installed'}" for name in ("torch", "torchaudio")]
    return [f"Python {platform.python_version()}, {', '.join(versions)}"]


COMMANDS: dict[str, Callable[..., list[str]]] = {
    "folder": lambda: [folder()],
    "requirements": requirements,
    "missing": missing,
    "broken": broken,
    "describe": describe,
    "untested": untested,
    "unlocked": unlocked,
    "unfit": unfit,
    "torchaudio": lambda: [line for line in [trouble("torchaudio")] if line],
    "lock": lock,
    "key": lambda: [key("install.sh", "environment.py", "prove_install.sh", "../pyproject.toml", "../setup.py")],
}
OF_A_SET = {"requirements", "missing", "broken", "lock"}


def main() -> None:
    """Print what was asked for, a line for each; `broken` fails unless torchaudio alone is."""
    command, *rest = sys.argv[1:] or [""]
    if command not in COMMANDS or len(rest) != (command in OF_A_SET) or not set(rest) <= EXTRAS.keys():
        raise SystemExit(__doc__)
    lines = COMMANDS[command](*rest)
    print("".join(f"{line}\n" for line in lines), end="")
    if command == "broken" and not all(line.startswith("torchaudio ") for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
