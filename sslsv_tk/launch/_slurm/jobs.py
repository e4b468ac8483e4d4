"""The Slurm jobs that an array was submitted as: written down before they are, found again, told apart from twins."""

import functools
import signal
from dataclasses import dataclass

from sslsv_tk import artifacts
from sslsv_tk.launch._slurm import cancelling, records, scheduler, script, states
from sslsv_tk.launch._slurm.records import Record, Submission
from sslsv_tk.launch._slurm.scheduler import Calling, patiently, say
from sslsv_tk.launch._slurm.site import Site
from sslsv_tk.launch.base import JobArray, Resources


@dataclass
class Jobs:
    """The submissions of an array, and their record beside its log."""

    array: JobArray
    resources: Resources
    site: Site
    stopping: set[signal.Signals]

    def __post_init__(self) -> None:
        self.folder = records.folder_of(self.array)
        self.record = Record(records.digest(self.array, self.resources))

    def earlier(self) -> Record | None:
        """What a killed launcher has written down, without calls of sbatch that came to nothing."""
        earlier = records.read(self.folder)
        if earlier is None:
            return None
        for submission in earlier.submissions:
            if not submission.job_id:  # nor is it known how often sbatch was called
                submission.job_id, submission.doubtful = self._find(submission.name), True
        earlier.submissions = [submission for submission in earlier.submissions if submission.job_id]
        return earlier

    def _find(self, name: str) -> str | None:
        return next(iter(patiently(lambda: scheduler.find(name), self.stopping)), None)

    def submit(self, numbers: list[int]) -> None:
        """Write down what is coming, call sbatch, write down what came; a call that is not answered is looked for."""
        submission = Submission(script.unique_name(self.array), numbers)
        self.record.submissions.append(submission)
        self.record.write(self.folder)
        with artifacts.replacing(self.folder / "job.sh") as stream:
            stream.write(script.text(self.site, self.array, self.resources))
        words = script.call(self.site, self.array, self.resources, numbers, submission.name)
        calling = Calling(words, submission.name)
        try:
            submission.job_id = patiently(calling, self.stopping)
        except ValueError as refusal:
            if calling.calls == 1:  # else an earlier call may have been heard
                self._forget(submission)
            raise scheduler.Refused(f"{refusal} (options: {self.site.path}; --dry-run shows the call)") from None
        submission.doubtful = calling.calls > 1
        self.cancel_twins()
        self.record.write(self.folder)
        say(f"submitted {states.number_expression(numbers)} of {self.array.log} as Slurm job {submission.job_id}")

    def _forget(self, submission: Submission) -> None:
        """There is no such job."""
        self.record.submissions.remove(submission)
        if self.record.submissions:
            self.record.write(self.folder)
        else:
            records.remove(self.folder)

    def cancel_twins(self) -> None:
        """Where one submission may have become several jobs, cancel all but the first of those that are there now."""
        for submission in self.record.submissions:
            if submission.doubtful:
                before = submission.job_id
                cancelling.cancel_twins(submission)
                if submission.job_id != before:
                    self.record.write(self.folder)

    def survey(self, record: Record, numbers: list[int]) -> dict[int, states.TaskState]:
        """What the scheduler says about tasks, each in its latest submission; it may have forgotten some."""
        seen = dict[int, states.TaskState]()
        for submission in record.submissions:
            own = [number for number in numbers if record.latest(number) is submission]
            if own and submission.job_id:
                tasks = patiently(functools.partial(scheduler.tasks_of, submission.job_id), self.stopping)
                seen.update({number: tasks[number] for number in own if number in tasks})
        return seen

    def id_of(self, number: int) -> str:
        """The job that a task is part of now; "?" where it has none."""
        latest = self.record.latest(number)
        return (latest.job_id if latest else None) or "?"

    def exit_of(self, number: int) -> records.Exit | None:
        """How a task says that it ended."""
        return records.read_exit(self.folder, self.id_of(number), number)

    def cancel(self, numbers: list[int]) -> bool:
        """Cancel what holds any of these tasks, and wait for its end; has all ended?"""
        wanted = [submission for submission in self.record.submissions if set(submission.numbers) & set(numbers)]
        if not wanted:  # what lies in the folder may be another call's
            return True
        ended = cancelling.cancel(wanted, self.stopping)
        if ended:
            records.remove(self.folder)
        return ended
