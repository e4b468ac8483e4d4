"""Damages one file of a small recipe between two stages, lets the recipe go on, and judges what comes out.

    python3 tests/soak/damage.py --folder /tmp/damage --kinds flip rot artifact --cases 100 --minutes 60

It holds if the final embeddings and scores have the bytes of the undisturbed run, or if run.sh fails with a line that
names the damaged file or its folder, and the remedy of that line leads to those bytes. Each case is drawn from (seed,
kind, number) and written to FOLDER/cases.jsonl; the same command goes on where it stopped. SSLSV_VENV may be the folder
of warm_python.py, which makes a case several times shorter.
"""

import argparse
import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from judge import REFUSED, Bench, artifacts_of, described, get_parser, try_all

Damage = Callable[[Path, random.Random, Path], str]


def flip(path: Path, chance: random.Random, work: Path) -> str:
    """One bit, as a bad write leaves it: the file's time changes."""
    position, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
    with open(path, "r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ 1 << bit]))
    return f"bit {bit} of byte {position}"


def rot(path: Path, chance: random.Random, work: Path) -> str:
    """One bit, as a bad disk leaves it: neither time nor size changes."""
    before = path.stat()
    words = flip(path, chance, work)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return f"{words}, the time kept"


def cut(path: Path, chance: random.Random, work: Path) -> str:
    """A file that was not written to its end."""
    length = chance.choice([0, chance.randrange(path.stat().st_size), path.stat().st_size - 1])
    os.truncate(path, length)
    return f"cut to {length} bytes"


def remove(path: Path, chance: random.Random, work: Path) -> str:
    """A file that is gone."""
    path.unlink()
    return "removed"


def grow(path: Path, chance: random.Random, work: Path) -> str:
    """Bytes behind the end."""
    with open(path, "ab") as stream:
        stream.write(chance.choice([b"\0", b"\n", b"a b\n", bytes(4096)]))
    return "longer"


def blank(path: Path, chance: random.Random, work: Path) -> str:
    """A block of zeros, as a file system leaves it after a loss of power."""
    size = path.stat().st_size
    begin = chance.randrange(size)
    with open(path, "r+b") as stream:
        stream.seek(begin)
        stream.write(bytes(min(4096, size - begin)))
    return f"zeros from byte {begin}"


def swap(path: Path, chance: random.Random, work: Path) -> str:
    """Another file of the same name or ending takes its place."""
    others = [other for other in artifacts_of(work) if other != path and other.suffix == path.suffix]
    same = [other for other in others if other.name == path.name]
    if not others:
        return cut(path, chance, work)
    other = chance.choice(same or others)
    shutil.copyfile(other, path)
    return f"replaced by {other.relative_to(work)}"


def lines(path: Path, chance: random.Random, work: Path) -> str:
    """A text file with a line less, twice, or out of order; others are cut."""
    found = path.read_bytes().splitlines(keepends=True)
    if path.suffix in (".ark", ".pt", ".index") or len(found) < 2:
        return cut(path, chance, work)
    row = chance.randrange(len(found) - 1)
    what = chance.choice(["a line less", "a line twice", "two lines exchanged"])
    if what == "a line less":
        del found[row]
    elif what == "a line twice":
        found.insert(row, found[row])
    else:
        found[row], found[row + 1] = found[row + 1], found[row]
    path.write_bytes(b"".join(found))
    return f"{what} at {row + 1}"


DAMAGES: dict[str, Sequence[Damage]] = {
    "flip": [flip],
    "rot": [rot],
    "artifact": [cut, remove, grow, blank, swap, lines],
}


def kind_of(path: Path) -> str:
    """Files that are alike, so that each kind is hit as often as any other: wav.1.ark and wav.2.ark."""
    return "".join("N" if letter.isdigit() else letter for letter in path.name)


def drawn_file(bench: Bench, chance: random.Random) -> Path:
    """A file of a kind drawn from all kinds that are there."""
    kinds: dict[tuple[str, str], list[Path]] = {}
    for path in artifacts_of(bench.work):
        kinds.setdefault((path.relative_to(bench.work).parts[0], kind_of(path)), []).append(path)
    return chance.choice(kinds[chance.choice(sorted(kinds))])


def case(bench: Bench, name: str, expected: dict[str, str]) -> dict[str, object]:
    """One damage and what came of it."""
    chance, kind = random.Random(name), name.split("/")[1]
    after = chance.randrange(1, 8)
    bench.restore(after)
    path = drawn_file(bench, chance)
    words = chance.choice(DAMAGES[kind])(path, chance, bench.work)
    first = chance.choice([1, min(after + 1, 7)])
    outcome = bench.run(first)
    place = path.relative_to(bench.work)
    verdict = bench.verdict(outcome, [path.name, str(path.parent)], expected)
    if verdict == REFUSED and not bench.follows_the_advice(outcome, expected):
        verdict = "dead end"
    about = {"case": name, "kind": kind, "after": after, "first": first, "file": str(place), "damage": words}
    return described(outcome, verdict, **about)


def main(arguments: Sequence[str] | None = None) -> int:
    """Damage, judge, write down."""
    parser = get_parser(__doc__, cases=100)
    parser.add_argument("--kinds", nargs="+", choices=sorted(DAMAGES), default=sorted(DAMAGES))
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="words for run.sh; last")
    options = parser.parse_args(arguments)
    bench = Bench(options.folder.resolve(), options.options)
    expected = bench.prepare()
    numbers = range(options.first, options.first + options.cases)
    names = [f"{options.seed}/{kind}/{number}" for number in numbers for kind in options.kinds]
    return try_all(bench.folder, names, lambda name: case(bench, name, expected), options.minutes)


if __name__ == "__main__":
    sys.exit(main())
