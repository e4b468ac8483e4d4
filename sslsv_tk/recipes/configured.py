"""What a plan asks the classes of methods, encoders and samplers: the one file here that loads torch."""

import contextlib
import dataclasses
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sslsv_tk import config, records
from sslsv_tk.arks.feature_archive import Archive
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.loading.batches import EpochBatches
from sslsv_tk.methods.base import Method
from sslsv_tk.recipes.positives import Choice
from sslsv_tk.recipes.systems import System
from sslsv_tk.systems import assembly, initial_weights
from sslsv_tk.systems.configuration import SystemConfig


def setting(system: System, name: str) -> Any:
    """SECTION.NAME of the system's configuration, its default where no file says anything."""
    return operator.attrgetter(name)(_load(system))


def has_positives(system: System) -> bool:
    """Does the method have positives, which stage 5 could choose?"""
    return assembly.method_class(_load(system)).slots > 0


def check(system: System, choices: list[Choice]) -> None:
    """Can stage 4, and stage 5 with each choice, be built? A ValueError names the file or the setting."""
    _build(_load(system))
    for choice in choices:
        with _naming(choice):
            assembly.refuse_ended_schedules(assembly.resolve(_load(system, choice)))


def check_initial_weights(system: System, checkpoint: Path) -> None:
    """Does anything in the checkpoint fit the encoder?"""
    loaded = _load(system)
    initial_weights.compare(_build(loaded), loaded, checkpoint)


def check_with(folder: Path, system: System, choices: list[Choice]) -> None:
    """Can they be trained on this training set, data/SET of stage 1 or dump/raw/SET of stage 3?"""
    training_set = TrainingTables(folder)
    loaded = _load(system)
    EpochBatches(len(training_set), loaded.training.batch_size, loaded.training.seed)
    if assembly.method_class(loaded).needs_labels and training_set.read_codes("utt2spk") is None:
        raise ValueError(
            f"{folder} has no true speakers: its utt2spk is missing or maps every utterance to itself, and the method "
            f"{loaded.method.name} is trained on them. Prepare it with labels, or choose another method."
        )
    method = _build(loaded)
    for choice in choices:
        with _naming(choice):
            assembly.make_sampler(_load(system, choice), cast(Archive, training_set), method, torch.device("cpu"))


class TrainingTables:
    """Length and codes of a training set, as an archive of packed audio has them, from its tables alone."""

    def __init__(self, folder: Path) -> None:
        records.require_tables(folder)
        self._tables = DataDirectory.load(folder)

    def __len__(self) -> int:
        return len(self._tables.keys)

    def read_codes(self, name: str) -> NDArray[np.int32] | None:
        """One code per row of utt2spk or utt2rec; None where there is none, or every utterance is its own speaker."""
        values = self._tables.speakers if name == "utt2spk" else self._tables.recordings
        if values is None or (name == "utt2spk" and (values == self._tables.keys).all()):
            return None
        return np.unique(values, return_inverse=True)[1].astype(np.int32)


def _load(system: System, choice: Choice | None = None) -> SystemConfig:
    if choice is None:
        return config.load(SystemConfig, *system.files, overrides=system.settings)
    return config.load(SystemConfig, *system.files, choice.file, overrides=[*choice.settings, *system.settings])


def _build(system: SystemConfig) -> Method:
    """Encoder and method, without memory for their weights where all of it can do without."""
    resolved = assembly.resolve(system)
    if assembly.method_class(resolved).needs_labels:
        resolved = dataclasses.replace(resolved, classes=resolved.classes or 2)
    try:
        with torch.device("meta"):
            return assembly.build_method(resolved)
    except RuntimeError:  # a part that looks at its own weights
        return assembly.build_method(resolved)


@contextlib.contextmanager
def _naming(choice: Choice) -> Iterator[None]:
    """A mistake in what stage 5 goes on with names it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"--positives {choice.name}: {error}") from None
