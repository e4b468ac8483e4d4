"""Runs a job array on this machine."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sslsv_tk.gpus import visible_gpus
from sslsv_tk.launch import _job_log, _signals, _stalled
from sslsv_tk.launch.base import THREAD_VARIABLES, Backend, Interrupted, JobArray, Outcome, Resources

GRACE_SECONDS = 5.0
"""Between the request to end (SIGTERM) and the end by force (SIGKILL)."""
HANGING_SECONDS = 10.0
"""After SIGKILL: what has not ended then hangs in a call of the system, as a read of a disk that does not answer."""
KILLED = 128 + signal.SIGKILL
_PAUSE = 0.05


@dataclass(frozen=True)
class Run:
    """What all jobs of one array share."""

    array: JobArray
    resources: Resources
    gpus: list[str]
    stopping: set[signal.Signals]
    """Signals that stop the array: those that the caller has not told us to ignore, as nohup does."""
    signals_outside: set[signal.Signals]
    """The signals that were blocked before the array began, and are again in its jobs."""


@dataclass
class Running:
    """A job that has been started."""

    number: int
    slot: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    started: float
    stop_at: float | None = None
    """When its time limit, its grace or the wait for its end by force is over, by time.monotonic(); None: never."""
    asked: int = 0
    """How often it was asked to stop: first by request, then by force."""
    is_left: bool = False
    """It does not end even by force."""
    watch: _stalled.Watch | None = None
    look_at: float = field(default_factory=lambda: time.monotonic() + _stalled.LOOK_SECONDS)
    """When the job is looked at next, by time.monotonic(): is it at work?"""


class Local(Backend):
    """This machine: no more jobs at a time than its cores, its memory and its GPUs allow."""

    def describe(self, array: JobArray, resources: Resources) -> str:
        """One line per job: its log and its command."""
        return "\n".join(f"{array.log_of(number)}: {shlex.join(array.words_of(number))}" for number in array.numbers)

    def run(self, array: JobArray, resources: Resources) -> dict[int, Outcome]:
        """Start jobs in order as places become free; a failed job does not stop the others."""
        if resources.num_nodes > 1:
            raise ValueError(f"--num-nodes {resources.num_nodes}: the local back end is one machine.")
        gpus = visible_gpus()
        places = places_at_a_time(resources, gpus)
        stopping = _signals.stopping()
        if resources.end_with_parent:
            _signals.end_with_parent(signal.SIGTERM)
        with _signals.held(stopping | {signal.SIGCHLD}) as outside:
            codes = _run_all(Run(array, resources, gpus, stopping, outside), places)
        return {number: Outcome(code) for number, code in codes.items()}


def _run_all(run: Run, places: int) -> dict[int, int]:
    waiting, running, codes = list(run.array.numbers), dict[int, Running](), dict[int, int]()
    try:
        while waiting or running:
            for slot in sorted(set(range(places)) - running.keys())[: len(waiting)]:
                number = waiting.pop(0)
                started = _start(run, number, slot)
                if isinstance(started, Running):
                    running[slot] = started
                else:
                    codes[number] = started
            _wait(running, run.stopping)
            for job in [job for job in running.values() if job.is_left or job.process.poll() is not None]:
                del running[job.slot]
                codes[job.number] = _finish(job)
    except Interrupted as interruption:
        left = _stop_all(running)
        if left:
            interruption.left = f"processes that do not end left behind ({' '.join(map(str, left))})"
        raise
    except BaseException:
        _stop_all(running)
        raise
    return codes


def places_at_a_time(resources: Resources, gpus: list[str]) -> int:
    """How many jobs run at a time: as many as cores, memory and GPUs allow, at least one, at most --max-jobs-run."""
    places = max(1, len(os.sched_getaffinity(0)) // resources.num_threads)
    if resources.memory_bytes is not None:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        places = min(places, physical // resources.memory_bytes)
        if places == 0:
            raise ValueError(
                f"--mem: a job wants {resources.memory_bytes / 2**30:.1f}G, this machine has {physical / 2**30:.1f}G."
            )
    if resources.gpus:
        places = len(gpus) // resources.gpus
        if places == 0:
            raise ValueError(
                f"--gpu {resources.gpus}: this machine offers {len(gpus)} GPUs. The CPU: --gpu 0 (of run.sh: --ngpu 0)."
            )
    return places if resources.max_jobs_run is None else min(places, resources.max_jobs_run)


def _environment(run: Run, slot: int) -> dict[str, str]:
    """The environment of a job: its number of threads, and its own GPUs (none unless asked for)."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(run.resources.num_threads))
    own = run.gpus[slot * run.resources.gpus : (slot + 1) * run.resources.gpus]
    return {**os.environ, **threads, "CUDA_VISIBLE_DEVICES": ",".join(own)}


def _start(run: Run, number: int, slot: int) -> Running | int:
    """Write the head of the log and start the job in a process group of its own; an exit status if it cannot start."""
    words, path = run.array.words_of(number), Path(run.array.log_of(number))
    path.parent.mkdir(parents=True, exist_ok=True)
    _job_log.keep_earlier(path)
    log = path.open("wb", buffering=0)
    _job_log.add(log, _job_log.head(words))

    def prepare() -> None:
        _signals.end_with_parent(signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, run.signals_outside)

    started = time.monotonic()
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(run, slot),
            start_new_session=True,
            preexec_fn=prepare,
        )
    except OSError as error:
        code, line = _job_log.cannot_start(words, error)
        _job_log.add(log, line)
        _write_end(log, code, 0.0)
        return code
    seconds = run.resources.seconds
    stop_at = None if seconds is None else started + seconds
    return Running(number, slot, process, log, started, stop_at, watch=_stalled.Watch(process.pid, path))


def _wait(running: dict[int, Running], stopping: set[signal.Signals]) -> None:
    """Sleep until a job ends, its time is over or it is to be looked at; stop the jobs that are out of time."""
    deadlines = [job.stop_at for job in running.values() if job.stop_at is not None]
    deadlines += [job.look_at for job in running.values()]
    wanted = stopping | {signal.SIGCHLD}
    if not running or any(job.process.poll() is not None for job in running.values()):
        got = signal.sigtimedwait(wanted, 0)
    else:
        got = signal.sigtimedwait(wanted, max(0.0, min(deadlines) - time.monotonic()))
    if got is not None and got.si_signo in stopping:
        raise Interrupted(signal.Signals(got.si_signo).name)
    for job in running.values():
        if job.stop_at is not None and time.monotonic() >= job.stop_at:
            _ask_to_stop(job, "its time limit is over")
        if time.monotonic() >= job.look_at:
            _look_at(job)


def _look_at(job: Running) -> None:
    """Say of a job that does nothing what it waits for."""
    job.look_at = time.monotonic() + _stalled.LOOK_SECONDS
    if job.watch is not None and not job.asked and (what := job.watch.look()):
        _stalled.say(job.number, what)


def _signal_group(job: Running, number: int) -> None:
    """Send a signal to the job and to everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.process.pid, number)


def _ask_to_stop(job: Running, reason: str) -> None:
    """SIGTERM first, SIGKILL when called again after the grace; then the job is left behind."""
    if job.asked == 0:
        _job_log.add(job.log, f"# stopped: {reason}\n")
    job.is_left = job.asked > 1
    _signal_group(job, signal.SIGKILL if job.asked else signal.SIGTERM)
    job.stop_at = time.monotonic() + (HANGING_SECONDS if job.asked else GRACE_SECONDS)
    job.asked += 1


def _stop_all(running: dict[int, Running]) -> list[int]:
    """End every job and its children: by request, after the grace by force; the processes that do not end even so."""
    for job in running.values():
        if not job.asked:
            _ask_to_stop(job, "the launcher was interrupted")
    while waiting := [job for job in running.values() if not job.is_left and job.process.poll() is None]:
        for job in waiting:
            if job.stop_at is not None and time.monotonic() >= job.stop_at:
                _ask_to_stop(job, "")
        time.sleep(_PAUSE)
    for job in running.values():
        _finish(job)
    return [job.process.pid for job in running.values() if job.is_left]


def _finish(job: Running) -> int:
    """The exit status of an ended job, written into its log; what it left running in its group is ended."""
    _signal_group(job, signal.SIGKILL)
    code = KILLED if job.is_left else job.process.wait()
    code = 128 - code if code < 0 else code
    if job.is_left:
        _job_log.add(job.log, f"# process {job.process.pid} does not end: it hangs in a read or write of a disk\n")
    _write_end(job.log, code, time.monotonic() - job.started)
    return code


def _write_end(log: IO[bytes], code: int, seconds: float) -> None:
    _job_log.add(log, _job_log.end(code, seconds))
    log.close()
