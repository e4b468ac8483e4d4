"""What tests of the Slurm back end share: a cluster and its launchers, programs that pretend, a slurm.conf."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sslsv_tk.launch._slurm import site
from sslsv_tk.launch.base import JobArray

ROOT = Path(__file__).resolve().parents[2]
ARRAY = JobArray(1, 4, "log/x.JOB.log", ("echo", "JOB", "a b", "$(touch ran)", "it's"))
SCRIPT = ROOT / "tools/start_test_slurm.sh"


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something that must come; the limit only keeps a broken launcher from hanging the tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def read_site(text: str) -> site.Site:
    """A slurm.conf of this text, read."""
    Path("slurm.conf").write_text(text)
    return site.read("slurm.conf")


def program(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of this name first on the path."""
    folder = Path.cwd() / "programs"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _as_in_the_foreground() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Launcher:
    """A launcher that has been started."""

    process: "subprocess.Popen[bytes]"
    messages: Path

    def said(self) -> str:
        return self.messages.read_text()

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(240)


@dataclass
class Cluster:
    """The cluster, and launchers that use it in the working folder."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *words: str) -> str:
        """What a program of Slurm prints."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True).stdout

    def script(self, action: str, *options: str) -> None:
        """Call the script that made the cluster."""
        subprocess.run([SCRIPT, action, "--folder", self.folder, *options], check=True, stdout=subprocess.DEVNULL)

    def conf(self, *words: str) -> str:
        """The recipe's slurm.conf with more words of sbatch; the name of the file."""
        text = (ROOT / "egs/voxceleb/conf/slurm.conf").read_text()
        path = Path(f"slurm{len(list(Path.cwd().glob('slurm*.conf')))}.conf")
        path.write_text(text.replace("--export=ALL", " ".join(["--export=ALL", *words])))
        return str(path)

    def start(self, *words: str, conf: str | None = None) -> Launcher:
        """Start a launcher."""
        messages = Path.cwd() / f"messages{len(list(Path.cwd().glob('messages*')))}"
        command = [sys.executable, "-m", "sslsv_tk.launch", "slurm", "--conf", conf or self.conf(), *words]
        with messages.open("wb") as stream:
            process = subprocess.Popen(
                command, env=self.environment, stderr=stream, preexec_fn=_as_in_the_foreground, cwd=Path.cwd()
            )
        return Launcher(process, messages)

    def run(self, *words: str, conf: str | None = None) -> tuple[int, str]:
        """The exit status of a launcher and what it said."""
        launcher = self.start(*words, conf=conf)
        return launcher.ended(), launcher.said()

    def jobs(self, state: str = "all") -> list[str]:
        """All tasks that the cluster knows in this state, as job_task."""
        return self.ask("squeue", "-h", "-r", f"--states={state}", "-o", "%F_%K").split()
