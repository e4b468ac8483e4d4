"""What a back end is given and what it answers: a job array, the resources of one job, the jobs' exit statuses."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

RUN_AGAIN = 75
"""Exit status of a job that was asked to stop and has saved its state: start it again and it goes on (EX_TEMPFAIL)."""
NO_VARIABLE = ""
"""Of a single job without a range: nothing in its words is replaced."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class JobArray:
    """The same command for each number of a range; `JOB` in the words and in the log's name becomes the number.

    Every JOB, as in Kaldi's run.pl, so /scratch/JOB_7/x.JOB as well: who has such paths calls the variable otherwise.
    One in braces, {JOB}, is replaced at any place; run.sh uses it, and takes no path that holds it.
    """

    first: int
    last: int
    log: str
    words: tuple[str, ...]
    variable: str = "JOB"

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise ValueError(
                f"{self.variable}={self.first}:{self.last}: expected a range from 1 upwards, as in JOB=1:4."
            )
        if not self.words:
            raise ValueError(f"no command after the log file {self.log}: expected {self.variable}=1:4 LOG COMMAND ...")
        if self.first != self.last and self.log_of(self.first) == self.log_of(self.last):
            raise ValueError(f"log file {self.log}: all jobs would write it. Put {self.variable} into its name.")

    @property
    def numbers(self) -> range:
        """The numbers of the jobs."""
        return range(self.first, self.last + 1)

    def numbered(self, word: str, number: int | str) -> str:
        """A word with the number in the place of the variable."""
        if self.variable == NO_VARIABLE:
            return word
        if self.variable.startswith("{"):
            return word.replace(self.variable, str(number))
        # A letter or digit beside the variable makes it part of another word, as in /data/JOBS.
        return re.sub(rf"(?<![A-Za-z0-9]){re.escape(self.variable)}(?![A-Za-z0-9])", lambda _: str(number), word)

    def log_of(self, number: int) -> str:
        """The log file of one job."""
        return self.numbered(self.log, number)

    def words_of(self, number: int) -> list[str]:
        """The command of one job as an argument vector: no shell ever reads it."""
        return [self.numbered(word, number) for word in self.words]


@dataclass(frozen=True)
class Resources:
    """What ONE job of an array needs, and how many may run at a time."""

    memory_bytes: int | None = None
    num_threads: int = 1
    gpus: int = 0
    num_nodes: int = 1
    max_jobs_run: int | None = None
    seconds: float | None = None
    """Time limit of a job; None: none."""
    end_with_parent: bool = False
    """Stop the jobs when the process that started the launcher ends, however it ends."""
    signal_seconds: int = 0
    """A cluster asks a job this long before its time limit to save its state (SIGUSR1); 0: it does not."""

    def __post_init__(self) -> None:
        for name, least in (
            ("num_threads", 1),
            ("gpus", 0),
            ("num_nodes", 1),
            ("max_jobs_run", 1),
            ("signal_seconds", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name.replace('_', '-')} {value}: expected at least {least}.")


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    code: int
    """Exit status; 128 + n: ended by signal n."""
    state: str = ""
    """What ended it, in the words of the scheduler and ours, where the exit status does not say all."""


class Interrupted(Exception):
    """A signal ended the array; its jobs have been stopped, or else `left` says what may still be at work."""

    left = ""


class Backend(ABC):
    """A place that runs job arrays."""

    def __init__(self, conf: str | None = None) -> None:
        """`conf` is the file with the options of this place, where it has one; None: where the back end expects it."""
        self.conf = conf

    @abstractmethod
    def describe(self, array: JobArray, resources: Resources) -> str:
        """What run() would start, as text for a person; nothing is started."""

    @abstractmethod
    def run(self, array: JobArray, resources: Resources) -> dict[int, Outcome]:
        """Run all jobs, each with its log, and return how each ended.

        Raises Interrupted when a signal stopped the array.
        """
