"""Changes what the user owns between two stages of a recipe, lets it go on, and judges what comes out.

    python3 tests/soak/changed_inputs.py --folder /tmp/inputs --cases 60 --minutes 60

The corpus, noises, responses, lists and settings are the user's. What is right is the result of a run that had the
changed input from the start. It holds if the run that goes on has that result, or fails with a line that names what
was changed; and if it then, with --force true from stage 1, has that result. A change that changes nothing (a new time,
a folder that was moved) must be taken. Cases stand in FOLDER/cases.jsonl; the same command goes on where it stopped.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from judge import EQUAL, REFUSED, SILENT, Bench, described, get_parser, try_all
from numpy.typing import NDArray
from states import State

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Change:
    """`make` changes the folder of the user, or gives words for run.sh.

    `names`: of which a refusal must have one. `last`: the last stage that reads it; a run that begins later need not
    see the change. `begins`: stage 5 may have its own value, so the run goes on from this stage at the latest.
    """

    make: Callable[[Path], list[str]]
    names: tuple[str, ...]
    last: int = 3
    begins: int = 7


def audio(folder: Path, pattern: str) -> Path:
    """One file, always the same."""
    return sorted(folder.glob(pattern))[0]


def rewritten(pattern: str, change: Callable[[Samples], Samples], name: str = "") -> Callable[[Path], list[str]]:
    """Changed samples of a file in its own place, or under another name beside it."""

    def make(user: Path) -> list[str]:
        path = audio(user, pattern)
        samples, rate = soundfile.read(path, dtype="int16")
        changed, subtype = np.ascontiguousarray(change(samples)), soundfile.info(path).subtype
        soundfile.write(path.with_name(name or path.name), changed, rate, subtype=subtype)
        return []

    return make


def other_samples(pattern: str) -> Callable[[Path], list[str]]:
    """Other samples, as many as before."""
    return rewritten(pattern, lambda samples: samples[::-1])


def shorter(pattern: str) -> Callable[[Path], list[str]]:
    """A file that was cut by its owner."""
    return rewritten(pattern, lambda samples: samples[: len(samples) * 9 // 10])


def added(pattern: str) -> Callable[[Path], list[str]]:
    """A file more, of the same speaker."""
    return rewritten(pattern, lambda samples: samples[::-1], "99999.wav")


def removed(pattern: str) -> Callable[[Path], list[str]]:
    """A file less."""

    def make(user: Path) -> list[str]:
        audio(user, pattern).unlink()
        return []

    return make


def trials(change: Callable[[list[str]], list[str]]) -> Callable[[Path], list[str]]:
    """Another list under the same name."""

    def make(user: Path) -> list[str]:
        path = user / "voxceleb1/veri_test2.txt"
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
        return []

    return make


def flipped(lines: list[str]) -> list[str]:
    """The first trial has the other label."""
    return [str(1 - int(lines[0][0])) + lines[0][1:], *lines[1:]]


def setting(*words: str) -> Callable[[Path], list[str]]:
    """Other words for run.sh from here on."""
    return lambda user: list(words)


def touched(user: Path) -> list[str]:
    """New times, the same bytes."""
    for path in user.rglob("*"):
        os.utime(path)
    return []


CHANGES = {
    "training audio, other samples": Change(other_samples("voxceleb2/**/*.wav"), ("voxceleb2",)),
    "training audio, shorter": Change(shorter("voxceleb2/**/*.wav"), ("voxceleb2",)),
    "training audio, a file less": Change(removed("voxceleb2/**/*.wav"), ("voxceleb2",)),
    "training audio, a file more": Change(added("voxceleb2/**/*.wav"), ("voxceleb2",)),
    "test audio, other samples": Change(other_samples("voxceleb1/**/*.wav"), ("voxceleb1", "test")),
    "test audio, shorter": Change(shorter("voxceleb1/**/*.wav"), ("voxceleb1", "test")),
    "a noise, other samples": Change(other_samples("musan/noise/**/*.wav"), ("musan",)),
    "music, a file less": Change(removed("musan/music/**/*.wav"), ("musan",)),
    "a response, other samples": Change(other_samples("rirs/**/*.wav"), ("rirs",)),
    "a response less": Change(removed("rirs/**/*.wav"), ("rirs",)),
    "trials, a label": Change(trials(flipped), ("trials", "veri_test2"), last=1),
    "trials, a line less": Change(trials(lambda lines: lines[1:]), ("trials", "veri_test2"), last=1),
    "trials, other order": Change(trials(lambda lines: lines[::-1]), ("trials", "veri_test2"), last=1),
    "another batch size": Change(setting("--set", "training.batch_size=6"), ("batch_size",), last=5, begins=4),
    "another temperature": Change(setting("--set", "method.temperature=0.2"), ("temperature",), last=5),
    "another seed": Change(setting("--seed", "1"), ("seed",), last=5, begins=4),
    "fewer epochs": Change(setting("--set", "training.epochs=1"), ("epochs",), last=5),
    "another window": Change(setting("--set", "frontend.window=hann"), ("window",), last=6),
    "more neighbours": Change(setting("--positives", "ssps_kmeans:clusters=4,neighbours=2,queue_size=8"), (), last=5),
    "new times": Change(touched, ()),
}


def prepared(folder: Path) -> Bench:
    """The user's folder, and the undisturbed run with it."""
    bench = Bench(folder)
    bench.prepare()
    if not users(bench).copy.is_dir():
        users(bench).keep(bench.corpus)
    return bench


def users(bench: Bench) -> State:
    """The user's folder as it was first."""
    return State(bench.folder / "corpus_before")


def anew(bench: Bench, name: str) -> dict[str, str] | None:
    """The results of a run that had the changed input from the start; None where it refuses the input."""
    known = bench.folder / "anew.json"
    found = json.loads(known.read_text()) if known.exists() else {}
    if name not in found:
        users(bench).restore(bench.corpus)
        words = CHANGES[name].make(bench.corpus)
        shutil.rmtree(bench.work, ignore_errors=True)
        found[name] = bench.results() if bench.run(1, 7, *words).status == 0 else None
        known.write_text(json.dumps(found, indent=1))
    return dict(found[name]) if found[name] is not None else None


def case(bench: Bench, name: str) -> dict[str, object]:
    """One change and what came of it."""
    chance = random.Random(name)
    unchanged = bench.prepare()
    what = chance.choice(sorted(CHANGES))
    change, right = CHANGES[what], anew(bench, what)
    after = chance.randrange(1, 8)
    first = chance.choice([1, min(after + 1, 7)])
    first = min(first, change.begins) if first <= change.last else first
    users(bench).restore(bench.corpus)
    bench.restore(after)
    words = change.make(bench.corpus)
    outcome = bench.run(first, 7, *words)
    verdict = bench.verdict(outcome, change.names or [""], right if right is not None else {})
    if verdict == SILENT and first > change.last and bench.results() == unchanged:
        verdict = EQUAL  # the stages that were run do not read what was changed
    if verdict == SILENT and right is not None and right.items() <= bench.results().items():
        verdict = EQUAL  # a system of before is there, too
    if verdict == REFUSED and right is not None:
        again = bench.run(1, 7, *words, "--force", "true")
        if again.status != 0 or not right.items() <= bench.results().items():
            verdict = "dead end"
            outcome = again
    about = {"case": name, "kind": "input", "after": after, "first": first, "damage": what}
    return described(outcome, verdict, **about)


def main(arguments: Sequence[str] | None = None) -> int:
    """Change, judge, write down."""
    options = get_parser(__doc__, cases=60).parse_args(arguments)
    bench = prepared(options.folder.resolve())
    names = [f"{options.seed}/input/{number}" for number in range(options.cases)]
    return try_all(bench.folder, names, lambda name: case(bench, name), options.minutes)


if __name__ == "__main__":
    sys.exit(main())
