"""What the scheduler says of the tasks of an array, and what that means."""

import re
from dataclasses import dataclass

from sslsv_tk.launch.base import Outcome

ENDED_BY_MACHINE = {"NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
"""The task is not to blame: it is submitted again."""
_MEANING = {
    "OUT_OF_MEMORY": "it used more memory than it was given; raise --mem in cmd.sh or `default mem=` in slurm.conf",
    "TIMEOUT": "its time limit is over; raise --time in cmd.sh or `default time=` in slurm.conf",
    "DEADLINE": "it could not end before its deadline",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "PREEMPTED": "a job of higher priority took its place",
    "CANCELLED": "somebody or the scheduler cancelled it",
    "FAILED": "it ended with an error",
    "REVOKED": "another cluster took it",
    "LOST": "Slurm has forgotten it, and it left no exit record",
}
_CODES = {"OUT_OF_MEMORY": 137, "TIMEOUT": 143, "CANCELLED": 143}
ENDED = {"COMPLETED", *_MEANING}
_KILLED, _NO_LOG = 9, 53
_MEMORY_OF_STEP = 253
"""srun's exit status for a step that was killed for its memory."""
_HELD = {"REQUEUE_HOLD", "SPECIAL_EXIT"}
"""It waits until somebody releases it."""
_USUAL_REASONS = {"", "None", "(null)", "Resources", "Priority", "JobArrayTaskLimit", "BeginTime"}


@dataclass(frozen=True)
class TaskState:
    """One task of an array as the scheduler sees it."""

    state: str
    """Slurm's word, such as RUNNING or OUT_OF_MEMORY."""
    reason: str = "None"
    code: int = 0
    signal: int = 0
    restarts: int = 0
    """How often it was put back into the queue."""

    @property
    def has_ended(self) -> bool:
        """Is this the end, as far as the scheduler is concerned?"""
        return self.state in ENDED

    @property
    def why_it_waits(self) -> str:
        """Slurm's word for what keeps it from running, where that is more than other jobs; else empty."""
        if self.state in _HELD:
            return self.state
        reason = self.reason.partition(",")[0]  # not the nodes that are away, which change
        return reason if self.state == "PENDING" and reason not in _USUAL_REASONS else ""


LOST = TaskState("LOST")


def task_numbers(text: str) -> set[int]:
    """The numbers of an expression such as 1,3-5,9-13:2%4."""
    numbers = set[int]()
    for part in text.partition("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if not match:
            raise ValueError(f"expected numbers of tasks as in 1,3-5%2, found {text!r}.")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1)))
    return numbers


def number_expression(numbers: list[int]) -> str:
    """The shortest expression of sorted numbers: 1,3-5."""
    runs = list[list[int]]()
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def parse(listing: str) -> dict[int, TaskState]:
    """The tasks in what `scontrol show job -o` printed, by number."""
    tasks = dict[int, TaskState]()
    for line in listing.splitlines():
        numbers, state = _field(line, "ArrayTaskId"), _field(line, "JobState")
        if numbers and state:
            code, _, signal = _field(line, "ExitCode").partition(":")
            found = TaskState(
                state, _field(line, "Reason"), int(code or 0), int(signal or 0), int(_field(line, "Restarts") or 0)
            )
            tasks.update(dict.fromkeys(task_numbers(numbers), found))
    return tasks


def _field(line: str, name: str) -> str:
    match = re.search(rf"(?:^| ){name}=(\S*)", line)
    return match[1] if match else ""


def parse_accounting(listing: str) -> dict[int, TaskState]:
    """The tasks in what `sacct -X -n -P -o JobID,State,ExitCode` printed: 5_3|FAILED|3:0."""
    tasks = dict[int, TaskState]()
    for line in listing.splitlines():
        match = re.fullmatch(r"\d+_(\d+)\|(\w+)[^|]*\|(\d+):(\d+)", line.strip())
        if match:
            tasks[int(match[1])] = TaskState(match[2], code=int(match[3]), signal=int(match[4]))
    return tasks


def was_killed_for_memory(task: TaskState, log_end: str) -> bool:
    """Without cgroups Slurm calls it FAILED and signal 9; its daemon then says the truth in the job's log."""
    if task.state == "FAILED" and task.code == _MEMORY_OF_STEP:
        return True
    killed = task.state == "FAILED" and _KILLED in (task.signal, task.code - 128)
    return killed and bool(
        re.search(r"^slurmstepd\S*: error: .*(exceeded .*memory limit|oom[-_ ]kill)", log_end, re.M | re.I)
    )


def outcome(task: TaskState, log_end: str = "") -> Outcome:
    """How an ended task ended; `log_end` is the end of its log."""
    if task.state == "COMPLETED":
        return Outcome(0)
    state = "OUT_OF_MEMORY" if was_killed_for_memory(task, log_end) else task.state
    code = 128 + task.signal if task.signal else task.code
    if state == "FAILED" and task.signal == _NO_LOG:
        return Outcome(code, "FAILED: its node could not write the log; do all nodes share its folder?")
    if state == "FAILED" and code and task.reason in ("None", "NonZeroExitCode"):
        return Outcome(code)
    reason = f" ({task.reason})" if task.reason not in ("None", "") else ""
    return Outcome(_CODES.get(state, code or 1), f"{state}: {_MEANING[state]}{reason}")
