"""An array that Slurm works on: submit, find again, wait, submit again what its node lost, cancel."""

import contextlib
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sslsv_tk.launch import _job_log, _signals
from sslsv_tk.launch._slurm import records, scheduler, states
from sslsv_tk.launch._slurm.jobs import Jobs
from sslsv_tk.launch._slurm.notices import Notices
from sslsv_tk.launch._slurm.scheduler import say
from sslsv_tk.launch._slurm.site import Site
from sslsv_tk.launch.base import RUN_AGAIN, JobArray, Outcome, Resources

RESUBMISSIONS = 2
"""How often a task is submitted again after its node failed or another job took its place."""
QUESTIONS_FOR_LOST = 5
"""How often a task may be unknown to everybody before it counts as lost: files of other machines come late."""
QUESTIONS_FOR_RUNAWAY = 30
"""The same where accounting alone believes that it is at work still."""
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
_LOG_END_BYTES = 4096


@dataclass
class Work:
    """The array, and what is known about its tasks."""

    array: JobArray
    resources: Resources
    site: Site
    stopping: set[signal.Signals]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    resubmitted: Counter[int] = field(default_factory=Counter)
    unknown: Counter[int] = field(default_factory=Counter)
    accounted: dict[str, dict[int, states.TaskState]] = field(default_factory=dict)
    """What accounting said in this round, by job."""
    joined: set[int] = field(default_factory=set)
    """Tasks of an earlier call that are at work still."""
    joined_well: set[int] = field(default_factory=set)
    """Those that have ended well, and are to run again."""

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.array, self.resources, self.site, self.stopping)
        self.notices = Notices()

    @property
    def unfinished(self) -> list[int]:
        """The numbers of tasks that have not ended."""
        return [number for number in self.array.numbers if number not in self.outcomes]

    def begin(self) -> None:
        """Take up what a killed launcher has left at work, and submit the rest."""
        earlier = self.jobs.earlier()
        at_work = set[int]() if earlier is None else self._take_up(earlier)
        missing = [number for number in self.unfinished if number not in at_work]
        for number in missing:
            _begin_log(Path(self.array.log_of(number)))
        if missing:
            self.jobs.submit(missing)

    def _take_up(self, earlier: records.Record) -> set[int]:
        """The tasks of an earlier call that are still at work; they are waited for.

        How others ended says nothing of now: settings, inputs or outputs may have changed since. Each command knows by
        itself what is done already, so all run again.
        """
        seen = self.jobs.survey(earlier, list(self.array.numbers))
        at_work = self.joined = {number for number, state in seen.items() if not state.has_ended}
        ids = " ".join(str(submission.job_id) for submission in earlier.submissions)
        if earlier.digest != self.jobs.record.digest:
            if at_work:
                advice = f"Wait for it, or stop it with `scancel {ids}`."
                raise ValueError(f"{self.array.log}: job {ids} of another command is still at work here. {advice}")
            return set()
        self.jobs.record = earlier
        self.jobs.cancel_twins()
        if at_work:
            text = f"{len(at_work)} of {len(self.array.numbers)} tasks at work"
            say(f"found job {ids} of an earlier call with {self.array.log}: {text}; nothing is submitted twice.")
        return set(at_work)

    def wait(self) -> dict[int, Outcome]:
        """Watch until all tasks have ended; those that lost their node are submitted again."""
        pause = SHORTEST_PAUSE_SECONDS
        while self.unfinished:
            self.jobs.cancel_twins()
            self.accounted.clear()
            seen = self.jobs.survey(self.jobs.record, self.unfinished)
            unsettled = [number for number in self.unfinished if number not in self.joined_well]
            again = [number for number in unsettled if self._look_at(number, seen.get(number))]
            again = sorted({*again, *self._joined_again()})
            if again:
                self._submit_again(again)
            if self.unfinished:
                _signals.pause(pause, self.stopping)
                pause = min(1.2 * pause, LONGEST_PAUSE_SECONDS)
        return self.outcomes

    def _joined_again(self) -> set[int]:
        """The tasks of an earlier call that ended well, once none is at work: they run, as those do that had ended."""
        again = set[int]() if self.joined else self.joined_well
        if again:
            say(f"{len(again)} tasks of the earlier call ended well; each runs again, to look at what is there now")
            self.joined_well = set()
        return again

    def _submit_again(self, numbers: list[int]) -> None:
        """A call that is refused now is the failure of these tasks, not of those that are at work."""
        try:
            self.jobs.submit(numbers)
        except scheduler.Refused as refusal:
            self.outcomes.update(dict.fromkeys(numbers, Outcome(1, f"FAILED: not submitted again ({refusal})")))

    def _look_at(self, number: int, state: states.TaskState | None) -> bool:
        """Note what has become of a task; must it be submitted again?"""
        state = state or self._remembered(number)
        if state is None:
            return False
        self.notices.tell(number, self.jobs.id_of(number), state)
        if not state.has_ended:
            return False
        ended = self.jobs.exit_of(number)
        outcome = states.outcome(state, _log_end(self.array.log_of(number)))
        if self._must_run_again(number, state, ended, outcome):
            return True
        if ended is None and outcome.code:
            _end_log(self.array.log_of(number), outcome)
        if number in self.joined and outcome.code == 0:
            self.joined_well.add(number)
        else:
            self.outcomes[number] = outcome
        self.joined.discard(number)
        return False

    def _must_run_again(
        self, number: int, state: states.TaskState, ended: records.Exit | None, outcome: Outcome
    ) -> bool:
        """Must a task that has ended be submitted again? Says why."""
        if state.state == "FAILED" and ended and ended.again:
            say(f"job {number} has saved its state: submitting it again")
            return True
        ended_by_machine = state.state in states.ENDED_BY_MACHINE
        if ended_by_machine and ended and ended.code == RUN_AGAIN:  # it may go on for ever, a while at a time
            say(f"job {number}: {state.state}, its state is saved; submitting it again")
            return True
        if ended_by_machine and self.resubmitted[number] < RESUBMISSIONS:
            self.resubmitted[number] += 1
            say(f"job {number}: {outcome.state}; submitting it again ({self.resubmitted[number]} of {RESUBMISSIONS})")
            return True
        return False

    def _remembered(self, number: int) -> states.TaskState | None:
        """A task that the scheduler has forgotten: its own record decides, then the accounting."""
        ended = self.jobs.exit_of(number)
        if ended is not None:
            return states.TaskState("FAILED" if ended.code else "COMPLETED", code=ended.code)
        self.unknown[number] += 1
        if self.unknown[number] < QUESTIONS_FOR_LOST:
            return None
        job_id = self.jobs.id_of(number)
        if job_id not in self.accounted:
            self.accounted[job_id] = scheduler.accounted_tasks_of(job_id)
        state = self.accounted[job_id].get(number, states.LOST)
        return state if state.has_ended or self.unknown[number] < QUESTIONS_FOR_RUNAWAY else states.LOST

    def end(self) -> None:
        """Remove the record: all tasks have ended."""
        records.remove(self.jobs.folder)

    def cancel(self) -> bool:
        """Cancel what has not ended, and wait for its end; has all ended?"""
        return self.jobs.cancel(self.unfinished)


def _begin_log(log: Path) -> None:
    """An empty log in the place of that of an earlier attempt, which is kept."""
    log.parent.mkdir(parents=True, exist_ok=True)
    _job_log.keep_earlier(log)
    log.write_bytes(b"")


def _log_end(path: str) -> str:
    """The last lines of a task's log; empty where it has none."""
    with contextlib.suppress(OSError), open(path, "rb") as log:
        size = log.seek(0, 2)
        log.seek(max(0, size - _LOG_END_BYTES))
        return log.read().decode("utf-8", "replace")
    return ""


def _end_log(path: str, outcome: Outcome) -> None:
    """The last line of a log, of a task that could not write it."""
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as log:
        log.write(_job_log.ended_from_outside(outcome.state or f"exit code {outcome.code}"))
