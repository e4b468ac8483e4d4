"""A python3 that has imported torch already, so that thousands of short commands need no two seconds each.

    python3 tests/soak/warm_python.py --folder /tmp/warm &      # /tmp/warm/bin/python3 answers while this runs
    SSLSV_VENV=/tmp/warm egs/voxceleb/run.sh --tiny true

A server imports torch, numpy, scipy and the like, nothing of the package, and is forked for every command. The command
has the caller's arguments, environment, working directory and open streams. It ends when its caller is killed.
"""

import argparse
import array
import importlib
import io
import multiprocessing.process
import os
import pickle
import runpy
import select
import signal
import socket
import stat
import sys
from pathlib import Path

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
answer = connection.recv(64)
code = int(answer or b"1")
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""
LONGEST_REQUEST = 2**20


class Command(Exception):
    """In the forked process: what it is to run."""

    def __init__(self, words: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
        super().__init__(words)
        self.words, self.folder, self.environment, self.streams = words, folder, environment, streams


def write_caller(folder: Path) -> None:
    """The program bin/python3 that hands its command to the server."""
    program = folder / "bin/python3"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(CALLER.format(python=sys.executable, socket=str(folder / SOCKET)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def serve(folder: Path) -> None:
    """Fork for each command until killed; raises Command in the process that is to run it."""
    (folder / SOCKET).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(folder / SOCKET))
    listening.listen(64)
    (folder / "ready").touch()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch a command
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            watch(connection)
        connection.close()


def watch(connection: socket.socket) -> None:
    """Start the command, hand signals on to it, and give its exit status to the caller."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, rights, _, _ = connection.recvmsg(LONGEST_REQUEST, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i")
    streams.frombytes(rights[0][2])
    pid = os.fork()
    if pid == 0:
        connection.close()
        raise Command(*pickle.loads(request), list(streams))
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(pid)
    caller_lives = True
    while True:
        ready, _, _ = select.select([ended, connection] if caller_lives else [ended], [], [])
        if ended in ready:
            break
        number = connection.recv(1)
        caller_lives = bool(number)
        os.kill(pid, number[0] if number else signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if caller_lives:
        connection.send(str(code).encode())
    os._exit(0)


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


def main() -> None:
    """Make the folder and serve it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="takes the place of an environment: SSLSV_VENV")
    folder = parser.parse_args().folder.resolve()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"  # read when the libraries are loaded
    for module in ("torch", "torch.utils.data", "numpy", "scipy.signal", "scipy.stats", "soundfile", "kaldiio", "yaml"):
        importlib.import_module(module)
    write_caller(folder)
    try:
        serve(folder)
    except Command as error:
        command = error
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    run(command)


if __name__ == "__main__":
    main()
