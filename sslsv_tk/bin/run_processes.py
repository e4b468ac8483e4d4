"""Starts a command several times on this machine, as processes that train together, and ends all when one fails.

Each gets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment, as torchrun would set them.
Other than torchrun it hands SIGTERM, SIGINT and SIGUSR1 on and ends with the exit status of the processes, so that a
training that saved its state and asks to be run again (status 75) says so to whoever started it.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from sslsv_tk import logs
from sslsv_tk.launch._signals import end_with_parent

GRACE_SECONDS = 20.0
"""For the others to end by themselves after one has failed; they may just be saying why."""
_PAUSE = 0.1


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True, help="how many; on GPUs one for each")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="what to start")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, hand signals on, wait."""
    parser = get_parser()
    options = parser.parse_args(arguments)
    if options.processes < 1 or not options.words:
        parser.error("expected --processes N, at least 1, and a command")
    running: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        for process in running:
            process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, hand_on)
    port = _free_port()
    for rank in range(options.processes):
        environment = _environment(rank, options.processes, port)
        running.append(subprocess.Popen(options.words, env=environment, preexec_fn=_end_with_this_process))
    return _wait(running)


def _end_with_this_process() -> None:
    end_with_parent(signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
    return {**os.environ, **{name: str(number) for name, number in ranks.items()}, "MASTER_ADDR": "127.0.0.1"}


def _wait(running: Sequence["subprocess.Popen[bytes]"]) -> int:
    """The status of the process that failed first, else 0; the others are ended after the grace."""
    first_failure, end_by_force = 0, float("inf")
    while any(process.poll() is None for process in running):
        failures = [process.returncode for process in running if process.returncode]
        if failures and not first_failure:
            first_failure, end_by_force = failures[0], time.monotonic() + GRACE_SECONDS
        if time.monotonic() > end_by_force:
            for process in running:
                process.kill()
        time.sleep(_PAUSE)
    code = first_failure or next((process.returncode for process in running if process.returncode), 0)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
