"""The processes that train together: which one this is, how they meet, and how each learns that another has died.

They are started by bin/run_processes.py or torchrun on one machine, or by srun on several; the environment tells each
its rank.
"""

import contextlib
import datetime
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a lost process is dozens of lines of C++ frames

import torch
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.heartbeat import Heartbeat

Value = TypeVar("Value")

MEETING_SECONDS = 600.0
"""How long a process waits for the others to come."""
_NO_LIMIT = datetime.timedelta(days=7)
"""Of one collective: writing a checkpoint may take long, and who has died is heard of otherwise."""
_SIGNS_OF_LOSS = (
    "Connection closed",
    "Connection reset",
    "Connection refused",
    "Broken pipe",
    "Timed out",
    "ncclRemote",
    "connectFullMesh failed",
)


class LostProcess(ValueError):
    """Another process ended or cannot be reached, so training cannot go on."""


class EndedElsewhere(Exception):
    """Another process found a mistake and says so itself."""


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this one is."""

    rank: int = 0  # from 0, over all machines
    world: int = 1  # how many processes there are
    local_rank: int = 0  # from 0, on this machine: the number of its GPU


def ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """From what run_processes.py and torchrun (RANK, WORLD_SIZE, LOCAL_RANK) or srun (SLURM_PROCID ...) have set.

    A batch script of Slurm is no task of srun: it has no SLURM_STEP_NUM_TASKS, and is alone.
    """
    environment = os.environ if environment is None else environment
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    # run_processes.py and torchrun may themselves run in a task of srun: theirs are the ranks of training.
    if "RANK" not in environment and "SLURM_STEP_NUM_TASKS" in environment:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    elif "RANK" not in environment:
        return Ranks()
    missing = [name for name in names if not environment.get(name, "").isdigit()]
    if missing:
        raise ValueError(
            f"The environment has {names[0]}={environment.get(names[0])} but no whole number in {', '.join(missing)}. "
            "Start training by run.sh, torchrun or srun."
        )
    rank, world, local_rank = (int(environment[name]) for name in names)
    if not 0 <= rank < world:
        raise ValueError(f"{names[0]} {rank}: expected a rank below {names[1]}, which is {world}.")
    return Ranks(rank, world, local_rank)


def is_in_group() -> bool:
    """Was this process started to meet others, or, by torchrun, as a group of one?"""
    return ranks().world > 1 or "RANK" in os.environ


def is_first() -> bool:
    """Is this the process that writes and says what is the same in all?"""
    return collectives.rank() == 0


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Meet the other processes, if there are any, as long as the block runs; by NCCL on GPUs, by gloo on CPUs.

    A process that torchrun started alone is a group of one, so that NCCL can be tried with one GPU.

    Inside, a process that has been silent for 40 s, or has ended, ends all others with one line. Raises LostProcess
    where a collective fails because of that, and where not all have come within ten minutes.
    """
    if not is_in_group():
        yield
        return
    own = ranks()
    if own.rank > 0:
        logging.getLogger().setLevel(logging.ERROR)  # what all have to say the first one says
    store = _meet(own)
    heartbeat = Heartbeat(store.clone(), own.rank, own.world)
    heartbeat.start()
    cannot = "the processes found each other, but cannot connect (is GLOO_SOCKET_IFNAME set?)"
    try:
        with _one_line_of_lost_ones():
            with heartbeat.limit(MEETING_SECONDS, cannot):
                _make_groups(store, own, device)
            yield
            torch.distributed.barrier(control())
    finally:
        heartbeat.stop()
    # Only where all went well: after an error it may wait for processes that are gone.
    _CONTROL.clear()
    torch.distributed.destroy_process_group()


def _make_groups(store: Any, own: Ranks, device: torch.device) -> None:
    """The group of collectives, and that of small words."""
    for name in ("ASYNC_ERROR_HANDLING", "DUMP_ON_TIMEOUT", "ENABLE_MONITORING"):  # our heartbeat says who is lost
        os.environ.setdefault(f"TORCH_NCCL_{name}", "0")
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore("collectives", store),
        rank=own.rank,
        world_size=own.world,
        timeout=_NO_LIMIT,
        device_id=device if device.type == "cuda" else None,
    )
    control()


def _meet(own: Ranks) -> Any:
    """The store at MASTER_ADDR, MASTER_PORT, through which the processes find each other."""
    where = [os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")]
    if None in where:
        raise ValueError(
            f"{own.world} processes are to train together, but MASTER_ADDR and MASTER_PORT do not say where they meet. "
            "Start training by run.sh or torchrun, or set both."
        )
    limit = datetime.timedelta(seconds=MEETING_SECONDS)
    try:
        store, _, _ = next(rendezvous("env://", own.rank, own.world, timeout=limit))
    except RuntimeError as error:
        raise LostProcess(
            f"process {own.rank} waited {MEETING_SECONDS:.0f} s for all {own.world} processes to meet at "
            f"{':'.join(map(str, where))} ({_first_line(error)}). Look for one that did not start, or for a firewall."
        ) from None
    return store


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _one_line_of_lost_ones() -> Iterator[None]:
    """A collective that fails since another process is gone is one line, not a traceback."""
    try:
        yield
    except RuntimeError as error:
        if "Duplicate GPU" in str(error):
            raise ValueError(
                "Several processes of one machine were given the same GPU. Start no more than there are (--ngpu), and "
                "let each see all of them, or its own alone."
            ) from None
        if not any(sign in str(error) for sign in _SIGNS_OF_LOSS):
            raise
        raise LostProcess(
            f"process {ranks().rank}: another process ended or cannot be reached ({_first_line(error)}). "
            "Its own last lines say why; the next run goes on from the last checkpoint."
        ) from None


# -- what all do alike -----------------------------------------------------------------------------------------------

_CONTROL: list[Any] = []


def control() -> Any:
    """The group for small words between the processes, on the CPU, so that no GPU is waited for."""
    if not _CONTROL:
        _CONTROL.append(torch.distributed.new_group(backend="gloo", timeout=_NO_LIMIT))
    return _CONTROL[0]


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Each flag, raised for all processes where one of them has raised it."""
    if collectives.processes() == 1:
        return flags
    numbers = torch.tensor(flags, dtype=torch.int32)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX, group=control())
    return tuple(numbers.bool().tolist())


def from_first(make: Callable[[], Value]) -> Value:
    """What the first process makes, for all of them; its mistakes (ValueError, OSError) end the others silently."""
    if collectives.processes() == 1:
        return make()
    sent: list[Any] = [None, False]  # the value, and was it made?
    try:
        if is_first():
            sent = [make(), True]
    finally:
        torch.distributed.broadcast_object_list(sent, 0, group=control())
    value: Value = sent[0]
    if not sent[1]:
        raise EndedElsewhere
    return value


def on_every(make: Callable[[], Value]) -> Value:
    """What this process makes, as every other one does; a mistake of several (ValueError, OSError) is told by one."""
    if collectives.processes() == 1:
        return make()
    made: list[Value] = []
    error: Exception | None = None
    try:
        made.append(make())
    except (ValueError, OSError) as mistake:
        error = mistake
    # All hear of it before one raises: the others would wait for that one in the next collective.
    failed = gather_objects(error is not None)
    if True not in failed:
        return made[0]
    if error is not None and failed.index(True) == collectives.rank():
        raise error
    raise EndedElsewhere


def gather_objects(value: Value) -> list[Value]:
    """What each process brings, in the order of their ranks."""
    if collectives.processes() == 1:
        return [value]
    values: list[Any] = [None] * collectives.processes()
    torch.distributed.all_gather_object(values, value, group=control())
    return values


def refuse_different(value: Any) -> None:
    """What all have read must be the same: a shared file system may show one machine an old file for a while."""
    values = gather_objects(value)
    if any(other != value for other in values):
        seen = ", ".join(map(str, sorted(set(values))))
        raise LostProcess(
            f"the processes read different states of this run ({seen}): one machine still sees an old file. Run again "
            "in a minute."
        )
