"""The command line of the launcher, the same for every back end.

Exit status: 0, 1 (a job failed) or 2 (interrupted, or a mistake in the call).

python3 -m sslsv_tk.launch local [options] [JOB=1:4] log/x.JOB.log command ... JOB
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import registry
from sslsv_tk.launch.base import Backend, Interrupted, JobArray, Resources

TAIL_LINES = 15
_BYTES = {"": 2**30, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


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
    for name in (name for name in registry.names("sslsv_tk.launch") if not name.startswith("_")):
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
    option("words", nargs=argparse.REMAINDER, metavar="[JOB=1:4] LOG COMMAND ...", help="range, log file, command")


def _array(words: Sequence[str]) -> JobArray:
    """Split `[JOB=1:4] LOG COMMAND ...`; without a range there is one job, the first."""
    match = re.fullmatch(r"([A-Za-z_]+)=(\d+)(?::(\d+))?", words[0]) if words else None
    variable, first, last = (match[1], int(match[2]), int(match[3] or match[2])) if match else ("JOB", 1, 1)
    rest = words[1:] if match else words
    if not rest or "=" in rest[0]:
        raise ValueError(f"expected [JOB=1:4] LOG COMMAND ..., found {' '.join(words) or 'nothing'}.")
    return JobArray(first, last, rest[0], tuple(rest[1:]), variable)


def parse(arguments: Sequence[str] | None) -> tuple[str, JobArray, Resources]:
    """The name of the back end, the array and the resources; a usage error ends with status 2."""
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
        )
        return options.backend, _array(options.words), resources
    except ValueError as error:
        parser.error(str(error))


def _tail(path: str) -> str:
    """The last lines that a job wrote, indented, without the launcher's own."""
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    own = ("# command:", "# host:", "# started:", "# ended:")
    return "\n".join(
        f"    {line}" for line in [line for line in lines if line != "#" and not line.startswith(own)][-TAIL_LINES:]
    )


def report(array: JobArray, codes: dict[int, int]) -> int:
    """Say on standard error which jobs failed and what the first of them wrote last; the launcher's exit status."""
    failed = [number for number in array.numbers if codes[number]]
    if not failed:
        return 0
    first, numbers = failed[0], " ".join(map(str, failed))
    summary = f"{len(failed)} of {len(codes)} failed, see {array.log_of(first)}"
    print(f"launch: {summary} (exit code {codes[first]}; jobs that failed: {numbers})", file=sys.stderr)
    print(_tail(array.log_of(first)), file=sys.stderr)
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the array and report."""
    name, array, resources = parse(arguments)
    try:
        backend = registry.find("sslsv_tk.launch", name, Backend)()  # type: ignore[type-abstract]
        return report(array, backend.run(array, resources))
    except Interrupted as interruption:
        print(f"launch: interrupted by {interruption}, jobs stopped, see {array.log}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"launch: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
