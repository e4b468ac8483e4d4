"""A python3 that has imported torch already, so that thousands of short commands need no two seconds each.

    python3 tests/soak/warm_python.py --folder /tmp/warm &     # /tmp/warm/bin/python3 answers while this runs
    SSLSV_VENV=/tmp/warm egs/voxceleb/run.sh --tiny true

A server imports torch, numpy, scipy and the like, and a clone's package but not its commands; a second one, without
torch, serves all that needs none. It is forked for every command, which has the caller's arguments, environment,
working directory and open streams. The command ends when its caller is killed, and by os._exit, which is ten times
cheaper than to take apart all modules. What is imported once must not change while the server runs.
"""

import argparse
import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.abc
import io
import logging
import multiprocessing.process
import multiprocessing.util
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HEAVY, LIGHT = "heavy", "light"
REPOSITORY = Path(__file__).resolve().parents[2]
CALLER = Path(__file__).with_name("caller.c")
LONGEST_REQUEST = 2**20
LIBRARIES = ("numpy", "scipy.signal", "scipy.stats", "soundfile", "kaldiio", "yaml", "email", "importlib.metadata")
WITH_TORCH = ("torch", "torch.utils.data", "torch.utils.serialization", "torch.utils.tensorboard")
PACKAGE, COMMANDS = "sslsv_tk", ("bin", "__main__")


@dataclass(frozen=True)
class Command:
    """What a forked process is to run."""

    words: list[str]
    folder: str
    environment: dict[str, str]
    streams: list[int]


@dataclass
class Running:
    """A command that was forked, its caller (None: gone), and what tells its end."""

    pid: int
    ended: int
    caller: socket.socket | None


def write_caller(folder: Path) -> None:
    """The program bin/python3 that hands its command to the server."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    words = ["cc", "-O1", f'-DFOLDER="{folder}"', "-o", str(folder / "bin/python3"), str(CALLER)]
    subprocess.run(words, check=True)


def read_request(request: bytes, streams: list[int]) -> "Command":
    """What caller.c sent."""
    count, *words = map(os.fsdecode, request.removesuffix(b"\0").split(b"\0"))
    arguments, folder, variables = words[: int(count)], words[int(count)], words[int(count) + 1 :]
    return Command(arguments, folder, dict(line.split("=", 1) for line in variables), streams)


class WithoutTorch(importlib.abc.MetaPathFinder):
    """As if torch were not installed: what needs it cannot be imported."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Nothing is found here, and of torch nothing elsewhere."""
        if name.partition(".")[0] == "torch":
            raise ImportError(name)


def preload(clone: Path) -> None:
    """Import the package of a clone without its commands, as far as it can be; and what only some functions import."""
    sys.path.insert(0, str(clone))
    package = importlib.import_module(PACKAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
            if not set(COMMANDS) & set(module.name.split(".")):
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)
    sys.path.remove(str(clone))


# -- the server --------------------------------------------------------------------------------------------------------


class Server:
    """Forks for each command, hands signals on to it, and gives its exit status to its caller."""

    def __init__(self, path: Path) -> None:
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(str(path))
        self.listening.listen(64)
        self.events = selectors.DefaultSelector()
        self.events.register(self.listening, selectors.EVENT_READ)

    def serve(self) -> Command:
        """Until killed; returns in each forked process, with the command that it is to run."""
        while True:
            for key, _ in self.events.select():
                if key.fileobj is self.listening:
                    if (command := self._start(self.listening.accept()[0])) is not None:
                        return command
                elif key.fd in self.events.get_map():
                    self._look_at(key.data, key.fd)

    def _start(self, caller: socket.socket) -> Command | None:
        request, rights, _, _ = caller.recvmsg(LONGEST_REQUEST, socket.CMSG_SPACE(3 * 4))
        if not request:
            caller.close()
            return None
        streams = array.array("i")
        streams.frombytes(rights[0][2])
        pid = os.fork()
        if pid == 0:
            self._leave()
            caller.close()
            return read_request(request, list(streams))
        for stream in streams:
            os.close(stream)
        running = Running(pid, os.pidfd_open(pid), caller)
        self.events.register(running.ended, selectors.EVENT_READ, running)
        self.events.register(caller, selectors.EVENT_READ, running)
        return None

    def _leave(self) -> None:
        for key in list(self.events.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            else:
                os.close(key.fd)
        self.events.close()

    def _look_at(self, running: Running, ready: int) -> None:
        if ready == running.ended:
            code = os.waitstatus_to_exitcode(os.waitpid(running.pid, 0)[1])
            self.events.unregister(running.ended)
            os.close(running.ended)
            if running.caller is not None:
                with contextlib.suppress(OSError):
                    running.caller.send(str(code).encode())
                self._forget_caller(running)
            return
        number = b""
        if running.caller is not None:
            with contextlib.suppress(OSError):
                number = running.caller.recv(1)
        os.kill(running.pid, number[0] if number else signal.SIGKILL)
        if not number:
            self._forget_caller(running)

    def _forget_caller(self, running: Running) -> None:
        if running.caller is not None:
            self.events.unregister(running.caller)
            running.caller.close()
            running.caller = None


# -- a command ---------------------------------------------------------------------------------------------------------


def run(command: Command) -> None:
    """As python3 would: -m MODULE, -c CODE, - for a program on standard input, or a file, each with its arguments."""
    for number, stream in enumerate(command.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(command.folder)
    multiprocessing.process.ORIGINAL_DIR = command.folder  # type: ignore[attr-defined]  # where processes that it spawns look for its file
    os.environ.clear()
    os.environ.update(command.environment)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (as long as the process)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", line_buffering=os.isatty(1))
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    paths = [path for path in command.environment.get("PYTHONPATH", "").split(":") if path]
    words = command.words
    kind, arguments = (words[0], words[1:]) if words and words[0] in ("-m", "-c", "-") else ("", words)
    sys.argv = arguments if kind in ("-m", "") else [kind, *(arguments[1:] if kind == "-c" else arguments)]
    sys.path[0:0] = [command.folder if kind else str(Path(arguments[0]).resolve().parent), *paths]
    if kind == "-m":
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif kind == "":
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        exec(compile(arguments[0] if kind == "-c" else sys.stdin.read(), "<string>", "exec"), {"__name__": "__main__"})


def status_of(command: Command) -> int:
    """Run a command, and say what is said of its end, as python3 does."""
    try:
        run(command)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave_out_what_is_slow_at_exit() -> None:
    """Of all that libraries have registered to be done at exit, keep what a command can need."""
    for library in weakref.finalize._registry.values():  # type: ignore[attr-defined]
        library.atexit = False
    atexit._clear()
    for function in (logging.shutdown, multiprocessing.util._exit_function, weakref.finalize._exitfunc):  # type: ignore[attr-defined]
        atexit.register(function)


def end(status: int) -> NoReturn:
    """Wait for threads, do what was asked for at exit, flush; and leave all else to the system."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120
    os._exit(status & 0xFF)


def main() -> None:
    """Make the folder and serve it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="takes the place of an environment: SSLSV_VENV")
    parser.add_argument("--preload", type=Path, default=REPOSITORY, help="a clone whose package is imported once")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"  # read when the libraries are loaded
    folder = options.folder.resolve()
    for name in (HEAVY, LIGHT, "ready"):
        (folder / name).unlink(missing_ok=True)
    is_light = os.fork() == 0
    if is_light:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # it ends with the other
        sys.meta_path.insert(0, WithoutTorch())
    else:
        write_caller(folder)
    for module in (*LIBRARIES, *(() if is_light else WITH_TORCH)):
        with contextlib.suppress(ImportError):  # not all of them are needed
            importlib.import_module(module)
    preload(options.preload.resolve())
    if is_light:
        del sys.meta_path[0]
    leave_out_what_is_slow_at_exit()
    gc.collect()
    gc.freeze()  # what is there now is not looked at, and so not copied, by any command
    server = Server(folder / (LIGHT if is_light else HEAVY))
    if not is_light:
        while not (folder / LIGHT).exists():
            time.sleep(0.1)
        (folder / "ready").touch()
    end(status_of(server.serve()))


if __name__ == "__main__":
    main()
