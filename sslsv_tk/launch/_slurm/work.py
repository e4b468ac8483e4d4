"""An array that Slurm works on: submit, find again, wait, submit again what its node lost, cancel."""

import contextlib
import functools
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sslsv_tk import artifacts
from sslsv_tk.launch import _job_log, _signals
from sslsv_tk.launch._slurm import cancelling, records, scheduler, script, states
from sslsv_tk.launch._slurm.records import Submission
from sslsv_tk.launch._slurm.scheduler import Calling, patiently, say
from sslsv_tk.launch._slurm.site import Site
from sslsv_tk.launch.base import RUN_AGAIN, JobArray, Outcome, Resources

RESUBMISSIONS = 2
"""How often a task is submitted again after its node failed or another job took its place."""
QUESTIONS_FOR_LOST = 5
"""How often a task may be unknown to everybody before it counts as lost: files of other machines come late."""
QUESTIONS_FOR_RUNAWAY = 30
"""The same where accounting alone believes that it is at work still."""
COMPLETING_SECONDS = 120.0
"""Slurm cleans a node up within seconds; after so many a person should look."""
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
    restarts: Counter[int] = field(default_factory=Counter)
    resubmitted: Counter[int] = field(default_factory=Counter)
    unknown: Counter[int] = field(default_factory=Counter)
    waits: set[str] = field(default_factory=lambda: {""})
    """What was said about tasks that wait."""
    completing_since: dict[int, float] = field(default_factory=dict)
    accounted: dict[str, dict[int, states.TaskState]] = field(default_factory=dict)
    """What accounting said in this round, by job."""

    def __post_init__(self) -> None:
        self.folder = records.folder_of(self.array)
        self.record = records.Record(records.digest(self.array, self.resources))

    @property
    def unfinished(self) -> list[int]:
        """The numbers of tasks that have not ended."""
        return [number for number in self.array.numbers if number not in self.outcomes]

    def begin(self) -> None:
        """Take up what a killed launcher has left at work, and submit the rest."""
        found = records.read(self.folder)
        at_work = set[int]() if found is None else self._take_up(found)
        missing = [number for number in self.unfinished if number not in at_work]
        for number in missing:
            log = Path(self.array.log_of(number))
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
        if missing:
            self._submit(missing)

    def _take_up(self, found: records.Record) -> set[int]:
        """The tasks of an earlier call that are still at work; those that ended well are not done again."""
        for each in found.submissions:
            if not each.job_id:  # nor is it known how often sbatch was called
                each.job_id, each.doubtful = self._find(each.name), True
        found.submissions = [each for each in found.submissions if each.job_id]
        seen = self._survey(found, list(self.array.numbers))
        at_work = {number for number, state in seen.items() if not state.has_ended}
        jobs = " ".join(str(each.job_id) for each in found.submissions)
        if found.digest != self.record.digest:
            if at_work:
                advice = f"Wait for it, or stop it with `scancel {jobs}`."
                raise ValueError(f"{self.array.log}: job {jobs} of another command is still at work here. {advice}")
            return set()
        self.record = found
        self._cancel_twins()
        well = [number for number in self.unfinished if self._ended_well(number, seen)]
        self.outcomes.update(dict.fromkeys(well, Outcome(0)))
        if at_work or well:
            text = f"{len(well)} of {len(self.array.numbers)} tasks ended well, {len(at_work)} at work"
            say(f"found job {jobs} of an earlier call with {self.array.log}: {text}; nothing is submitted twice.")
        return at_work

    def _ended_well(self, number: int, seen: dict[int, states.TaskState]) -> bool:
        if number in seen:
            return seen[number].state == "COMPLETED"
        ended = self._exit_of(number)
        return ended is not None and ended.code == 0

    def _find(self, name: str) -> str | None:
        return next(iter(patiently(lambda: scheduler.find(name), self.stopping)), None)

    def _submit(self, numbers: list[int]) -> None:
        """Write down what is coming, call sbatch, write down what came; a call that is not answered is looked for."""
        submission = Submission(script.unique_name(self.array), numbers)
        self.record.submissions.append(submission)
        self.record.write(self.folder)
        with artifacts.replacing(self.folder / "job.sh") as stream:
            stream.write(script.text(self.array, self.resources))
        words = script.call(self.site, self.array, self.resources, numbers, submission.name)
        calling = Calling(words, submission.name)
        try:
            submission.job_id = patiently(calling, self.stopping)
        except ValueError as refusal:
            if calling.calls == 1:  # else an earlier call may have been heard
                self._forget(submission)
            raise scheduler.Refused(f"{refusal} (options: {self.site.path}; --dry-run shows the call)") from None
        submission.doubtful = calling.calls > 1
        self._cancel_twins()
        self.record.write(self.folder)
        say(f"submitted {states.number_expression(numbers)} of {self.array.log} as Slurm job {submission.job_id}")

    def _forget(self, submission: Submission) -> None:
        """There is no such job."""
        self.record.submissions.remove(submission)
        if self.record.submissions:
            self.record.write(self.folder)
        else:
            records.remove(self.folder)

    def _cancel_twins(self) -> None:
        for submission in self.record.submissions:
            if submission.doubtful:
                before = submission.job_id
                cancelling.cancel_twins(submission)
                if submission.job_id != before:
                    self.record.write(self.folder)

    def _survey(self, record: records.Record, numbers: list[int]) -> dict[int, states.TaskState]:
        """What the scheduler says about tasks, each in its latest submission."""
        seen = dict[int, states.TaskState]()
        for each in record.submissions:
            own = [number for number in numbers if record.latest(number) is each]
            if own and each.job_id:
                tasks = patiently(functools.partial(scheduler.tasks_of, each.job_id), self.stopping)
                seen.update({number: tasks[number] for number in own if number in tasks})
        return seen

    def wait(self) -> dict[int, Outcome]:
        """Watch until all tasks have ended; those that lost their node are submitted again."""
        pause = SHORTEST_PAUSE_SECONDS
        while self.unfinished:
            self._cancel_twins()
            self.accounted.clear()
            seen = self._survey(self.record, self.unfinished)
            again = [number for number in self.unfinished if self._look_at(number, seen.get(number))]
            if again:
                self._submit_again(again)
            if self.unfinished:
                _signals.pause(pause, self.stopping)
                pause = min(1.2 * pause, LONGEST_PAUSE_SECONDS)
        return self.outcomes

    def _submit_again(self, numbers: list[int]) -> None:
        """A call that is refused now is the failure of these tasks, not of those that are at work."""
        try:
            self._submit(numbers)
        except scheduler.Refused as refusal:
            self.outcomes.update(dict.fromkeys(numbers, Outcome(1, f"FAILED: not submitted again ({refusal})")))

    def _look_at(self, number: int, state: states.TaskState | None) -> bool:
        """Note what has become of a task; must it be submitted again?"""
        state = state or self._remembered(number)
        if state is None:
            return False
        self._tell(number, state)
        if not state.has_ended:
            return False
        ended = self._exit_of(number)
        if state.state == "FAILED" and ended and ended.again:
            say(f"job {number} has saved its state: submitting it again")
            return True
        outcome = states.outcome(state, self._log_end(number))
        ended_by_machine = state.state in states.ENDED_BY_MACHINE
        if ended_by_machine and ended and ended.code == RUN_AGAIN:  # it may go on for ever, a while at a time
            say(f"job {number}: {state.state}, its state is saved; submitting it again")
            return True
        if ended_by_machine and self.resubmitted[number] < RESUBMISSIONS:
            self.resubmitted[number] += 1
            say(f"job {number}: {outcome.state}; submitting it again ({self.resubmitted[number]} of {RESUBMISSIONS})")
            return True
        if ended is None and outcome.code:
            self._end_log(number, outcome)
        self.outcomes[number] = outcome
        return False

    def _remembered(self, number: int) -> states.TaskState | None:
        """A task that the scheduler has forgotten: its own record decides, then the accounting."""
        ended = self._exit_of(number)
        if ended is not None:
            return states.TaskState("FAILED" if ended.code else "COMPLETED", code=ended.code)
        self.unknown[number] += 1
        if self.unknown[number] < QUESTIONS_FOR_LOST:
            return None
        job_id = self._job_id(number)
        if job_id not in self.accounted:
            self.accounted[job_id] = scheduler.accounted_tasks_of(job_id)
        state = self.accounted[job_id].get(number, states.LOST)
        return state if state.has_ended or self.unknown[number] < QUESTIONS_FOR_RUNAWAY else states.LOST

    def _tell(self, number: int, state: states.TaskState) -> None:
        """Say once what a person may want to know while waiting."""
        name = f"job {number} ({self._job_id(number)}_{number})"
        if state.restarts > self.restarts[number]:
            say(f"{name} went back into the queue: it saved its state, lost its node or its place")
        self.restarts[number] = state.restarts
        if state.state != "COMPLETING":
            self.completing_since.pop(number, None)
        elif time.monotonic() - self.completing_since.setdefault(number, time.monotonic()) > COMPLETING_SECONDS:
            self._tell_of_waiting(number, name, "its node does not end it (COMPLETING)")
        self._tell_of_waiting(number, name, state.why_it_waits)

    def _tell_of_waiting(self, number: int, name: str, reason: str) -> None:
        if reason not in self.waits:
            say(f"{name} waits: {reason} (`scontrol show job {self._job_id(number)}` says more)")
            self.waits.add(reason)

    def _job_id(self, number: int) -> str:
        latest = self.record.latest(number)
        return (latest.job_id if latest else None) or "?"

    def _exit_of(self, number: int) -> records.Exit | None:
        return records.read_exit(self.folder, self._job_id(number), number)

    def _log_end(self, number: int) -> str:
        with contextlib.suppress(OSError), open(self.array.log_of(number), "rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - _LOG_END_BYTES))
            return log.read().decode("utf-8", "replace")
        return ""

    def _end_log(self, number: int, outcome: Outcome) -> None:
        with contextlib.suppress(OSError), open(self.array.log_of(number), "a", encoding="utf-8") as log:
            log.write(_job_log.ended_from_outside(outcome.state or f"exit code {outcome.code}"))

    def end(self) -> None:
        """All tasks have ended."""
        records.remove(self.folder)

    def cancel(self) -> bool:
        """Cancel what has not ended, and wait for its end; has all ended?"""
        wanted = [each for each in self.record.submissions if set(each.numbers) & set(self.unfinished)]
        if not wanted:  # what lies in the folder may be another call's
            return True
        ended = cancelling.cancel(wanted, self.stopping)
        if ended:
            records.remove(self.folder)
        return ended
