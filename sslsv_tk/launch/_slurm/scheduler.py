"""Questions and orders to the scheduler, which may be silent for a while."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sslsv_tk.launch import _signals
from sslsv_tk.launch._slurm import states

T = TypeVar("T")
LONGEST_ANSWER_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 30.0
_SILENCE = re.compile(
    r"unable to contact|timed out|connection (refused|reset|timed)|communication|connect failure|standby mode"
    r"|zero bytes were|temporarily|transport endpoint|not responding|receive failure|send failure|try again",
    re.I,
)
_NOT_KNOWN = "Invalid job id"


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


def ask(words: Sequence[str]) -> str:
    """What a program of Slurm prints; NotAnswering or Refused where it fails."""
    # By default Slurm cuts long expressions of task numbers; the other one keeps its messages in English.
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}
    try:
        result = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_ANSWER_SECONDS,
            env=environment,
            check=False,
            preexec_fn=_end_with_launcher,
        )
    except FileNotFoundError:
        raise ValueError(
            f"{words[0]}: no such program. Is Slurm on this machine? cmd_backend=local needs none."
        ) from None
    except subprocess.TimeoutExpired:
        raise NotAnswering(f"{words[0]}: no answer in {LONGEST_ANSWER_SECONDS:.0f} s") from None
    if result.returncode == 0:
        return result.stdout
    message = " ".join(result.stderr.split()) or f"exit status {result.returncode}"
    raise (NotAnswering if _SILENCE.search(message) else Refused)(message)


def submit(words: Sequence[str]) -> str:
    """The id of the job that a call of sbatch made."""
    answer = ask(words).strip()
    match = re.match(r"(\d+)(?:;|$)", answer.splitlines()[-1] if answer else "")
    if not match:
        raise Refused(f"{words[0]}: expected the id of a job, found {answer!r}. Is `command` in slurm.conf an sbatch?")
    return match[1]


def find(name: str) -> str | None:
    """The id of the array with this name, waiting, running or ended not long ago."""
    listing = ask(["squeue", "--noheader", "--states=all", "--name", name, "--format=%F"]).split()
    return listing[0] if listing else None


def tasks_of(job_id: str) -> dict[int, states.TaskState]:
    """The tasks of an array that the scheduler still knows; it forgets them some minutes after their end."""
    try:
        return states.parse(ask(["scontrol", "show", "job", "-o", job_id]))
    except Refused as error:
        if _NOT_KNOWN in str(error):
            return {}
        # The question is sound, so the fault is the scheduler's, such as an authentication that is away for a while.
        raise NotAnswering(str(error)) from None


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
