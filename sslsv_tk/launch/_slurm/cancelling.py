"""Takes submissions back: all that an array has at work, or all but one job of a call that was heard twice."""

import contextlib
import signal
import time

from sslsv_tk.launch import _signals
from sslsv_tk.launch._slurm import scheduler
from sslsv_tk.launch._slurm.records import Submission
from sslsv_tk.launch.base import Interrupted

CANCEL_SECONDS = 60.0
"""How long a cancelled array may take to end."""
_LONGEST_PAUSE_SECONDS = 5.0


def cancel_twins(submission: Submission) -> None:
    """Of several jobs that are one submission, the first one counts; it may have come to light late."""
    with contextlib.suppress(scheduler.NotAnswering):  # asked again at the next look
        found = scheduler.find(submission.name)
        submission.job_id = next(iter(found), submission.job_id)
        for twin in found[1:]:
            with contextlib.suppress(scheduler.Refused):
                scheduler.ask(["scancel", twin])


def cancel(wanted: list[Submission], stopping: set[signal.Signals]) -> bool:
    """Cancel submissions, and wait for their end; have all ended? What takes too long is left behind."""
    settled, give_up = time.monotonic() + scheduler.SETTLING_SECONDS, time.monotonic() + CANCEL_SECONDS
    for seconds in scheduler.pauses():
        with contextlib.suppress(scheduler.NotAnswering, ValueError):
            # A job that sbatch has not answered for may come to light in a moment.
            ended = _cancelled(wanted, give_up)
            if ended and (all(each.job_id for each in wanted) or time.monotonic() >= settled):
                return True
        try:
            _signals.pause(min(seconds, _LONGEST_PAUSE_SECONDS), stopping)
        except Interrupted:
            break
        if time.monotonic() > give_up:
            break
    names = " ".join(each.job_id or f"--name {each.name}" for each in wanted)
    scheduler.say(f"Slurm has not ended all jobs yet. See `squeue`, and `scancel {names}`.")
    return False


def _cancelled(wanted: list[Submission], give_up: float) -> bool:
    """Ask for the end of submissions; have all their tasks ended?"""
    at_work = False
    for each in wanted:
        for job_id in _jobs_of(each, _left(give_up)):
            if any(not state.has_ended for state in scheduler.tasks_of(job_id, _left(give_up)).values()):
                at_work = True
                with contextlib.suppress(scheduler.Refused):
                    scheduler.ask(["scancel", job_id], _left(give_up))
    return not at_work


def _jobs_of(submission: Submission, seconds: float) -> list[str]:
    if submission.job_id and not submission.doubtful:
        return [submission.job_id]
    found = scheduler.find(submission.name, seconds)
    submission.job_id = next(iter(found), None)
    return found


def _left(give_up: float) -> float:
    return max(1.0, give_up - time.monotonic())
