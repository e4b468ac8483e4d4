"""A python3 that has imported torch already, so that thousands of short commands need no two seconds each.

    python3 tests/soak/warm_python.py --folder /tmp/warm --preload . &   # /tmp/warm/bin/python3 answers while this runs
    SSLSV_VENV=/tmp/warm egs/voxceleb/run.sh --tiny true

A server imports torch, numpy, scipy and the like, and with --preload CLONE a clone's package but not its commands.
It is forked for every command, which has the caller's arguments, environment, working directory and open streams. The
command ends when its caller is killed, and by os._exit, which is ten times cheaper than to take apart all modules.
What is imported once must not change while the server runs.
"""

import argparse
import array
import atexit
import contextlib
import gc
import importlib
import io
import multiprocessing.process
import os
import pickle
import pkgutil
import runpy
import selectors
import signal
import socket
import stat
import sys
import threading
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

SOCKET = "server"
CALLER = """#!{python} -ISE
import array, os, pickle, signal, socket, sys
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect({socket!r})
request = pickle.dumps((sys.argv[1:], os.getcwd(), dict(os.environ)))
connection.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
def forward(number, frame):
    connection.send(bytes([number]))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, forward)
if "--end-with-parent" in sys.argv: # the command cannot ask for it: its parent is the server
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
answer = connection.recv(64)
code = int(answer or b"1")
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""
LONGEST_REQUEST = 2**20
LIBRARIES = ("torch", "torch.utils.data", "numpy", "scipy.signal", "scipy.stats", "soundfile", "kaldiio", "yaml")
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
    program = folder / "bin/python3"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(CALLER.format(python=sys.executable, socket=str(folder / SOCKET)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def preload(clone: Path) -> None:
    """Import the package of a clone, without its commands, and what only some of its functions import."""
    sys.path.insert(0, str(clone))
    package = importlib.import_module(PACKAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
            if not set(COMMANDS) & set(module.name.split(".")):
                importlib.import_module(module.name)
    sys.path.remove(str(clone))


# -- the server --------------------------------------------------------------------------------------------------------


class Server:
    """Forks for each command, hands signals on to it, and gives its exit status to its caller."""

    def __init__(self, folder: Path) -> None:
        (folder / SOCKET).unlink(missing_ok=True)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(str(folder / SOCKET))
        self.listening.listen(64)
        self.events = selectors.DefaultSelector()
        self.events.register(self.listening, selectors.EVENT_READ)
        (folder / "ready").touch()

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
            return Command(*pickle.loads(request), list(streams))
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
    multiprocessing.process.ORIGINAL_DIR = command.folder  # where processes that it spawns look for its file
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
    parser.add_argument("--preload", type=Path, help="a clone whose package is imported once")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"  # read when the libraries are loaded
    for module in LIBRARIES:
        importlib.import_module(module)
    if options.preload is not None:
        preload(options.preload.resolve())
    folder = options.folder.resolve()
    write_caller(folder)
    gc.collect()
    gc.freeze()  # what is there now is not looked at, and so not copied, by any command
    end(status_of(Server(folder).serve()))


if __name__ == "__main__":
    main()
