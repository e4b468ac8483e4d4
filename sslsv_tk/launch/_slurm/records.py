"""What lies beside the log while an array is at work: the job script, what was submitted, how tasks ended.

    log/x.JOB.log.slurm/
      job.sh                       what Slurm starts, once for each task
      submission.json              what was submitted, so that a launcher that comes later finds it
      launcher                     locked by the launcher that is at work with the array
      exit.<job>.<task>.json       how a task ended, written by itself
      again.<job>.<task>           a process of the task, on several nodes, has saved its state and stopped

The folder goes when the array has ended.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sslsv_tk import artifacts, digests
from sslsv_tk.launch.base import JobArray, Resources

_SUBMISSION, _ENDING = "submission.json", ".slurm"


@dataclass
class Submission:
    """One call of sbatch."""

    name: str
    """Unique in the cluster."""
    numbers: list[int]
    job_id: str | None = None
    """None: sbatch has not answered, or was not called yet."""
    doubtful: bool = False
    """The scheduler may have heard of it more than once."""


@dataclass
class Record:
    """What has been submitted for an array that has not ended."""

    digest: str
    submissions: list[Submission] = field(default_factory=list)

    def latest(self, number: int) -> Submission | None:
        """The submission that a task is part of now."""
        return next((each for each in reversed(self.submissions) if number in each.numbers), None)

    def write(self, folder: Path) -> None:
        """Replace the file."""
        with artifacts.replacing(folder / _SUBMISSION) as stream:
            json.dump(asdict(self), stream)


@dataclass(frozen=True)
class Exit:
    """How the command of a task ended."""

    code: int
    again: bool
    """It saved its state and wants to be started again, but could not put itself back into the queue."""


def folder_of(array: JobArray) -> Path:
    """Where these files lie."""
    return Path(f"{array.log}{_ENDING}")


def digest(array: JobArray, resources: Resources) -> str:
    """What makes two calls the same: command, log, range, folder and what a job needs."""
    needs = asdict(resources)
    del needs["max_jobs_run"], needs["end_with_parent"]
    return digests.of_value([asdict(array), needs, str(Path.cwd())])


def read(folder: Path) -> Record | None:
    """The record of a launcher that was killed; None where there is none, or it is damaged."""
    try:
        found = artifacts.from_json((folder / _SUBMISSION).read_text(encoding="utf-8"))
        return Record(str(found["digest"]), [Submission(**each) for each in found["submissions"]])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One launcher at a time with a log, from before it looks for jobs of earlier calls until all have ended.

    ValueError where another one is at work; how a launcher ends does not matter, since locks end with processes.
    """
    lock = _locked(folder)
    try:
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        if not (folder / _SUBMISSION).exists():
            remove(folder)
        os.close(lock)


def _locked(folder: Path) -> int:
    """The file `launcher`, locked and empty, as a file descriptor."""
    path = folder / "launcher"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another one has just ended, and removed the folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                os.truncate(lock, 0)
                return lock
        except FileNotFoundError:  # removed between the two calls
            pass
        except OSError as error:
            raise _refusal(folder, error, os.read(lock, 200).decode("utf-8", "replace")) from None
        os.close(lock)


def _refusal(folder: Path, error: OSError, holder: str) -> ValueError:
    log = str(folder).removesuffix(_ENDING)
    if isinstance(error, BlockingIOError):
        return ValueError(
            f"{log}: another launcher ({holder or 'just started'}) is at work with it. Wait for it or stop it."
        )
    return ValueError(
        f"{folder}: cannot be locked ({error.strerror}). Mount its file system with locks (Lustre: flock), or put the "
        "log elsewhere."
    )


def remove(folder: Path) -> None:
    """The array has ended."""
    shutil.rmtree(folder, ignore_errors=True)


def _exit_file(folder: Path, job_id: str, number: int | str) -> Path:
    return folder / f"exit.{job_id}.{number}.json"


def again_file(folder: Path, job_id: str, number: int | str) -> Path:
    """The mark of a process, on several nodes, that has saved its state and stopped."""
    return folder / f"again.{job_id}.{number}"


def begin(folder: Path, job_id: str, number: int | str) -> None:
    """Forget how the task ended when it ran before."""
    _exit_file(folder, job_id, number).unlink(missing_ok=True)
    again_file(folder, job_id, number).unlink(missing_ok=True)


def write_exit(folder: Path, job_id: str, number: int | str, ended: Exit) -> None:
    """The last thing that a task does."""
    with artifacts.replacing(_exit_file(folder, job_id, number)) as stream:
        json.dump(asdict(ended), stream)


def read_exit(folder: Path, job_id: str, number: int) -> Exit | None:
    """How a task of this very job ended; None: it has not said so."""
    try:
        found = artifacts.from_json(_exit_file(folder, job_id, number).read_text(encoding="utf-8"))
        return Exit(int(found["code"]), bool(found["again"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
