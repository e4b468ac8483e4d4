"""The plan of a run: everything that its stages have to know, decided and checked before the first of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sslsv_tk.recipes import corpora, features, machine, positives, scale, systems, test_sets
from sslsv_tk.recipes.corpora import Corpora
from sslsv_tk.recipes.machine import Machine
from sslsv_tk.recipes.names import Places
from sslsv_tk.recipes.options import Mistake, Options
from sslsv_tk.recipes.positives import Choice
from sslsv_tk.recipes.systems import System
from sslsv_tk.recipes.test_sets import TrialList

_DEFAULT_SYSTEM = "simclr_fast_resnet34"
_FOLDERS = {"datadir": "data", "dumpdir": "dump", "expdir": "exp"}
_COPIES = ("noise", "music", "babble", "reverb")
_CLIPS = ("musan_noise", "musan_music", "musan_speech", "rirs")


@dataclass(frozen=True)
class Plan:
    """What was decided; `lines` is how run.sh is told."""

    options: Options
    stages: set[int]
    notes: list[str]
    corpora: Corpora
    kept: bool  # features as they came
    system: System
    choices: list[Choice]
    evaluated: list[str]  # folders in exp, of stages 6 and 7
    watched: TrialList | None  # what --validation names
    machine: Machine
    bands: int | None  # of the features that stage 3 computes
    initial: Path | None  # the checkpoint whose weights stage 4 begins with

    @property
    def folders(self) -> dict[str, str]:
        """datadir, dumpdir and expdir, and below dumpdir raw (audio) and dump (what training reads)."""
        found = folders(self.options)
        return {**found, "raw": f"{found['dumpdir']}/raw", "dump": f"{found['dumpdir']}/{self.options.feats_type}"}

    def prepared(self, trials: TrialList) -> str:
        """The file that stage 1 makes of a list."""
        return f"{self.folders['datadir']}/{trials.set}/trials_{trials.name}"

    @property
    def training_set(self) -> Path | None:
        """The tables of the training set that are there."""
        where = ["datadir"] if self.options.stage < 4 else ["dump", "datadir"]
        there = [Path(self.folders[name]) / self.corpora.train_set for name in where]
        return next((folder for folder in there if any(folder.glob("[wf]*.scp"))), None)

    def lines(self) -> list[str]:
        """name=value, a line for each value of a list. No value may hold an end of line."""
        found = [f"{name}={value}" for name, value in self._values()]
        for line in found:
            if "\n" in line or "\r" in line:
                raise Mistake(f"{line!r}: a name or a path with an end of line cannot be planned with")
            if "{JOB}" in line:
                raise Mistake(f"{line!r}: {{JOB}} is what run.sh writes for the number of a job. Name it otherwise")
        return found

    def _values(self) -> Iterator[tuple[str, Any]]:
        yield from _each("note", self.notes)
        yield "stages", " ".join(map(str, sorted(self.stages)))
        yield from self.folders.items()
        yield from self._values_of_audio()
        yield from self._values_of_systems()
        yield "listing", "feats.scp" if self.kept or self.options.feats_type == "fbank" else "wav.scp"
        yield from (("nj", self.machine.nj), ("ngpu", self.machine.ngpu), ("num_threads", self.machine.num_threads))
        yield "trainer_threads", self.machine.trainer_threads

    def _values_of_audio(self) -> Iterator[tuple[str, Any]]:
        found, kept = self.corpora, self.kept
        computes = self.options.feats_type == "fbank" and not kept
        yield "features", "keep" if kept else "compute"
        yield "train_set", found.train_set
        yield from _each("train_folders", found.train_folders)
        yield from _each("test_sets", (test_set.name for test_set in found.test_sets))
        yield from _each("test_folders", (test_set.folder for test_set in found.test_sets))
        yield from _each("lists", (trials.path for trials in found.lists))
        yield from _each("list_sets", (trials.set for trials in found.lists))
        yield from _each("list_names", (trials.name for trials in found.lists))
        yield from _each("speech", found.names)
        if found.train_set:
            yield from (("musan", found.musan), ("rirs", found.rirs))
            yield from _each("noises", _CLIPS)
            yield from _each("copies", (f"{found.train_set}_{kind}" for kind in _COPIES) if computes else ())
        if self.bands is not None:
            yield "bands", self.bands

    def _values_of_systems(self) -> Iterator[tuple[str, Any]]:
        yield "system", self.system.name
        yield from _each("configs", self.system.files)
        yield from _each("settings", self.system.settings)
        yield from _each("continued", (f"{self.system.name}_{choice.name}" for choice in self.choices))
        yield from _each("choice_files", (choice.file for choice in self.choices))
        yield from _each("choice_settings", (" ".join(choice.settings) for choice in self.choices))
        yield from _each("evaluated", self.evaluated)
        yield from _each("trainer", self.machine.trainer)
        if self.initial is not None:
            yield from _each("initial", ("--init-from", self.initial))
        if self.watched is not None:
            yield from _each("watch", ("--validation-data", f"{self.folders['dump']}/{self.watched.set}"))
            yield from _each("watch", ("--validation-trials", self.prepared(self.watched)))


def folders(options: Options) -> dict[str, str]:
    """datadir, dumpdir and expdir; those of a generated corpus are its own."""
    return {name: getattr(options, name) or default + options.suffix for name, default in _FOLDERS.items()}


def make(options: Options, environment: Mapping[str, str], after_stage_1: bool = False) -> Plan:
    """Decide; a Mistake or another ValueError where something cannot be meant."""
    counted = after_stage_1 or options.stage > 1
    places = Places(options.caller, options.recipe)
    options = replace(
        options,
        datadir=places.of(options.datadir),
        dumpdir=places.of(options.dumpdir),
        expdir=places.of(options.expdir),
    )
    audio = corpora.find(options, places, environment)
    datadir = folders(options)["datadir"]
    kept = features.decide(options, audio, datadir) == "keep"
    utterances = scale.count_utterances(datadir, audio) if options.scale == scale.AUTO and counted else None
    system = systems.find(options, places, "kept" if kept else options.feats_type, utterances)
    choices, notes = _choices(options, places, system)
    if options.scale == scale.AUTO and audio.train_set:
        written = choices
        choices = choices if utterances is None else [scale.choice(utterances, each) for each in choices]
        notes.append(scale.note(utterances, system.settings, written, choices))
    if options.stop_stage == 6 or (options.stage == 1 and options.stop_stage < 6):
        silent = test_sets.without_list(audio.test_sets, audio.lists)
        notes += [f"{name}: no trial list, so embeddings alone" for name in silent]
    if not audio.train_set:
        notes.insert(0, "--train-audio none: only the test sets are treated, stages 2, 4 and 5 are left out")
    elif kept:
        notes.insert(0, features.consequence(audio))
    trained = [system.name, *(f"{system.name}_{choice.name}" for choice in choices)]
    return Plan(
        options,
        _stages(options, audio, kept, choices),
        notes,
        audio,
        kept,
        system,
        choices,
        systems.evaluated(options, trained, folders(options)["expdir"]),
        test_sets.of_validation(options.validation, audio.lists),
        machine.decide(options, lambda: setting(system, "training", "batch_size")),
        setting(system, "frontend", "bands") if options.feats_type == "fbank" and not kept else None,
        systems.initial_weights(options.init_from, places),
    )


def _stages(options: Options, audio: Corpora, kept: bool, choices: list[Choice]) -> set[int]:
    """Those of the range that have something to do."""
    stages = set(range(options.stage, options.stop_stage + 1))
    if not audio.train_set:
        stages -= {2, 4, 5}
    if kept:
        stages -= {2}
    return stages if choices else stages - {5}


def _choices(options: Options, places: Places, system: System) -> tuple[list[Choice], list[str]]:
    """Those of --positives, else the default ones where the method has positives; and what has to be said."""
    words = options.positives.split()
    if words == ["none"]:
        return [], []
    if words or options.stop_stage < 5:
        return positives.find(words, places), []
    if options.system != _DEFAULT_SYSTEM:
        from sslsv_tk.recipes import configured

        if not configured.has_positives(system):
            return [], [f"{options.system} has no positives: no stage 5"]
    default = [f"ssps{options.suffix}", "same_utterance"] if options.generated else ["ssps_kmeans"]
    return positives.find(default, places), []


def setting(system: System, section: str, name: str) -> int:
    """A whole number of the configuration; the default, which the classes know, where no file says it."""
    value = system.value(section, name)
    if value is None:
        from sslsv_tk.recipes import configured

        value = configured.setting(system, f"{section}.{name}")
    if not isinstance(value, int):
        raise Mistake(f"{section}.{name}: expected a whole number, found {value!r}")
    return value


def _each(name: str, values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for value in values)
