"""Questions and orders to the scheduler, which may be silent for a while."""

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sslsv_tk.launch import _signals
from sslsv_tk.launch._slurm import states

T = TypeVar("T")
LONGEST_ANSWER_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 30.0
SETTLING_SECONDS = 20.0
"""How long a scheduler that answers again may still be working off a call of sbatch that it did not answer."""
_COMPLAINT = re.compile(r"\b(error|fatal):")
_SILENCE = re.compile(
    r"unable to contact|timed out|connection (refused|reset|timed)|communication (failure|connection)|connect failure"
    r"|standby mode|zero bytes were|temporarily un(able|available)|transport endpoint|not responding|receive failure"
    r"|send failure|munge|authentication|configuration source",
    re.I,
)
_NOT_KNOWN = "Invalid job id"
_OF_OUR_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")


class NotAnswering(Exception):
    """The scheduler did not answer, which says nothing about the jobs."""


class Refused(ValueError):
    """The scheduler answered, and will not do it."""


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"launch: {text}", file=sys.stderr, flush=True)


def _end_with_launcher() -> None:
    """A call of sbatch that outlived a killed launcher could submit after the next launcher has looked for its job."""
    _signals.end_with_parent(signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Ours, without what a job that we run in says about itself: that would pass for a new job's own options."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_") or k in _OF_OUR_CLUSTER}
    if "SBATCH_CLUSTERS" in kept:  # where sbatch submits the others must ask
        kept.setdefault("SLURM_CLUSTERS", kept["SBATCH_CLUSTERS"])
    # By default Slurm cuts long expressions of task numbers; the other one keeps its messages in English.
    return {**kept, "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}


def ask(words: Sequence[str], seconds: float = math.inf) -> str:
    """What a program of Slurm prints, in no more than some seconds; NotAnswering or Refused where it fails."""
    seconds = min(seconds, LONGEST_ANSWER_SECONDS)
    try:
        result = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=_environment(),
            check=False,
            preexec_fn=_end_with_launcher,
        )
    except FileNotFoundError:
        raise ValueError(
            f"{words[0]}: no such program. Is Slurm on this machine? cmd_backend=local needs none."
        ) from None
    except subprocess.TimeoutExpired:
        raise NotAnswering(f"{words[0]}: no answer in {seconds:.0f} s") from None
    except (OSError, subprocess.SubprocessError) as error:  # this machine has no room for a process at the moment
        raise NotAnswering(f"{words[0]}: {error}") from None
    if result.returncode == 0:
        return result.stdout
    complaints = [line for line in result.stderr.splitlines() if _COMPLAINT.search(line)]
    message = " ".join(result.stderr.split()) or f"exit status {result.returncode}"
    raise (NotAnswering if any(map(_SILENCE.search, complaints)) else Refused)(message)


def submit(words: Sequence[str]) -> str:
    """The id of the job that a call of sbatch made."""
    answer = ask(words).strip()
    match = re.match(r"(\d+)(?:;|$)", answer.splitlines()[-1] if answer else "")
    if not match:
        raise Refused(f"{words[0]}: expected the id of a job, found {answer!r}. Is `command` in slurm.conf an sbatch?")
    return match[1]


class Calling:
    """A call of sbatch, made again only where a scheduler that answers has known nothing of it for a while."""

    def __init__(self, words: Sequence[str], name: str) -> None:
        self.words, self.name, self.calls = words, name, 0
        self._answers_since: float | None = None

    def __call__(self) -> str:
        """The id of the job; NotAnswering: ask again."""
        if self.calls:
            known = self._look()
            if known is not None:
                return known
        self.calls, self._answers_since = self.calls + 1, None
        return submit(self.words)

    def _look(self) -> str | None:
        try:
            known = find(self.name)
        except NotAnswering:
            self._answers_since = None
            raise
        self._answers_since = self._answers_since or time.monotonic()
        if not known and time.monotonic() - self._answers_since < SETTLING_SECONDS:
            raise NotAnswering("it may have heard of the job, which is not there yet")
        return known[0] if known else None


def find(name: str, seconds: float = math.inf) -> list[str]:
    """The ids of the arrays with this name, waiting, running or ended not long ago, the oldest first."""
    words = ["squeue", "--noheader", "--states=all", "--name", name, "--format=%F"]
    with _faults_are_silence():
        return sorted({word for word in ask(words, seconds).split() if word.isdigit()}, key=int)


@contextlib.contextmanager
def _faults_are_silence() -> Iterator[None]:
    """Where a question is sound the fault is the scheduler's, such as an authentication that is away for a while."""
    try:
        yield
    except Refused as error:
        raise NotAnswering(str(error)) from None


def tasks_of(job_id: str, seconds: float = math.inf) -> dict[int, states.TaskState]:
    """The tasks of an array that the scheduler still knows; it forgets them some minutes after their end."""
    with _faults_are_silence():
        try:
            return states.parse(ask(["scontrol", "show", "job", "-o", job_id], seconds))
        except Refused as error:
            if _NOT_KNOWN in str(error):
                return {}
            raise


def accounted_tasks_of(job_id: str) -> dict[int, states.TaskState]:
    """The tasks of an array in Slurm's accounting; none where there is no accounting."""
    with contextlib.suppress(Refused, NotAnswering, ValueError):
        return states.parse_accounting(ask(["sacct", "-X", "-n", "-P", "-j", job_id, "-o", "JobID,State,ExitCode"]))
    return {}


def pauses() -> Iterator[float]:
    """Growing pauses between questions that are not answered, in seconds."""
    seconds = 1.0
    while True:
        yield seconds
        seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)


def patiently(question: Callable[[], T], stopping: set[signal.Signals]) -> T:
    """Ask until there is an answer; Interrupted when a signal comes meanwhile."""
    silent = False
    for seconds in pauses():
        try:
            answer = question()
        except NotAnswering as error:
            if not silent:
                say(f"Slurm does not answer ({error}). That says nothing about the jobs; asking again and again.")
            silent = True
            _signals.pause(seconds, stopping)
        else:
            if silent:
                say("Slurm answers again.")
            return answer
    raise AssertionError("pauses never end")
