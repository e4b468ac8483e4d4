"""A training run on disk: set up from its options, trained or gone on with, averaged."""

import contextlib
import dataclasses
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sslsv_tk import artifacts, logs, provenance
from sslsv_tk import config as configuration
from sslsv_tk.distributed.collectives import processes, rank
from sslsv_tk.distributed.processes import from_first, is_first, on_every
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.kaldi import directories
from sslsv_tk.loading.batches import EpochBatches
from sslsv_tk.monitoring.diagnostics import PositiveDiagnostics
from sslsv_tk.monitoring.validation import Validation, ValidationList
from sslsv_tk.nn.batch_norm import synchronise
from sslsv_tk.runs import training_data
from sslsv_tk.segments import REFERENCE
from sslsv_tk.systems import assembly, checkpoints
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.training.loop import Trainer
from sslsv_tk.training.parts import Parts
from sslsv_tk.training.step import TrainingStep
from sslsv_tk.training.stopping import StopRequest

# What may differ when a run goes on: it changes no number of the model. A stage 4 may also be lengthened.
_FREE = (
    "epochs",
    "continued_epochs",
    "log_steps",
    "checkpoint_minutes",
    "keep_epochs",
    "keep_every",
    "average_epochs",
    "validation_epochs",
    "loader_workers",
)
_log = logging.getLogger("train")


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes."""

    train_set: Path  # packed audio, dump/raw/SET, or features, dump/fbank/SET, with the copies beside it
    augmentation: Path  # folder with musan_* and rirs, dump/raw; features are augmented already
    system: Path  # exp/SYSTEM
    continue_from: Path | None = None  # exp/BASE: stage 5
    validation_data: Path | None = None  # what is scored while training goes on, packed or computed as train_set is,
    validation_trials: Path | None = None  # and the trial list; both or neither


def train(
    config: SystemConfig,
    options: RunOptions,
    device: torch.device,
    force: bool = False,
    stop: StopRequest | None = None,
) -> None:
    """In each of its processes: train a system to its last epoch, or until `stop` is made (then raises Stopped)."""
    config = on_every(lambda: _with_classes(assembly.resolve(config), options))
    last_epoch = from_first(lambda: _prepare(config, options, force))
    if last_epoch is None:
        return
    with logs.also_to(options.system / "train.log") if is_first() else contextlib.nullcontext():
        parts = on_every(lambda: make_parts(config, options, device))
        first = None if options.continue_from is None else last_state(config, options.continue_from)
        parts.stop = stop or parts.stop
        Trainer(config, parts, options.system, device).run(first, last_epoch)


def _prepare(config: SystemConfig, options: RunOptions, force: bool) -> int | None:
    """Make the folder of a run; the epoch up to which it is to be trained, None where it is complete."""
    if force:
        remove(options.system)
    for folder in (options.system, options.system / "checkpoints"):
        directories.remove_temporaries(folder)
    first = None if options.continue_from is None else last_state(config, options.continue_from)
    _claim(config, options, first)
    last_epoch = config.training.epochs if first is None else first["epoch"] + config.training.continued_epochs
    if _complete(config, options.system, last_epoch):
        _log.info("%s: complete, %d epochs", options.system, last_epoch)
        return None
    return last_epoch


def _with_classes(config: SystemConfig, options: RunOptions) -> SystemConfig:
    """The configuration with the number of speakers where the method is trained on them."""
    if not assembly.method_class(config).needs_labels:
        return config
    labels_N = training_data.open_checked(config.frontend, options.train_set).read_codes("utt2spk")
    if labels_N is None:
        raise ValueError(
            f"The method {config.method.name} is trained on true speakers, and {options.train_set} has none: its "
            "utt2spk is missing or maps every utterance to itself. Prepare it with labels, or choose another method."
        )
    return dataclasses.replace(config, classes=int(labels_N.max()) + 1)


def remove(system: Path) -> None:
    """Take away what an earlier run left."""
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(system / name, ignore_errors=True)
    for name in ("made.json", "metrics.jsonl", "config.yaml", "train.log"):
        (system / name).unlink(missing_ok=True)


def _described(config: SystemConfig) -> dict[str, Any]:
    """What makes a run what it is, as `section.name` and value."""
    described = configuration.to_dict(config)
    described["training"]["span_epochs"] = _span(config)
    if described.pop("classes") is not None:
        described["method"]["classes"] = config.classes
    for name in _FREE:
        del described["training"][name]
    return {f"{section}.{name}": value for section, table in described.items() for name, value in table.items()}


def _claim(config: SystemConfig, options: RunOptions, first: dict[str, Any] | None) -> None:
    """Write config.yaml, the environment and the record of the inputs, or compare with those that are there."""
    folders = training_data.folders(config, options.train_set, options.augmentation)
    lists = [training_data.list_of(config, folder) for folder in folders]
    inputs = {f"{path.name} of {path.parent}": artifacts.fingerprint(path) for path in lists if path.exists()}
    if options.continue_from is not None and first is not None:
        inputs[f"training of {options.continue_from}"] = artifacts.digest(artifacts.read_record(options.continue_from))
        inputs[f"epochs of {options.continue_from}"] = str(first["epoch"])
    described = _described(config)
    if not checkpoints.CheckpointFolder(options.system).has_begun():  # what was asked for before came to nothing
        (options.system / artifacts.RECORD).unlink(missing_ok=True)
    made = artifacts.read_record(options.system)
    if made is not None:  # a setting that came since has its default, which is what was done before
        unset = _described(assembly.with_defaults(config))
        new = [name for name in described.keys() - made["options"].keys() if described[name] == unset.get(name)]
        described = {name: value for name, value in described.items() if name not in new}
    if not artifacts.made_as(options.system, described, inputs):
        artifacts.record(options.system, described, inputs)
    configuration.dump(config, options.system / "config.yaml")
    facts = {**provenance.versions(), "commit": provenance.commit(), "hardware": provenance.hardware()}
    facts["processes"] = str(processes())
    with artifacts.replacing(options.system / "environment.txt") as stream:
        stream.writelines(f"{name}: {value}\n" for name, value in facts.items())


def _span(config: SystemConfig) -> int | None:
    """The span where a schedule ends with it, so that another length makes another system; else None."""
    follows = config.optimisation.schedule == "cosine" or assembly.method_class(config).follows_span
    return config.training.span if follows else None


def last_state(config: SystemConfig, base: Path) -> dict[str, Any]:
    """The state that stage 5 begins with: stage 4's last checkpoint, which must be complete and of the same model."""
    state = checkpoints.CheckpointFolder(base).training_state()
    if state is None:
        raise ValueError(f"{base}: no checkpoint to go on from. Run stage 4 first.")
    made = assembly.resolve(configuration.load(SystemConfig, base / "config.yaml"))
    _check_goes_on(made, config, base)
    if state["epoch"] < made.training.epochs:
        raise ValueError(
            f"{base}: stage 4 is at epoch {state['epoch']} of {made.training.epochs}. Let it end before stage 5."
        )
    return state


def _check_goes_on(made: SystemConfig, config: SystemConfig, base: Path) -> None:
    """Refuse what stage 5 takes over from stage 4 and its own configuration says otherwise."""
    there, wanted = _taken_over(made), _taken_over(config)
    if None in (_span(made), _span(config)):  # one schedule has no end to compare
        del there["training"], wanted["training"]
    for section, values in wanted.items():
        before = there[section]
        names = [name for name in sorted(values.keys() | before.keys()) if values.get(name) != before.get(name)]
        if names:
            found = ", ".join(f"{section}.{name} {before.get(name)} instead of {values.get(name)}" for name in names)
            raise ValueError(
                f"{base}/config.yaml has another {section}: {found}. Stage 5 goes on with stage 4's: give it the same."
            )


def _taken_over(config: SystemConfig) -> dict[str, dict[str, Any]]:
    """What stage 5 goes on with: the model, its input, the optimiser's own settings, the end of schedules."""
    plain = configuration.to_dict(config)
    for name in assembly.method_class(config).needs_clusters:  # of which stage 4 has none
        plain["method"].pop(name, None)
    return {
        **{section: plain[section] for section in ("encoder", "method", "frontend")},
        "optimisation": {
            name: plain["optimisation"][name] for name in ("optimiser", "momentum", "trust", "weight_decay")
        },
        "training": {"span_epochs": _span(config)},
        "speakers": {"classes": config.classes},
    }


def _complete(config: SystemConfig, system: Path, last_epoch: int) -> bool:
    state = checkpoints.CheckpointFolder(system).training_state()
    return state is not None and state["epoch"] >= last_epoch


def make_parts(config: SystemConfig, options: RunOptions, device: torch.device) -> Parts:
    """Data, front end, model and sampler of a run."""
    training = config.training
    archive = training_data.open_checked(config.frontend, options.train_set)
    method = assembly.build_method(config).to(device)
    if processes() > 1 and method.synchronised_batch_norm:
        synchronise(method)
    sampler = assembly.make_sampler(config, archive, method, device)
    cut = training_data.Cut(config, method, (REFERENCE,) * sampler.reference_segments, device)
    segments, inputs = training_data.make(cut, archive, options.augmentation)
    speakers_N = archive.read_codes("utt2spk")
    diagnostics = PositiveDiagnostics(device, speakers_N, archive.read_codes("utt2rec"))
    if training.compile:
        for part in method.modules():  # a teacher's encoder as well
            if isinstance(part, Encoder):
                part.compile()
    return Parts(
        TrainingStep(method, sampler, training.precision),
        EpochBatches(len(archive), training.batch_size, training.seed, rank(), processes()),
        segments,
        inputs,
        diagnostics,
        validation=_make_validation(config, options),
        labels_N=torch.from_numpy(speakers_N).long().to(device) if method.needs_labels else None,
        continued=options.continue_from is not None,
    )


def _make_validation(config: SystemConfig, options: RunOptions) -> Validation | None:
    if options.validation_data is None or options.validation_trials is None:
        return None
    listed = ValidationList(options.validation_data, options.validation_trials, config.training.validation_epochs)
    archive = training_data.open_checked(config.frontend, listed.data)
    return Validation(listed, archive, FrontEnd(config.frontend, assembly.encoder_class(config).input), options.system)


def write_average(system: Path, epochs: int | None = None) -> None:
    """averaged.pt: the mean of the last `epochs` epoch files (fewer: all of them), unless it is there already.

    None means the training.average_epochs of the system's configuration.
    """
    if not (system / "config.yaml").is_file():
        raise ValueError(f"{system}: no config.yaml, so not a trained system. Run stage 4 (or 5) first.")
    if epochs is None:
        epochs = configuration.load(SystemConfig, system / "config.yaml").training.average_epochs
    folder = checkpoints.CheckpointFolder(system)
    directories.remove_temporaries(folder.folder, "averaged.pt")
    chosen = [epoch for epoch in folder.epochs() if epoch > 0][-epochs:]
    if not chosen:
        raise ValueError(f"{system}: no epoch file to average. Let at least one epoch of training end.")
    path = folder.folder / "averaged.pt"
    inputs = artifacts.fingerprint(*(folder.path_of(str(epoch)) for epoch in chosen))
    if _average_made_of(path) == inputs:
        _log.info("%s: complete", path)
        return
    models = [checkpoints.read(folder.path_of(str(epoch)))["model"] for epoch in chosen]
    checkpoints.write(path, {"epochs": chosen, "inputs": inputs, "model": checkpoints.average(models)})
    _log.info("%s: mean of epochs %s", path, ", ".join(map(str, chosen)))


def _average_made_of(path: Path) -> str | None:
    """The fingerprint of the epoch files that an average was made of; None where there is no whole average."""
    try:
        return checkpoints.read(path).get("inputs")
    except (FileNotFoundError, checkpoints.DamagedCheckpoint):
        return None
