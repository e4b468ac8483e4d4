"""`train` in several processes that train together, forked from one that has imported everything."""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import fork_server

LIMIT_SECONDS = 240.0


def _work(rank: int, world: int, port: int, arguments: Sequence[str], said: str, silent_seconds: float) -> None:
    import torch

    from sslsv_tk import logs
    from sslsv_tk.bin import train
    from sslsv_tk.distributed import heartbeat

    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({name: str(number) for name, number in ranks.items()}, MASTER_ADDR="127.0.0.1")
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    heartbeat.SILENT_SECONDS, heartbeat.BEAT_SECONDS = silent_seconds, min(0.2, silent_seconds / 4)
    os._exit(logs.run_command(train.main, arguments))


class Together:
    """Processes that train one system."""

    def __init__(self, world: int, arguments: Sequence[str], folder: Path, silent_seconds: float = 40.0) -> None:
        """What process r says is in `folder`/said.r; `silent_seconds`: as SILENT_SECONDS of heartbeat.py."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self.said_in = [folder / f"said.{rank}" for rank in range(world)]
        for path in self.said_in:
            path.unlink(missing_ok=True)
        self.processes = [
            fork_server.context.Process(
                target=_work, args=(rank, world, port, list(arguments), str(path), silent_seconds)
            )
            for rank, path in enumerate(self.said_in)
        ]
        for process in self.processes:
            process.start()

    def send(self, rank: int, number: signal.Signals) -> None:
        """A signal to one of them."""
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def wait(self) -> list[int | None]:
        """Exit statuses, in the order of ranks; those that do not end are killed, and have none."""
        until = time.monotonic() + LIMIT_SECONDS
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes

    def said(self, rank: int) -> str:
        """What a process has said so far."""
        return self.said_in[rank].read_text() if self.said_in[rank].exists() else ""

    def wait_until(self, happens: Callable[[], bool]) -> None:
        """Wait for something that the processes do."""
        until = time.monotonic() + LIMIT_SECONDS
        while not happens():
            assert time.monotonic() < until, "it did not happen"
            assert all(process.is_alive() for process in self.processes), [
                self.said(r) for r in range(len(self.processes))
            ]
            time.sleep(0.01)


def train(world: int, arguments: Sequence[str], folder: Path) -> list[int | None]:
    """Train to the end with `world` processes; their exit statuses."""
    return Together(world, arguments, folder).wait()
