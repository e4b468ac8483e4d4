"""Batches in order, made ahead by processes that stay from epoch to epoch; their end or silence is one line.

A batch lies in memory that is used again: it holds until the third batch after it is asked for.
"""

import dataclasses
import errno
import logging
import multiprocessing.connection
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.loading.datasets import Batch, TrainingSegments
from sslsv_tk.loading.slots import Slots, bytes_of
from sslsv_tk.loading.workers import Failure, Workers

AHEAD = 4
"""Batches that each worker makes before they are asked for."""
_KEPT = 2  # slots of batches before the last one that was taken: one of them may still be on its way to the GPU
TICK_SECONDS = 1
REPORT_TICKS, END_TICKS = 60, 600
"""Ticks without a batch after which a line says so, and training ends. Ticks, not a clock: a process that was suspended
for hours has waited for one."""
_END_SECONDS = 5  # from the end of the pipe of a worker that dies to its own
_FEW_FILES = 16
_FILES_OF_WORKER = 4
_log = logging.getLogger("train")


class LoaderFailed(ValueError):
    """Reading cannot go on; the last checkpoint is from before."""


def loader(
    dataset: TrainingSegments,
    requests: Sequence[BatchRequest],
    workers: int,
    pin_memory: bool,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[Batch]:
    """The batches of one epoch alone; see `Loader`."""
    made = Loader(dataset, workers, pin_memory, waiting)
    try:
        yield from made.batches(requests)
    finally:
        made.close()


class Loader:
    """Makes the batches of requests in `workers` processes (0: none), which begin with the first and stay.

    `waiting` is called about every second in which no batch comes. LoaderFailed where a worker cannot read or has
    died, and after ten minutes without a batch.
    """

    def __init__(
        self,
        dataset: TrainingSegments,
        workers: int,
        pin_memory: bool,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self._dataset, self._count, self._pins, self._waiting = dataset, workers, pin_memory, waiting
        self._workers: Workers | None = None
        self._given = 0  # batches since the workers began

    def batches(self, requests: Sequence[BatchRequest]) -> Iterator[Batch]:
        """Their batches, in order. Who leaves before the last one ends the workers; the next call makes others."""
        if self._count == 0 or not requests:
            for request in requests:
                batch = self._dataset[request]
                yield batch.pin_memory() if self._pins else batch
            return
        workers = self._ready(requests)
        ended = False
        try:
            yield from self._in_order(workers, requests)
            ended = True
        finally:
            if not ended:
                self.close()

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.kill()
            self._workers.slots.unpin()
            self._workers = None

    def _ready(self, requests: Sequence[BatchRequest]) -> Workers:
        """The workers, begun anew where their slots are too small: an utterance tells the size of a batch."""
        first = max(requests, key=lambda request: len(request.utterance_B))
        partner_B = None if first.partner_B is None else first.partner_B[:1]
        one = self._dataset[dataclasses.replace(first, utterance_B=first.utterance_B[:1], partner_B=partner_B)]
        size = bytes_of(one, len(first.utterance_B))
        if self._workers is not None and self._workers.slots.size < size:
            self.close()
        if self._workers is None:
            _check_files(self._count)
            try:
                slots = Slots(AHEAD * self._count + 1 + _KEPT, size, 1024 + 32 * len(first.utterance_B))
                self._workers, self._given = Workers(self._dataset, self._count, slots), 0
            except OSError as error:
                raise _refused(error) from None
            if self._pins:
                slots.pin()
        return self._workers

    def _in_order(self, workers: Workers, requests: Sequence[BatchRequest]) -> Iterator[Batch]:
        first = self._given
        asked = taken = 0
        while taken < len(requests):
            while asked < min(len(requests), taken + AHEAD * self._count):
                try:
                    workers.ask(first + asked, requests[asked])
                except OSError:
                    _refuse_dead(workers.processes, _END_SECONDS)
                    raise
                asked += 1
            batch = self._in_time(workers, first + taken)
            taken += 1
            self._given = first + taken
            # Whoever keeps the numbers of many batches would else keep those of others.
            yield dataclasses.replace(batch, utterance_B=batch.utterance_B.clone())

    def _in_time(self, workers: Workers, number: int) -> Batch:
        """A batch as soon as it comes."""
        silent = 0
        while True:
            try:
                found = workers.take(number, TICK_SECONDS)
            except (EOFError, OSError):
                _refuse_dead(workers.processes, _END_SECONDS)
                raise
            if isinstance(found, Failure):
                raise LoaderFailed(found.reason)
            if found is not None:
                return found
            _refuse_dead(workers.processes)
            silent += 1
            self._waiting()
            _judge_silence(silent, workers.processes)


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


def _refuse_dead(workers: Sequence[Any], seconds: float = 0) -> None:
    """LoaderFailed where a worker has died, or does in some seconds, with the reason that its exit status tells."""
    ending = multiprocessing.connection.wait([worker.sentinel for worker in workers], seconds)
    for worker in workers:
        if worker.sentinel in ending:  # closed a moment before there is an exit status
            worker.join(_END_SECONDS)
        if worker.exitcode is not None:
            raise LoaderFailed(f"{_why(worker)} Then run again: it goes on from the last checkpoint.")


def _why(worker: Any) -> str:
    code = worker.exitcode
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit status {code}"
    reason = f"A process of the loader ({worker.pid}) has died ({name})"
    if code in (-signal.SIGKILL, -signal.SIGBUS):
        return f"{reason}, mostly for want of memory. Lower training.loader_workers."
    return f"{reason}. Look for its own lines above."


def _few_files() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"The loader may open no more than {limit} files at a time. Raise the limit (ulimit -n 4096), or lower "
        "training.loader_workers (0: none are needed)."
    )


def _refused(error: OSError) -> LoaderFailed:
    """Why there are no workers."""
    if error.errno == errno.EMFILE:
        return LoaderFailed(_few_files())
    return LoaderFailed(
        f"The processes of the loader cannot begin ({error.strerror}). Lower training.loader_workers; 0 needs none."
    )


def _check_files(workers: int) -> None:
    """LoaderFailed where a pipe for each worker and the files that are read will not suffice."""
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    already = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else _FEW_FILES
    least = already + _FILES_OF_WORKER * workers + _FEW_FILES
    if least > limit != resource.RLIM_INFINITY:
        limit = least if highest == resource.RLIM_INFINITY else min(least, highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, highest))
    if least > limit != resource.RLIM_INFINITY:
        raise LoaderFailed(_few_files())
