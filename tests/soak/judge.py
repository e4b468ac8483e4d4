"""Runs the recipe into one folder, keeps its state after each stage, and judges what comes out.

It knows the package by its commands and its files alone and imports nothing of it: what the package believes about its
own files is not believed here. The recipe is all of run.sh on a corpus of 20 utterances, which the mini recipe's
generator makes once: every kind of file, and seconds of work.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from states import State

REPOSITORY = Path(__file__).resolve().parents[2]
LONGEST_RUN = 600.0
"""Seconds after which a run of the tiny recipe counts as one that hangs."""
EQUAL = "the same bytes"
REFUSED = "refused, the file named"
SILENT = "other results"
FAULTS = (
    *(SILENT, "wrong without a word", "not named", "traceback"),
    *("no end", "dead end", "no line", "left over"),
)
"""Verdicts that do not hold."""
CORPUS = (
    *("training_speakers=3", "training_recordings=[2,2]", "test_speakers=2", "test_recordings=[2,2]"),
    *("noise_files=2", "music_files=2", "speech_files=1", "augmentation_seconds=[4.0,5.0]", "rooms=1"),
)
"""Options of the generator, beside those of its smallest corpus."""


@dataclass(frozen=True)
class Outcome:
    """What one run of run.sh left: exit status (None: it did not end), everything it said, seconds."""

    status: int | None
    said: str
    seconds: float

    @property
    def has_traceback(self) -> bool:
        """Did Python's own report reach the user?"""
        return "Traceback (most recent call last)" in self.said

    def last_lines(self, count: int = 3) -> str:
        """The last lines, for a table."""
        return " / ".join(self.said.strip().splitlines()[-count:])


@dataclass
class Bench:
    """A folder with one recipe in it, and its states after each stage."""

    folder: Path
    options: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def corpus(self) -> Path:
        """The user's audio and lists."""
        return self.folder / "corpus"

    @property
    def work(self) -> Path:
        """Where the recipe runs: data, dump, exp."""
        return self.folder / "work"

    def kept(self, stage: int) -> Path:
        """The state after a stage of the run that nobody disturbed, as a copy."""
        return self.folder / f"after_{stage}"

    def run(self, first: int, last: int = 7, *more: str, limit: float = LONGEST_RUN) -> Outcome:
        """The recipe from one stage to another."""
        words = small_recipe(self.corpus, *(self.work / name for name in ("data", "dump", "exp")))
        words += ["--stage", str(first), "--stop-stage", str(last)]
        began = time.monotonic()
        process = subprocess.Popen(
            [*words, *self.options, *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=limit)
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            status = None
        return Outcome(status, said.decode(errors="replace"), time.monotonic() - began)

    def results(self) -> dict[str, str]:
        """A digest of every ark of embeddings and of every score file."""
        return results_of(self.work)

    def prepare(self) -> dict[str, str]:
        """Run undisturbed, stage by stage, unless that was done; the results."""
        expected = self.folder / "expected.json"
        if not expected.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            make_corpus(self.corpus)
            shutil.rmtree(self.work, ignore_errors=True)
            for stage in range(1, 8):
                if (outcome := self.run(stage, stage)).status != 0:
                    raise SystemExit(f"the undisturbed run failed in stage {stage}: {outcome.said[-3000:]}")
                State(self.kept(stage)).keep(self.work)
            if not self.results():
                raise SystemExit(f"{self.work}: no embeddings and scores to compare with")
            expected.write_text(json.dumps(self.results(), indent=1))
        return dict(json.loads(expected.read_text()))

    def restore(self, stage: int) -> None:
        """The state after a stage, at the same paths, times, inodes and all."""
        State(self.kept(stage)).restore(self.work)

    def verdict(self, outcome: Outcome, names: Sequence[str], expected: dict[str, str]) -> str:
        """Does it hold? `names`: words of which the output of a run that failed must hold one."""
        if outcome.status is None:
            return "no end"
        if outcome.has_traceback:
            return "traceback"
        if outcome.status == 0:
            return EQUAL if self.results() == expected else "other results"
        if not outcome.said.strip():
            return "no line"
        return REFUSED if any(name in outcome.said for name in names) else "not named"

    def follows_the_advice(self, outcome: Outcome, expected: dict[str, str]) -> bool:
        """After a refusal: does the remedy in its message lead to the right results?

        The stage that the message names is run, with --force true where it says so; then all that follows.
        """
        lines = [line for line in outcome.said.splitlines() if "error" in line.lower() or "again" in line]
        text = "\n".join(lines) or outcome.said
        stages = [int(number) for number in re.findall(r"[Ss]tages? (\d)", text)]
        force = ["--force", "true"] if "--force" in text else []
        for first in [*dict.fromkeys(stages), 1]:
            again = self.run(first, 7, *force)
            if again.status == 0 and self.results() == expected:
                return True
        return False


def results_of(folder: Path) -> dict[str, str]:
    """A digest of every ark of embeddings and of every score file below FOLDER/exp."""
    exp = folder / "exp"
    found = sorted([*exp.glob("*/embeddings/**/*.ark"), *exp.glob("*/scores/*.score")])
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def make_corpus(folder: Path) -> None:
    """Generate the user's audio, unless it is there."""
    made = [word for option in CORPUS for word in ("--set", option)]
    script = '. ./path.sh && exec python3 local/make_mini_corpus.py "$@"'
    words = ["bash", "-c", script, "bash", "--out", str(folder), "--tiny", "true", "--jobs", "1", *made]
    subprocess.run(words, cwd=REPOSITORY / "egs/voxceleb", check=True, stderr=subprocess.DEVNULL)


def small_recipe(corpus: Path, data: Path, dump: Path, exp: Path) -> list[str]:
    """The words that call the recipe that is tried, with its output in these folders."""
    return [
        str(REPOSITORY / "egs/voxceleb/run.sh"),
        *("--scale", "tiny", "--set", "training.batch_size=4"),
        *("--positives", "ssps_kmeans:clusters=4,neighbours=1,queue_size=8"),
        *("--train-audio", str(corpus / "voxceleb2"), "--test-audio", f"voxceleb1_test={corpus / 'voxceleb1'}"),
        *("--trials", str(corpus / "voxceleb1/veri_test2.txt")),
        *("--musan", str(corpus / "musan"), "--rirs", str(corpus / "rirs")),
        *("--ngpu", "0", "--nj", "2", "--num-threads", "1"),
        *("--datadir", str(data), "--dumpdir", str(dump), "--expdir", str(exp)),
    ]


def get_parser(description: str | None, cases: int) -> argparse.ArgumentParser:
    """The options that all scripts share which try case after case."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of one process of this script")
    parser.add_argument("--cases", type=int, default=cases, help="of each kind (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="no new case after so long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
    return parser


def described(outcome: Outcome, verdict: str, **about: object) -> dict[str, object]:
    """A case for FOLDER/cases.jsonl: what is said of it, and how it ended."""
    said = "" if verdict == EQUAL else outcome.last_lines()
    ended = {"status": outcome.status, "seconds": round(outcome.seconds, 1), "verdict": verdict, "said": said}
    return {**about, **ended}


def artifacts_of(work: Path) -> list[Path]:
    """The files that the recipe made and may read again: no logs."""
    found = [path for name in ("data", "dump", "exp") for path in (work / name).rglob("*") if path.is_file()]
    return sorted(
        path
        for path in found
        if not path.is_symlink()
        and "tensorboard" not in path.relative_to(work).parts
        and path.suffix != ".log"
        and path.name not in ("lock", "RESULTS.md")
        and path.stat().st_size > 0
    )


def try_all(folder: Path, names: Sequence[str], case: Callable[[str], dict[str, object]], minutes: float) -> int:
    """Each case that is not yet in FOLDER/cases.jsonl, until the time is up; exit status 1 where one does not hold."""
    log = folder / "cases.jsonl"
    done = {json.loads(line)["case"] for line in log.read_text().splitlines()} if log.exists() else set()
    until, faults = time.monotonic() + 60 * minutes, 0
    for name in names:
        if name in done:
            continue
        if time.monotonic() > until:
            break
        row = case(name)
        with log.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        faults += row["verdict"] in FAULTS
        where = f", after stage {row['after']}, from {row['first']}" if "after" in row else ""
        print(f"{name} {row.get('file', '')} {row['damage']}{where}: {row['verdict']} ({row['seconds']} s)", flush=True)
    return 1 if faults else 0
