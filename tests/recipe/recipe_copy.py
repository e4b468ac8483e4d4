"""A copy of the recipe in a temporary place, run with the environment that runs the tests."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Recipe:
    """egs/voxceleb in a folder of its own; the package, tools and utils are links to the checkout."""

    folder: Path

    def start(self, *options: str, **environment: str) -> "subprocess.Popen[str]":
        """Start `./run.sh options` in a process group of its own, with standard output and error together."""
        return subprocess.Popen(
            ["./run.sh", *options],
            cwd=self.folder,
            env={**os.environ, "SSLSV_VENV": sys.prefix, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, expect: int = 0, **environment: str) -> str:
        """Run `./run.sh options` to its end and return what it printed; fails the test on another exit status."""
        process = self.start(*options, **environment)
        printed, _ = process.communicate()
        assert process.returncode == expect, f"run.sh {' '.join(options)}: status {process.returncode}\n{printed}"
        return printed


def copy_recipe(destination: Path) -> Recipe:
    """Copy scripts, conf/ and local/ of egs/voxceleb, not what earlier runs left there; link the rest."""
    source, folder = ROOT / "egs" / "voxceleb", destination / "egs" / "voxceleb"
    folder.mkdir(parents=True)
    for script in source.glob("*.sh"):
        shutil.copy2(script, folder)
    for name in ("conf", "local"):
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "sslsv_tk", "tools", "utils"):
        (destination / name).symlink_to(ROOT / name)
    return Recipe(folder)
