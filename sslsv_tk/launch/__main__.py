"""The command line of the launcher, the same for every back end.

Exit status: 0, 1 (a job failed), 2 (interrupted, or a mistake in the call) or 75 (all that failed has saved its state).

python3 -m sslsv_tk.launch local [options] [JOB=1:4] log/x.JOB.log command ... JOB
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a job to be told of: an end, not a traceback

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk import registry
from sslsv_tk.launch import _job_log
from sslsv_tk.launch._following import following
from sslsv_tk.launch._job_log import OWN_LINES
from sslsv_tk.launch.base import NO_VARIABLE, RUN_AGAIN, Backend, Interrupted, JobArray, Outcome, Resources

TAIL_LINES = 15
MOST_STATES = 10
_SIGNAL_HELP = "slurm: SIGUSR1 this many seconds before the time limit, for jobs that save their state; 0: none [0]"
_BYTES = {"": 2**30, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Call:
    """A command line of the launcher, read."""

    backend: str
    array: JobArray
    resources: Resources
    conf: str | None
    dry_run: bool
    follow: bool = False


def _memory(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.upper())
    if not match or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"expected a size as in 4G or 500M, found {text!r}")
    return int(float(match[1]) * _BYTES[match[2]])


def _seconds(text: str) -> float:
    """Slurm's forms: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected minutes, or hours:minutes:seconds as in 1:30:00, found {text!r}")
    days, parts = match[1], [int(part) for part in match.groups()[1:] if part is not None]
    if days is not None:
        parts = [int(days) * 24 + parts[0], *parts[1:], 0, 0][:3]
    elif len(parts) < 3:
        parts = [0, *parts, 0][:3]
    return parts[0] * 3600.0 + parts[1] * 60 + parts[2]


def get_parser() -> argparse.ArgumentParser:
    """One sub-command per back end, all with the same options; each may be written with dashes or underscores."""
    parser = argparse.ArgumentParser(prog="python3 -m sslsv_tk.launch", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    backends = parser.add_subparsers(dest="backend", required=True, metavar="BACKEND", help="where the jobs run")
    for name in registry.names("sslsv_tk.launch"):
        _add_options(backends.add_parser(name, allow_abbrev=False))
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--mem", type=_memory, help="memory of ONE job, as in 4G; local: no more jobs at a time than fit")
    option("--num-threads", "--num_threads", type=int, default=1, help="threads of ONE job, as OMP_NUM_THREADS [1]")
    option("--gpu", type=int, default=0, help="GPUs of ONE job; 0 hides them from it [0]")
    option("--num-nodes", "--num_nodes", type=int, default=1, help="machines of ONE job [1]")
    option("--max-jobs-run", "--max_jobs_run", type=int, help="jobs at a time [local: cores / threads]")
    option("--time", type=_seconds, help="time limit of ONE job: minutes, or hours as in 1:30:00")
    option("--end-with-parent", action="store_true", help="stop the jobs when the calling script ends, even by kill -9")
    option("--signal-seconds", "--signal_seconds", type=int, default=0, help=_SIGNAL_HELP)
    option(
        "--follow", action="store_true", help="show the progress of the first job: its lines of the logger `progress`"
    )
    option("--conf", help="the site's options [slurm: $SSLSV_SLURM_CONF, or conf/slurm.conf; local: none]")
    option("--dry-run", "--dry_run", action="store_true", help="show what would be started, and start nothing")
    option("words", nargs=argparse.REMAINDER, metavar="[JOB=1:4] LOG COMMAND ...", help="range, log file, command")


def _array(words: Sequence[str]) -> JobArray:
    """Split `[JOB=1:4] LOG COMMAND ...`; without a range there is one job, the first."""
    match = re.fullmatch(r"([A-Za-z_]+|\{[A-Za-z_]+\})=(\d+)(?::(\d+))?", words[0]) if words else None
    variable, first, last = (match[1], int(match[2]), int(match[3] or match[2])) if match else (NO_VARIABLE, 1, 1)
    rest = words[1:] if match else words
    if not rest or re.fullmatch(r"[^/]+=[^/]*", rest[0]):  # a range that is none, not a log below a folder a=b
        raise ValueError(f"expected [JOB=1:4] LOG COMMAND ..., found {' '.join(words) or 'nothing'}.")
    return JobArray(first, last, rest[0], tuple(rest[1:]), variable)


def parse(arguments: Sequence[str] | None) -> Call:
    """The command line, read; a usage error ends with status 2."""
    parser = get_parser()
    options = parser.parse_args(arguments)
    try:
        resources = Resources(
            memory_bytes=options.mem,
            num_threads=options.num_threads,
            gpus=options.gpu,
            num_nodes=options.num_nodes,
            max_jobs_run=options.max_jobs_run,
            seconds=options.time,
            end_with_parent=options.end_with_parent,
            signal_seconds=options.signal_seconds,
        )
        array = _array(options.words)
        return Call(options.backend, array, resources, options.conf, options.dry_run, options.follow)
    except ValueError as error:
        parser.error(str(error))


def _tail(path: str) -> str:
    """The last lines that a job wrote, indented, without the launcher's own."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "    (there is no such log: the job never began)"
    own = [line for line in lines if line != "#" and not line.startswith(OWN_LINES)]
    return "\n".join(f"    {line}" for line in own[-TAIL_LINES:])


def report(array: JobArray, outcomes: Mapping[int, Outcome]) -> int:
    """Say on standard error which jobs failed and what the first of them wrote last; the launcher's exit status."""
    saved = [number for number in array.numbers if outcomes[number].code == RUN_AGAIN]
    failed = [number for number in array.numbers if outcomes[number].code not in (0, RUN_AGAIN)]
    if saved:
        summary = f"{len(saved)} of {len(outcomes)} stopped by request, state saved: run again to go on"
        print(f"launch: {summary}, see {array.log_of(saved[0])}", file=sys.stderr)
    if failed:
        _report_failures(array, outcomes, failed)
    return 1 if failed else RUN_AGAIN if saved else 0


def _report_failures(array: JobArray, outcomes: Mapping[int, Outcome], failed: list[int]) -> None:
    first, numbers = failed[0], " ".join(map(str, failed))
    why = outcomes[first].state or f"exit code {outcomes[first].code}"
    summary = f"{len(failed)} of {len(outcomes)} failed, see {array.log_of(first)}"
    print(f"launch: {summary} ({why}; jobs that failed: {numbers})", file=sys.stderr)
    for number in [number for number in failed[1:] if outcomes[number].state][:MOST_STATES]:
        print(f"launch: job {number}: {outcomes[number].state}, see {array.log_of(number)}", file=sys.stderr)
    print(_tail(array.log_of(first)), file=sys.stderr)
    if full := _job_log.full_disk(array.log_of(first)):
        print(f"launch: {full}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the array and report."""
    call = parse(arguments)
    try:
        backend = registry.find("sslsv_tk.launch", call.backend, Backend)(call.conf)  # type: ignore[type-abstract]
        if call.dry_run:
            print(backend.describe(call.array, call.resources))
            return 0
        with following(call.array.log_of(call.array.first) if call.follow else None):
            outcomes = backend.run(call.array, call.resources)
        return report(call.array, outcomes)
    except Interrupted as interruption:
        jobs = interruption.left or "jobs stopped"
        print(f"launch: interrupted by {interruption}, {jobs}, see {call.array.log}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"launch: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
