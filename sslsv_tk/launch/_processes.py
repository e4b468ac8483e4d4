"""One command several times on this machine, as processes that train together, ended all when one fails."""

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

from sslsv_tk.launch._signals import end_with_parent
from sslsv_tk.launch.base import THREAD_VARIABLES

GRACE_SECONDS = 50.0
"""For the others to end by themselves after one has failed: they say why, at the latest when it has been silent."""
HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
HANGING_SECONDS = 10.0
"""After the end by force: what has not ended then hangs in a call of the system, and is left behind."""
_PAUSE = 0.1
_log = logging.getLogger("run_processes")


def run(words: Sequence[str], processes: int) -> int:
    """Start, hand signals on, wait; the status of the process that failed first (128 + n: by signal n), else 0."""
    running: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        for process in running:
            process.send_signal(number)

    for number in HANDED_ON:
        signal.signal(number, hand_on)
    port = _free_port()
    for rank in range(processes):
        running.append(
            subprocess.Popen(words, env=_environment(rank, processes, port), preexec_fn=_end_with_this_process)
        )
    return _wait(running)


def _end_with_this_process() -> None:
    end_with_parent(signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
    threads = {name: max(1, int(os.environ[name]) // processes) for name in THREAD_VARIABLES if name in os.environ}
    numbers = {name: str(number) for name, number in (*ranks.items(), *threads.items())}
    return {**os.environ, **numbers, "MASTER_ADDR": "127.0.0.1"}


def _say_who_failed(running: Sequence["subprocess.Popen[bytes]"]) -> None:
    ends = [f"process {rank}: {process.returncode}" for rank, process in enumerate(running) if process.returncode]
    _log.error("error: %s (exit status; -n: ended by signal n); the others are ended now", ", ".join(ends))


def _wait(running: Sequence["subprocess.Popen[bytes]"]) -> int:
    first_failure, end_by_force, leave = 0, float("inf"), float("inf")
    while None in [process.poll() for process in running] and time.monotonic() < leave:
        failures = [process.returncode for process in running if process.returncode]
        if failures and not first_failure:
            first_failure, end_by_force = failures[0], time.monotonic() + GRACE_SECONDS
        if time.monotonic() > end_by_force:
            _say_who_failed(running)
            for process in running:
                process.kill()
            end_by_force, leave = float("inf"), time.monotonic() + HANGING_SECONDS
        time.sleep(_PAUSE)
    code = first_failure or next((process.returncode for process in running if process.returncode), 0)
    return 128 - code if code < 0 else code
