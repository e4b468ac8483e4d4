"""Hands hostile audio files, tables and options to the commands, and judges what they make of them.

    python3 tests/fuzz/hostile_inputs.py --folder /tmp/hostile --kinds audio tables options --cases 100

The judge imports nothing of the package. What is right is known from elsewhere: audio from ffmpeg, tables from a
reading line by line, options from what is on disk afterwards. It holds if the result is right, or if the command fails
with a line that names the file (or the option). A case is drawn from (seed, kind, number) and stands in
FOLDER/cases.jsonl; the same command goes on where it stopped. Exit status 1 where a case does not hold; its files are
kept.
"""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hostile_audio
import hostile_options
import hostile_tables
from commands import REFUSED, RIGHT

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "soak"))
import judge  # of the folder beside this one

KINDS: dict[str, Callable[[Path, random.Random], tuple[str, str, str]]] = {
    "audio": hostile_audio.case,
    "tables": hostile_tables.case,
    "options": hostile_options.case,
}
"""Each gives what was done, the verdict, and the last words of the command."""


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = judge.get_parser(__doc__, cases=100)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    return parser


def case(top: Path, name: str) -> dict[str, object]:
    """One case, SEED/KIND/NUMBER; its files are kept where it does not hold."""
    folder, kind = top / name, name.split("/")[1]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    words, verdict, said = KINDS[kind](folder.resolve(), random.Random(name))
    if verdict in (RIGHT, REFUSED):
        shutil.rmtree(folder)
    seconds = round(time.monotonic() - began, 1)
    return {"case": name, "kind": kind, "damage": words, "verdict": verdict, "said": said, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try, judge, write down."""
    options = get_parser().parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    numbers = range(options.first, options.first + options.cases)
    names = [f"{options.seed}/{kind}/{number}" for kind in options.kinds for number in numbers]
    return judge.try_all(options.folder, names, lambda name: case(options.folder, name), options.minutes)


if __name__ == "__main__":
    sys.exit(main())
