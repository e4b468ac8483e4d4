"""Damage small whole files at random and read them: one clear error may come out, or nothing; within a time limit.

    python3 tests/fuzz/fuzz_readers.py --seconds 60
    python3 tests/fuzz/fuzz_readers.py --targets m4a trials --cases 20000 --seed 7
    python3 tests/fuzz/fuzz_readers.py --targets configuration --seed 7 --first 412 --cases 413     # one case again

A case is known by (seed, target, number). What comes out other than ValueError and OSError with a line of text is
printed with its traceback, and the damaged files are kept below --keep; the exit status is then 1.
"""

import argparse
import contextlib
import logging
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mutations import mutated
from targets import Target, find_targets

MOST_DAMAGED_FILES = 2
GIGABYTE = 2**30


class TooSlow(BaseException):
    """A case that has not ended in time; no reader may catch it as an error of a file."""


@dataclass(frozen=True)
class Limits:
    """How long a case may take, and how long and how many cases of a target there are."""

    case_seconds: float
    target_seconds: float
    first: int
    cases: int


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=10**9, help="of each target, at most (default: no limit)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default: 0)")
    parser.add_argument("--seed", type=int, default=None, help="of all damages (default: the time; it is printed)")
    parser.add_argument("--targets", nargs="+", metavar="WORD", help="those whose name begins so (default: all)")
    parser.add_argument("--case-seconds", type=float, default=5, help="limit of one case (default: %(default)s)")
    parser.add_argument("--memory-gb", type=float, default=4, help="that reading may add (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the damaged files of cases that failed")
    return parser


def ring(*_: object) -> None:
    raise TooSlow("the time limit of a case is over")


@contextlib.contextmanager
def signalled() -> Iterator[None]:
    """Within, the alarm of a case is an exception."""
    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


class Fuzzer:
    """One target in a folder of its own."""

    def __init__(self, target: Target, folder: Path, seed: int) -> None:
        self.target, self.folder, self.seed = target, folder, seed
        target.make(folder)
        self.whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        self.damaged = [path for path in sorted(folder.glob(target.damaged)) if path.is_file()]
        target.read(folder)  # what is whole must be read
        self.restore()

    def restore(self) -> None:
        """Every file as it was, and no other."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self.whole:
                path.unlink()
        for path, contents in self.whole.items():
            if not path.is_file() or path.read_bytes() != contents:
                path.write_bytes(contents)

    def damage(self, number: int) -> None:
        """Write the damaged files of a case."""
        draw = np.random.default_rng([self.seed, zlib.crc32(self.target.name.encode()), number])
        others = [self.whole[path] for path in self.damaged]
        count = int(draw.integers(1, 1 + min(MOST_DAMAGED_FILES, len(self.damaged))))
        for place in draw.choice(len(self.damaged), size=count, replace=False):
            path = self.damaged[place]
            path.write_bytes(mutated(self.whole[path], others, draw))

    def fault(self, number: int, seconds: float) -> str:
        """What is wrong with how a case is read; "" if nothing."""
        self.damage(number)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            self.target.read(self.folder)
        except (ValueError, OSError) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return "" if str(error).strip() else f"an error without a word: {error!r}"
        except BaseException:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return ""


def run(fuzzer: Fuzzer, limits: Limits, keep: Path | None) -> tuple[int, int]:
    """How many cases of a target were read, and how many failed."""
    end, failed, number = time.monotonic() + limits.target_seconds, 0, limits.first
    while number < limits.cases and time.monotonic() < end:
        fault = fuzzer.fault(number, limits.case_seconds)
        if fault:
            failed += 1
            print(f"{fuzzer.target.name}, --seed {fuzzer.seed} --first {number}: {fault}", flush=True)
            if keep is not None:
                name = f"{fuzzer.target.name}-{fuzzer.seed}-{number}".replace(" ", "_")
                shutil.copytree(fuzzer.folder, keep / name, dirs_exist_ok=True)
        fuzzer.restore()
        number += 1
    return number - limits.first, failed


def main() -> int:
    """Every target for its share of the time."""
    options = get_parser().parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error", RuntimeWarning)
    targets = [
        target for target in find_targets() if not options.targets or target.name.startswith(tuple(options.targets))
    ]
    if not targets:
        raise SystemExit(f"no target begins with {' or '.join(options.targets)}")
    print(f"--seed {seed}, {len(targets)} targets, {options.seconds:g} s", flush=True)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = held + int(options.memory_gb * GIGABYTE)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    limits = Limits(options.case_seconds, options.seconds / len(targets), options.first, options.cases)
    failed = 0
    with tempfile.TemporaryDirectory() as folder, signalled():
        for number, target in enumerate(targets):
            cases, wrong = run(Fuzzer(target, Path(folder) / str(number), seed), limits, options.keep)
            print(f"{target.name}: {cases} cases, {wrong} failed", flush=True)
            failed += wrong
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
