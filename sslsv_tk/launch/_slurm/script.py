"""The script that Slurm starts for each task, and the call that submits it."""

import os
import re
import shlex
import sys
import uuid
from pathlib import Path

import sslsv_tk
from sslsv_tk import plugins
from sslsv_tk.launch._slurm import records, states
from sslsv_tk.launch._slurm.site import Site
from sslsv_tk.launch.base import THREAD_VARIABLES, JobArray, Resources


def unique_name(array: JobArray) -> str:
    """A name that a person knows and that no other job of the cluster has."""
    name = Path(array.log).name.removesuffix(".log").removesuffix(f".{array.variable}")
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def tasks_per_node(resources: Resources) -> int:
    """On several nodes one process per GPU, or one; a job on one node starts its processes by itself."""
    return max(1, resources.gpus) if resources.num_nodes > 1 else 1


def text(site: Site, array: JobArray, resources: Resources) -> str:
    """The job script: the environment, the site's prologue, then the part of the launcher that runs on the node.

    Every word of the command is quoted; nothing in it is evaluated. The prologue is the site's own shell: it may change
    the environment, or start the task itself, as in `exec apptainer exec IMAGE "${task[@]}"`.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": _python_path()}
    outside = (plugins.VARIABLE, plugins.PYTHONPATH)
    environment |= {name: os.environ[name] for name in outside if name in os.environ}
    environment |= dict.fromkeys(THREAD_VARIABLES, str(resources.num_threads))
    if not resources.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    shape = [str(resources.num_nodes), str(tasks_per_node(resources)), str(resources.num_threads)]
    start = [sys.executable, "-m", "sslsv_tk.launch._slurm.task", str(_absolute(records.folder_of(array)))]
    return (
        f"#!/bin/bash\n"
        f"# One of {array.variable}={array.first}:{array.last}. Written by sslsv_tk.launch.\n"
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1\n"
        f"{exports}\n"
        f"task=({shlex.join([*start, *shape, array.variable, *array.words])})\n"
        f"{''.join(_prologue(site, line) for line in site.prologue)}"
        f'exec "${{task[@]}}"\n'
    )


def _prologue(site: Site, line: str) -> str:
    """A line of the prologue; where it fails the job does, rather than run in another environment."""
    failure = shlex.quote(f"{site.path}: this line of the prologue failed: {line}")
    # The line may end with a comment.
    return f"{{ {line}\n}} || {{ echo {failure} >&2; exit 1; }}\n"


def call(site: Site, array: JobArray, resources: Resources, numbers: list[int], name: str) -> list[str]:
    """The call of sbatch for some tasks of an array. What the site says comes later, and so wins."""
    limit = "" if resources.max_jobs_run is None else f"%{resources.max_jobs_run}"
    return [
        site.command[0],
        "--parsable",
        f"--job-name={name}",
        f"--array={states.number_expression(numbers)}{limit}",
        f"--chdir={Path.cwd()}",
        f"--output={_log_pattern(array)}",
        "--open-mode=append",
        "--requeue",
        *site.command[1:],
        *site.arguments(_values(resources)),
        str(_absolute(records.folder_of(array) / "job.sh")),
    ]


def _values(resources: Resources) -> dict[str, str]:
    """The options of the launcher as slurm.conf names them, in Slurm's units."""
    values = {
        "num_threads": str(resources.num_threads),
        "gpu": str(resources.gpus),
        "num_nodes": str(resources.num_nodes),
        "tasks_per_node": str(tasks_per_node(resources)),
        "signal": str(resources.signal_seconds),
    }
    if resources.memory_bytes is not None:
        values["mem"] = f"{-(-resources.memory_bytes // 2**20)}M"
    if resources.seconds is not None:
        minutes, seconds = divmod(int(resources.seconds), 60)
        values["time"] = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return values


def _log_pattern(array: JobArray) -> str:
    """The log as sbatch wants it: %a is the number of the task, %% a per cent sign."""
    folder, log = (text.replace("%", "%%") for text in (str(Path.cwd()), array.log))
    return str(Path(folder) / array.numbered(log, "%a"))


def _absolute(path: Path) -> Path:
    return Path.cwd() / path


def _python_path() -> str:
    ours = str(Path(sslsv_tk.__file__).parents[1])
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != ours]
    return os.pathsep.join([ours, *others])
