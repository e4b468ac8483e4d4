"""Batches from worker processes: what they need is looked at before, and their end or silence is one line.

The workers are those of torch's DataLoader, which hand batches over in shared memory, /dev/shm. Left to itself it
waits for ever where a batch found no room there, where a process has no file left to open, or where a read never
answers.
"""

import dataclasses
import errno
import logging
import multiprocessing
import multiprocessing.queues
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.loading.datasets import Batch, TrainingSegments

AHEAD = 4
"""Batches that each worker makes before they are asked for."""
SHARED = "/dev/shm"
TICK_SECONDS = 1
REPORT_TICKS, END_TICKS = 60, 600
"""Ticks without a batch after which a line says so, and training ends. Ticks, not a clock: a process that was suspended
for hours has waited for one."""
_NO_ROOM, _NO_FILES, _NO_HANDING_OVER = 71, 72, 73
"""Exit statuses of a worker that cannot hand a batch over."""
_FEW_FILES = 16
_log = logging.getLogger("train")


class LoaderFailed(ValueError):
    """Reading cannot go on; the last checkpoint is from before."""


@dataclasses.dataclass(frozen=True)
class _Failure:
    """What a worker hands over in place of a batch."""

    reason: str


class _InWorker(Dataset[Batch | _Failure]):
    """A dataset whose errors reach the training process as one line."""

    def __init__(self, dataset: TrainingSegments) -> None:
        self._dataset = dataset

    def __getitem__(self, request: BatchRequest) -> Batch | _Failure:
        try:
            # Here rather than in the queue's own thread, which drops what finds no room.
            return self._dataset[request].share_memory()
        except (ValueError, OSError, MemoryError) as error:
            return _Failure(" ".join(str(error).split()) or type(error).__name__)
        except RuntimeError as error:
            if "shared memory" not in str(error):
                raise
            return _Failure(_few_files() if os.strerror(errno.EMFILE) in str(error) else _no_room())


def loader(
    dataset: TrainingSegments,
    requests: Sequence[BatchRequest],
    workers: int,
    pin_memory: bool,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[Batch]:
    """The batches of an epoch, in order, made ahead by `workers` processes (0: none).

    `waiting` is called about every second in which no batch comes. LoaderFailed where a worker cannot read or has
    died, where there is no room for batches, and after ten minutes without one.
    """
    if workers == 0 or not requests:
        yield from DataLoader(dataset, batch_size=None, sampler=requests, pin_memory=pin_memory)
        return
    _check_room(dataset, requests, workers)
    # torch's handler of SIGCHLD would raise wherever the training process is, in the middle of a step or of writing.
    signal_handling._SIGCHLD_handler_set = True
    made = iter(
        DataLoader(
            _InWorker(dataset),
            batch_size=None,
            sampler=requests,
            num_workers=workers,
            pin_memory=pin_memory,
            prefetch_factor=AHEAD,
            timeout=TICK_SECONDS,
            worker_init_fn=_begin_worker,
        )
    )
    try:
        yield from _in_time(made, waiting)
    finally:
        for worker in _workers(made):
            worker.kill()  # none is left where all went well


def _in_time(made: Iterator[Batch | _Failure], waiting: Callable[[], None]) -> Iterator[Batch]:
    """The batches of a DataLoader with a time limit of a tick."""
    silent = 0
    while True:
        try:
            batch = next(made)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:  # the latter two: a worker died while it handed over
            _refuse_dead(_workers(made))
            if "timed out" not in str(error):
                raise
            silent += 1
            waiting()
            _judge_silence(silent, _workers(made))
        else:
            if isinstance(batch, _Failure):
                raise LoaderFailed(batch.reason)
            silent = 0
            # Whoever keeps the numbers of many batches would else keep as many files open.
            yield dataclasses.replace(batch, utterance_B=batch.utterance_B.clone())


def _workers(made: Any) -> list[Any]:
    """The processes of an iterator of a DataLoader, which has no public name for them."""
    return list(getattr(made, "_workers", []))


def _judge_silence(ticks: int, workers: Sequence[Any]) -> None:
    if ticks < REPORT_TICKS:
        return
    who = f"worker{'s' if len(workers) > 1 else ''} {' '.join(str(worker.pid) for worker in workers)}"
    if ticks == REPORT_TICKS:
        _log.warning("no batch for %d s: a disk is slow or does not answer (%s)", ticks * TICK_SECONDS, who)
    elif ticks >= END_TICKS:
        raise LoaderFailed(
            f"No batch for {ticks * TICK_SECONDS} s: a read does not answer ({who}). Look at the disk of the training "
            "set; the next run goes on from the last checkpoint."
        )


def _refuse_dead(workers: Sequence[Any]) -> None:
    """LoaderFailed where a worker has died, with the reason as far as its exit status tells it."""
    for worker in workers:
        if worker.exitcode:  # neither at work nor at its end
            raise LoaderFailed(f"{_why(worker)} Then run again: it goes on from the last checkpoint.")


def _why(worker: Any) -> str:
    code = worker.exitcode
    if code in (_NO_ROOM, -signal.SIGBUS):
        return _no_room()
    if code == _NO_FILES:
        return _few_files()
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit status {code}"
    reason = f"A process of the loader ({worker.pid}) has died ({name})"
    if code == -signal.SIGKILL:
        return f"{reason}, mostly for want of memory. Lower training.loader_workers."
    return f"{reason}. Look for its own lines above."


def _no_room() -> str:
    free = shutil.disk_usage(SHARED).free
    return (
        f"There is no room for a batch in {SHARED}, which has {free / 1e6:.1f} MB free. Lower training.loader_workers "
        f"(0: none is needed) or enlarge {SHARED} (docker run --shm-size)."
    )


def _few_files() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"The loader may open no more than {limit} files at a time. Raise the limit (ulimit -n 4096), or lower "
        "training.loader_workers (0: none are needed)."
    )


# -- before the first batch ------------------------------------------------------------------------------------------


def _check_room(dataset: TrainingSegments, requests: Sequence[BatchRequest], workers: int) -> None:
    """LoaderFailed where shared memory or open files will not suffice: an utterance tells the size of a batch."""
    first = requests[0]
    partner_B = None if first.partner_B is None else first.partner_B[:1]
    one = dataset[dataclasses.replace(first, utterance_B=first.utterance_B[:1], partner_B=partner_B)].tensors()
    size = len(first.utterance_B) * sum(tensor.numel() * tensor.element_size() for tensor in one)
    _check_shared_memory(size, workers, len(requests))
    _check_files(len(one), workers)


def _check_shared_memory(size: int, workers: int, batches: int) -> None:
    try:
        multiprocessing.get_context().Lock()  # which lies there, too
        free = shutil.disk_usage(SHARED).free
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise LoaderFailed(_few_files()) from None
        raise LoaderFailed(
            f"{SHARED} cannot be used ({error.strerror}), and the processes of the loader hand batches over there. "
            "Mount it, or set training.loader_workers to 0."
        ) from None
    count = min(AHEAD * workers, batches) + 1
    if count * size > free:
        fitting = max(0, (free // size - 1) // AHEAD)
        raise LoaderFailed(
            f"The loader needs {count * size / 1e6:.1f} MB of shared memory ({count} batches of {size / 1e6:.1f} MB), "
            f"and {SHARED} has {free / 1e6:.1f} MB. Set training.loader_workers to {fitting}, or enlarge {SHARED} "
            f"(docker run --shm-size {-(-2 * count * size // 2**20)}m)."
        )


def _check_files(tensors: int, workers: int) -> None:
    """Each tensor of a batch is an open file on both sides; the limit is raised as far as that is allowed."""
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    already = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else _FEW_FILES
    least = already + tensors * (workers + 1) + 4 * workers + _FEW_FILES
    most = least + tensors * AHEAD * workers
    if most > limit != resource.RLIM_INFINITY:
        limit = most if highest == resource.RLIM_INFINITY else min(most, highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, highest))
    if least > limit != resource.RLIM_INFINITY:
        raise LoaderFailed(_few_files())


# -- in a worker -----------------------------------------------------------------------------------------------------


def _begin_worker(_: int) -> None:
    """Requests to stop are the trainer's: torch lets a worker die of SIGTERM, and so the trainer.

    Workers end when they are told to, or when they find the trainer gone.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    # The queue's thread would print a traceback, drop the batch and go on.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]


def _end_worker(error: BaseException, _: object) -> NoReturn:
    """Called in a thread of a worker that cannot hand a batch over."""
    text, number = str(error), getattr(error, "errno", None)
    if number == errno.EMFILE or os.strerror(errno.EMFILE) in text:
        os._exit(_NO_FILES)
    os._exit(_NO_ROOM if number == errno.ENOSPC or "shared memory" in text else _NO_HANDING_OVER)
