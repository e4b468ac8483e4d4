"""Which stages of a run are complete, by looking at files and reading hardly any: so a second call is quick.

    EXP/log/complete/<stage>-<digest>.json      of a stage that ended well: what was asked for, and size, time and inode
                                                of every file that it read or wrote; of embeddings and scores, which are
                                                what a user takes away, the digest, too

Where all of them are as they were, the stage is skipped. Where anything differs, its commands run as ever and decide by
contents. Nothing here makes a stage complete that was not.
"""

import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslsv_tk import artifacts, config, digests
from sslsv_tk.kaldi import tables
from sslsv_tk.stamps import RACY_NS, distrust, stamp_in

STAGES = range(1, 8)
_WITHOUT_EFFECT = ("stage", "stop_stage", "nj", "ngpu", "num_nodes", "num_threads", "force", "dry_run", "cores")
_OF_SYSTEMS = ("system", "scale", "config", "set", "tag", "positives", "systems", "checkpoint", "validation", "seed")
_OF_AUDIO = (
    *("train_set", "train_folders", "test_sets", "test_folders", "lists", "list_sets", "list_names", "features"),
    *("noises", "copies", "musan", "rirs", "datadir", "raw", "dump", "bands"),
)
_OF_TRAINING = ("system", "settings", "continued", "choice_settings", "evaluated", "initial", "watch", "expdir")
_RESULTS = ("/embeddings", "/scores")
_CLIPS = ("musan_noise", "musan_music", "musan_speech", "rirs")
Words = Mapping[str, Sequence[str]]


def parse(lines: Iterable[str]) -> dict[str, list[str]]:
    """Lines name=value as the values of each name."""
    found: dict[str, list[str]] = {}
    for line in lines:
        name, equals, value = line.rstrip("\n").partition("=")
        if equals:
            found.setdefault(name, []).append(value)
    return found


@dataclass(frozen=True)
class Run:
    """The options of run.sh by name, and the plan that followed from them."""

    options: Words
    plan: Words

    def of(self, name: str) -> str:
        """A value of the plan; empty where it has none."""
        return next(iter(self.plan.get(name, ())), "")

    def each(self, name: str) -> Sequence[str]:
        """All values of the plan of one name."""
        return self.plan.get(name, ())

    @property
    def wanted(self) -> set[int]:
        """The stages that the run has."""
        return {int(word) for word in self.of("stages").split()}

    def asked(self, stage: int) -> str:
        """A digest of all that was asked for of a stage: options, what follows from them, configurations."""
        without = {*_WITHOUT_EFFECT, *(_OF_SYSTEMS if stage < 4 else ())}
        value: dict[str, Any] = {name: words for name, words in self.options.items() if name not in without}
        names = _OF_AUDIO if stage < 4 else (*_OF_AUDIO, *_OF_TRAINING)
        value["plan"] = {name: list(self.each(name)) for name in names}
        configs = self.each("configs")
        if configs and (stage > 3 or self.of("bands")):
            value["table"] = config.merged(*configs, overrides=self.each("settings"))
        if stage > 4:
            value["choices"] = [config.merged(file) for file in self.each("choice_files") if Path(file).is_file()]
        return digests.of_value(json.loads(json.dumps(value, default=str)))

    def folders(self, stage: int) -> list[str]:
        """The files and folders that a stage reads and writes, but for the user's audio."""
        data, raw, dump, exp = (self.of(name) for name in ("datadir", "raw", "dump", "expdir"))
        speech = [name for name in (self.of("train_set"), *self.each("test_sets")) if name]
        noises = list(self.each("noises"))
        sets = [*speech, *noises, *self.each("copies")]
        if stage < 3:
            return [f"{data}/{name}" for name in (speech if stage == 1 else [*noises, *self.each("copies")])]
        if stage == 3:
            return [f"{above}/{name}" for above in dict.fromkeys((data, raw, dump)) for name in sets]
        if stage in (4, 5):
            read = [f"{dump}/{name}" for name in (self.of("train_set"), *noises, *self.each("copies")) if name]
            watched = [word for word in self.each("watch") if not word.startswith("--")]
            return [*read, *watched, *self._training(stage, exp)]
        systems = [f"{exp}/{name}" for name in self.each("evaluated")]
        if stage == 6:
            packed = [f"{dump}/{name}" for name in self.each("test_sets")]
            parts = ("made.json", "config.yaml", "checkpoints", "embeddings")
            return [*packed, *(f"{system}/{part}" for system in systems for part in parts)]
        lists = [f"{data}/{name}" for name in self.each("list_sets")]
        scored = [f"{system}/{part}" for system in systems for part in ("config.yaml", "embeddings", "scores")]
        return [*lists, f"{exp}/RESULTS.md", *scored]

    def _training(self, stage: int, exp: str) -> list[str]:
        names = [self.of("system")] if stage == 4 else [self.of("system"), *self.each("continued")]
        return [f"{exp}/{name}/{part}" for name in names for part in ("made.json", "config.yaml", "checkpoints")]

    def sources(self, stage: int) -> list[str]:
        """Folders and files of the user that stages 1 to 3 read."""
        speech = [*self.each("train_folders"), *self.each("test_folders"), *self.each("lists")]
        noises = [self.of(name) for name in ("musan", "rirs") if self.of(name)]
        return {1: speech, 2: noises, 3: [*speech, *noises]}.get(stage, [])


def _walk(place: str) -> Iterator[tuple[str, os.stat_result]]:
    """Each file below a folder (or the file) with its state, hidden ones left out, in an order that does not change."""
    if not os.path.isdir(place):
        if os.path.exists(place):
            yield place, os.stat(place)
        return
    waiting = [place]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.name.endswith((".log", ".index")):
                    continue
                if entry.is_dir():
                    waiting.append(entry.path)
                elif entry.is_file():
                    yield entry.path, entry.stat()


def files_of(run: Run, stage: int) -> dict[str, list[int | str]]:
    """Size, time and inode of every file of a stage, by its path; of results also the digest."""
    return {
        path: [*stamp_in(state), *([digests.of_file(path)] if place.endswith(_RESULTS) else [])]
        for place in run.folders(stage)
        for path, state in _walk(place)
    }


def _distrust_damaged(noted: Mapping[str, Sequence[int | str]], found: Mapping[str, Sequence[int | str]]) -> None:
    """Results that have their stamp and other contents: the stage that is run now must not go by the stamp."""
    for path, state in found.items():
        before = noted.get(path, ())
        if before[:3] == state[:3] and before != state:
            distrust(path)


def listing_of(run: Run, stage: int, known: dict[str, str]) -> str:
    """A digest of names, sizes, times and inodes of the user's audio; `known` are those of places that were listed."""
    for place in run.sources(stage):
        if place not in known:
            known[place] = _digest_of(itertools.chain(_walk(place), _named_by(place)))
    return digests.of_value([known[place] for place in run.sources(stage)])


def _named_by(place: str) -> Iterator[tuple[str, os.stat_result]]:
    """The files that wav.scp of a data directory names."""
    scp = Path(place) / "wav.scp"
    if scp.is_file():
        last = b""
        for value in tables.read_table(scp)[1].tolist():
            if value != last and os.path.isfile(value):
                yield os.fsdecode(value), os.stat(value)
            last = value


def _digest_of(files: Iterable[tuple[str, os.stat_result]]) -> str:
    return digests.of_chunks(os.fsencode(path) + b" %d %d %d\n" % stamp_in(state) for path, state in files)


def note_of(run: Run, stage: int, asked: str) -> Path:
    """Where it stands that a stage is complete."""
    return Path(run.of("expdir")) / "log" / "complete" / f"{stage}-{asked[:16]}.json"


def complete(run: Run) -> tuple[set[int], dict[int, str]]:
    """Which of the wanted stages are complete, and the listings of the user's audio, which belong into their notes."""
    found, listings, known = set[int](), dict[int, str](), dict[str, str]()
    for stage in sorted(run.wanted):
        listings[stage] = listing_of(run, stage, known)
        try:
            asked = run.asked(stage)
            note = artifacts.from_json(note_of(run, stage, asked).read_bytes())
            same = (note["asked"], note["listing"]) == (asked, listings[stage])
            files = files_of(run, stage) if same else {}
            if same and note["files"] == files:
                found.add(stage)
            _distrust_damaged(note["files"], files)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found, listings


def note(run: Run, stage: int, listing: str) -> None:
    """Write down that a stage is complete as its files are now; `listing`: the user's audio before the stage began."""
    asked, files = run.asked(stage), files_of(run, stage)
    newest = max((int(stamp[1]) for stamp in files.values()), default=0)
    time.sleep(max(0, min(RACY_NS, newest + RACY_NS - time.time_ns())) / 1e9)
    with artifacts.replacing(note_of(run, stage, asked)) as stream:
        json.dump({"asked": asked, "listing": listing, "files": files}, stream)


def as_json(listings: Mapping[int, str]) -> str:
    """The listings of the stages as text."""
    return json.dumps(listings) + "\n"
