"""Lets the disk run full at many fill levels while the recipe writes, makes room, and lets it go on. Root only.

    sudo -E python3 tests/soak/full_disk.py --folder /tmp/full --cases 60 --minutes 60

Data, dump or exp lie on a small file system of their own. The recipe begins after a random stage with so little room
that it ends in the middle of some write: that must be an exit status other than 0 and a line that says that the disk is
full. With room again the same command must lead to the bytes of the undisturbed run.
"""

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from judge import EQUAL, REFUSED, Bench, described, get_parser, try_all

sys.path.append(str(Path(__file__).resolve().parents[1]))
from small_disk import mounted, resize, used  # of the tests around this folder

WORDS = ("No space left", "is full", "free", "space")
ROOM = 512 * 2**20


@contextlib.contextmanager
def small_disk(bench: Bench, part: str, after: int) -> Iterator[Path]:
    """`part` of the recipe's state after a stage, on a file system of its own."""
    place = bench.work / part
    bench.restore(after)
    if place.exists():
        os.rename(place, bench.folder / "moved")
    with mounted(place, ROOM):
        if (bench.folder / "moved").exists():
            subprocess.run(["cp", "-a", f"{bench.folder / 'moved'}/.", str(place)], check=True)
            subprocess.run(["rm", "-rf", str(bench.folder / "moved")], check=True)
        yield place


def growth(bench: Bench, part: str, after: int) -> int:
    """How many bytes the undisturbed run added to a part after that stage."""
    sizes = []
    for stage in (after, 7):
        files = [path for path in (bench.kept(stage) / part).rglob("*") if path.is_file()]
        sizes.append(sum(-(-path.stat().st_size // 4096) * 4096 for path in files))
    return max(0, sizes[1] - sizes[0])


def case(bench: Bench, name: str) -> dict[str, object]:
    """One fill level."""
    expected, chance = bench.prepare(), random.Random(name)
    part, after = chance.choice([("data", 0), ("dump", 2), ("dump", 2), ("exp", 3), ("exp", 4), ("exp", 5), ("exp", 6)])
    bench.kept(0).mkdir(exist_ok=True)  # before stage 1 there is nothing
    room = int(chance.uniform(0, 1) * growth(bench, part, after)) // 4096 * 4096
    with small_disk(bench, part, after) as place:
        resize(place, used(place) + room + 4096)
        full = bench.run(after + 1)
        resize(place, ROOM)
        verdict = bench.verdict(full, WORDS, expected)
        outcome = full
        if verdict in (EQUAL, REFUSED):
            outcome = bench.run(after + 1)
            verdict = bench.verdict(outcome, [], expected)
            verdict = verdict if verdict == EQUAL else "dead end"
        leftovers = [str(path) for path in place.rglob("*.tmp")] if verdict == EQUAL else []
    about = {"case": name, "kind": "full disk", "after": after, "first": after + 1}
    row = described(full, "left over" if leftovers else verdict, damage=f"{room} bytes of room in {part}", **about)
    return {**row, "said": " ".join(leftovers) or row["said"], "seconds": round(full.seconds + outcome.seconds, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill, judge, write down."""
    options = get_parser(__doc__, cases=60).parse_args(arguments)
    bench = Bench(options.folder.resolve())
    bench.prepare()
    names = [f"{options.seed}/full/{number}" for number in range(options.cases)]
    return try_all(bench.folder, names, lambda name: case(bench, name), options.minutes)


if __name__ == "__main__":
    sys.exit(main())
