"""What the commands of a wav.scp write: each is run once, however many segments are cut from its output."""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sslsv_tk.audio import headers
from sslsv_tk.audio.sound import Header, UnreadableAudio

_MOST_WORDS = 200  # characters of what a command said
_PREFIX = "sslsv_commands"


def _here() -> str:
    """How names of folders of this machine begin; a number of a process follows."""
    return f"{_PREFIX}.{socket.gethostname()}."


def _remove_those_of_dead_processes() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{glob.escape(_here())}*"):
        number = path.name.removeprefix(_here()).partition(".")[0]
        if number.isdigit() and not Path("/proc", number).exists():
            shutil.rmtree(path, ignore_errors=True)


class CommandOutputs:
    """A temporary folder with the output of each command, from its first use to its last.

    It lies where TMPDIR says. The folder goes when the block ends, however it ends; that of a process that was killed
    goes when the next one on the machine begins.
    """

    def __init__(self, uses: Mapping[str, int]) -> None:
        """`uses`: how often each command will be asked for."""
        self._left = dict(uses)
        self._found: dict[str, tuple[str, Header] | UnreadableAudio] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._spent: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def of(self, command: str) -> tuple[str, Header]:
        """Where the output of a command is, until the next call, and its header; UnreadableAudio where it is none."""
        if self._spent is not None:
            os.unlink(self._spent)
            self._spent = None
        if command not in self._found:
            try:
                self._found[command] = self._run(command)
            except UnreadableAudio as fault:
                self._found[command] = fault
        found = self._found[command]
        self._left[command] = self._left.get(command, 1) - 1
        if self._left[command] <= 0:
            del self._found[command]
        if isinstance(found, UnreadableAudio):
            raise found
        if self._left[command] <= 0:
            self._spent = found[0]
        return found

    def _run(self, command: str) -> tuple[str, Header]:
        if self._folder is None:
            _remove_those_of_dead_processes()
            self._folder = tempfile.TemporaryDirectory(prefix=f"{_here()}{os.getpid()}.")
        output, name = tempfile.mkstemp(dir=self._folder.name)
        with open(output, "wb") as stream:
            words = ["sh", "-c", command.rstrip().removesuffix("|")]
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.PIPE, check=False)
        said = " ".join(done.stderr.decode(errors="replace").split())[-_MOST_WORDS:]
        if done.returncode != 0:
            raise UnreadableAudio(f"{command}: exit status {done.returncode}: {said or 'no message'}")
        try:
            return name, headers.inspect_output(command, name)
        except UnreadableAudio as fault:
            raise UnreadableAudio(f"{fault}{f' ({said})' if said else ''}") from None
