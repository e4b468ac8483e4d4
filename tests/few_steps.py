"""The steps of one epoch of the small system, of which all but the first run within a context of the test."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from small_settings import method_words

from sslsv_tk import config
from sslsv_tk.runs import training_run
from sslsv_tk.runs.training_run import RunOptions
from sslsv_tk.systems import assembly
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.systems.on_disk import System
from sslsv_tk.training.loop import Trainer


@dataclass(frozen=True)
class Few:
    """Which system: the inputs of the fixture of that name, where it goes, its method, and a file of positives."""

    inputs: Path
    folder: Path
    method: str
    positives: str | None


def run(few: Few, device: torch.device, context: AbstractContextManager[Any]) -> None:
    """The first step is not within the context, since optimisers make their state in it."""
    above = [] if few.positives is None else [few.inputs / f"{few.positives}.yaml"]
    loaded = config.load(SystemConfig, few.inputs / "system.yaml", *above, overrides=method_words(few.method))
    options = RunOptions(few.inputs / "train", few.inputs, System(few.folder))
    resolved = training_run._with_classes(assembly.resolve(loaded), options)
    trainer = Trainer(resolved, training_run.make_parts(resolved, options, device), options.system, device)
    trainer._start_epoch()
    parts, sampler = trainer.parts, trainer.sampler
    requests = parts.batches.epoch(0, sampler.partners(), 0, sampler.reference_in_steps)
    first, *others = [parts.segments[request].to(device) for request in requests]
    trainer._train_step(first)
    assert others, "one batch alone"
    with context:
        for batch in others:
            trainer._train_step(batch)
