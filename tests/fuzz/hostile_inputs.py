"""Hands hostile audio files, tables and options to the commands, and judges what they make of them.

    python3 tests/fuzz/hostile_inputs.py --folder /tmp/hostile --kinds audio tables options --cases 100

The judge imports nothing of the package. What is right is known from elsewhere: audio from ffmpeg, tables from a
reading line by line, options from what is on disk afterwards. It holds if the result is right, or if the command fails
with a line that names the file (or the option). A case is drawn from (seed, kind, number) and stands in
FOLDER/cases.jsonl; the same command goes on where it stopped. Exit status 1 where a case does not hold; its files are
kept.
"""

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hostile_audio
import hostile_options
import hostile_tables
from commands import REFUSED, RIGHT

KINDS: dict[str, Callable[[Path, random.Random], tuple[str, str, str]]] = {
    "audio": hostile_audio.case,
    "tables": hostile_tables.case,
    "options": hostile_options.case,
}
"""Each gives what was done, the verdict, and the last words of the command."""


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--cases", type=int, default=100, help="of each kind (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Try, judge, write down."""
    options = get_parser().parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / "cases.jsonl"
    done = {json.loads(line)["case"] for line in log.read_text().splitlines()} if log.exists() else set()
    faults = 0
    for kind in options.kinds:
        for number in range(options.first, options.first + options.cases):
            name = f"{options.seed}/{kind}/{number}"
            if name in done:
                continue
            folder = options.folder / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            words, verdict, said = KINDS[kind](folder.resolve(), random.Random(name))
            held = verdict in (RIGHT, REFUSED)
            row = {"case": name, "kind": kind, "damage": words, "verdict": verdict, "said": said}
            with log.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            if held:
                shutil.rmtree(folder)
            else:
                print(f"{name} {words}: {verdict}: {said}", flush=True)
                faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
