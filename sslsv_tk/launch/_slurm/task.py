"""One task of an array, on its node: the head of the log, the command, the end of the log, the exit record.

python3 -m sslsv_tk.launch._slurm.task FOLDER NODES TASKS_PER_NODE THREADS VARIABLE COMMAND ...

Started by the job script. The log is the output of the job, so that it also has what Slurm's daemon says.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk.launch import _job_log
from sslsv_tk.launch._slurm import records, scheduler
from sslsv_tk.launch._slurm.forwarding import Forwarded
from sslsv_tk.launch.base import RUN_AGAIN, JobArray

FIRST_PORT, PORTS = 20000, 10000
REQUEUE_SECONDS, REQUEUE_PAUSE_SECONDS = 60.0, 5.0
"""How long a silent scheduler is asked: less than lies between a request to stop and the end."""
UNASKED_RESTARTS = 5
"""A command that wants to run again without having been asked to stop gets no more than this."""


@dataclass(frozen=True)
class Task:
    """What the job script and Slurm say about this task."""

    folder: Path
    num_nodes: int
    tasks_per_node: int
    num_threads: int
    words: list[str]
    job_id: str
    number: str
    restarts: int

    @property
    def slurm_id(self) -> str:
        """The task as Slurm's programs want it."""
        return f"{self.job_id}_{self.number}"


def read(arguments: list[str]) -> Task:
    """The task from the words after the program's name and from Slurm's environment."""
    folder, nodes, tasks_per_node, threads, variable, *words = arguments
    number = os.environ["SLURM_ARRAY_TASK_ID"]
    array = JobArray(int(number), int(number), "", tuple(words), variable)
    return Task(
        folder=Path(folder),
        num_nodes=int(nodes),
        tasks_per_node=int(tasks_per_node),
        num_threads=int(threads),
        words=array.words_of(int(number)),
        job_id=os.environ["SLURM_ARRAY_JOB_ID"],
        number=number,
        restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    )


def command(task: Task) -> list[str]:
    """The words to start: the command itself on one node, srun on several."""
    if task.num_nodes == 1:
        return task.words
    mark = str(records.again_file(task.folder, task.job_id, task.number))
    return [
        "srun",
        "--export=ALL",  # also where the site's sbatch exports nothing
        "--kill-on-bad-exit=1",
        "--mpi=none",
        f"--nodes={task.num_nodes}",
        f"--ntasks={task.num_nodes * task.tasks_per_node}",
        f"--ntasks-per-node={task.tasks_per_node}",
        f"--cpus-per-task={task.num_threads}",
        *(sys.executable, "-m", "sslsv_tk.launch._slurm.rank", mark),
        *task.words,
    ]


def meeting_point(job_number: int) -> dict[str, str]:
    """Where the processes of several nodes meet: the first node, and a port that follows from the job's number."""
    nodes = scheduler.ask(["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]).split()
    return {"MASTER_ADDR": _address(nodes[0]), "MASTER_PORT": str(free_port(job_number))}


def _address(node: str) -> str:
    """The node's name where it is a host's name, else the address that Slurm has for it."""
    with contextlib.suppress(OSError):
        socket.getaddrinfo(node, None)
        return node
    found = re.search(r"NodeAddr=(\S+)", scheduler.ask(["scontrol", "show", "node", "-o", node]))
    return found[1] if found else node


def free_port(job_number: int) -> int:
    """A port of this machine that nobody listens to, the same for the same job unless it is taken."""
    for offset in range(PORTS):
        port = FIRST_PORT + (job_number + offset) % PORTS
        with contextlib.suppress(OSError), socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(("", port))
            return port
    raise OSError(f"no free port between {FIRST_PORT} and {FIRST_PORT + PORTS - 1} for MASTER_PORT.")


def run(task: Task) -> tuple[int, bool]:
    """The exit status of the command, and whether it was asked to stop."""
    environment = dict(os.environ)
    numbers = [signal.SIGUSR1, signal.SIGTERM]
    if task.num_nodes > 1:
        environment |= meeting_point(int(os.environ["SLURM_JOB_ID"]))
        numbers.remove(signal.SIGTERM)  # srun would kill its processes at once; Slurm asks them itself
    forwarded = Forwarded(numbers)
    if task.num_nodes > 1:
        signal.signal(signal.SIGTERM, lambda number, _: forwarded.received.append(number))
    code = forwarded.run(command(task), environment)
    if task.num_nodes > 1 and code == 0 and records.again_file(task.folder, task.job_id, task.number).exists():
        code = RUN_AGAIN
    return code, bool(forwarded.received)


def may_run_again(task: Task, was_asked: bool) -> bool:
    """Is the task the scheduler's still, and not one that stops by itself again and again?

    A cancelled task is not put back: its owner wants it to end. Where the scheduler does not say, one that was asked
    to stop may: the launcher looks once more, and submits again only what was not cancelled.
    """
    if not was_asked and task.restarts >= UNASKED_RESTARTS:
        return False
    try:
        return "JobState=RUNNING" in scheduler.ask(["scontrol", "show", "job", "-o", task.slurm_id])
    except (scheduler.NotAnswering, ValueError):
        return was_asked


def requeue(task: Task, pause: Callable[[float], None] = time.sleep) -> None:
    """Put this task back into the queue. Slurm ends this process then; it comes back where that is refused."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    give_up = time.monotonic() + REQUEUE_SECONDS
    while (left := give_up - time.monotonic()) > 0:
        try:
            scheduler.ask(["scontrol", "requeue", task.slurm_id], left)
        except scheduler.NotAnswering:
            pause(REQUEUE_PAUSE_SECONDS)
        except ValueError as refusal:
            print(f"# not requeued: {refusal}", flush=True)
            return
        else:
            pause(600)
            return


def main(arguments: list[str]) -> int:
    """Run the task."""
    task = read(arguments)
    records.begin(task.folder, task.job_id, task.number)
    print(_job_log.head(task.words), end="", flush=True)
    started = time.monotonic()
    code, was_asked = run(task)
    print(_job_log.end(code, time.monotonic() - started), end="", flush=True)
    again = code == RUN_AGAIN and may_run_again(task, was_asked)
    # Before the task is put back, since it may be ended while it asks for that; it is forgotten when it begins again.
    records.write_exit(task.folder, task.job_id, task.number, records.Exit(code, again and was_asked))
    if again:
        print("# the state is saved: back into the queue", flush=True)
        requeue(task)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
