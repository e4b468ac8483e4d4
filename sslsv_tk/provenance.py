"""What a result was made with: the commit of the toolkit, versions, hardware."""

import contextlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import sslsv_tk

_PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "kaldiio", "soundfile")


def commit() -> str:
    """Commit of the toolkit's checkout, with -dirty when it holds changes; "unknown" for an installed copy."""
    root = Path(__file__).resolve().parent.parent
    git = ["git", "-C", str(root)]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if Path(top.stdout.strip()).resolve() == root:
            describe = [*git, "describe", "--always", "--dirty", "--abbrev=9", "--exclude", "*"]
            return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def hardware() -> str:
    """The processor of this machine and its GPUs, as Linux names them."""
    names = []
    for pattern, field in (("/proc/cpuinfo", "model name"), ("/proc/driver/nvidia/gpus/*/information", "Model")):
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found = [line.partition(":")[2].strip() for line in lines if line.startswith(field)]
            names += found[:1]
    return ", ".join(names) or "unknown"


def versions() -> dict[str, str]:
    """This toolkit, Python and the packages that figures depend on."""
    found = {"sslsv_tk": sslsv_tk.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
