"""A training run on disk: set up from its options, trained or gone on with."""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sslsv_tk import digests, logs, records
from sslsv_tk.arithmetic import set_fp32_products
from sslsv_tk.arks.identity import identity
from sslsv_tk.distributed.collectives import processes, rank
from sslsv_tk.distributed.processes import from_first, is_first, on_every
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.kaldi import directories
from sslsv_tk.loading.batches import EpochBatches
from sslsv_tk.monitoring.diagnostics import PositiveDiagnostics
from sslsv_tk.monitoring.validation import Validation, ValidationList
from sslsv_tk.nn.batch_norm import synchronise
from sslsv_tk.runs import claim, training_data
from sslsv_tk.segments import REFERENCE
from sslsv_tk.systems import assembly, initial_weights
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.systems.on_disk import System
from sslsv_tk.training import computing
from sslsv_tk.training.loop import Trainer
from sslsv_tk.training.parts import Parts
from sslsv_tk.training.step import TrainingStep
from sslsv_tk.training.stopping import StopRequest

_log = logging.getLogger("train")


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes."""

    train_set: Path  # packed audio, dump/raw/SET, or features, dump/fbank/SET, with the copies beside it
    augmentation: Path  # folder with musan_* and rirs, dump/raw; features are augmented already
    system: System  # exp/SYSTEM
    continue_from: System | None = None  # exp/BASE: stage 5
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
    config = from_first(lambda: _decided(config, options, device, force))
    last_epoch = from_first(lambda: _prepare(config, options, force))
    if last_epoch is None:
        return
    with logs.also_to(options.system.folder / "train.log") if is_first() else contextlib.nullcontext():
        parts = on_every(lambda: make_parts(config, options, device))
        stage_4 = None if options.continue_from is None else _last_state(config, options.continue_from)
        parts.stop = stop or parts.stop
        Trainer(config, parts, options.system, device).run(stage_4, last_epoch)
        from_first(options.system.forget_replaced)


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


def _decided(config: SystemConfig, options: RunOptions, device: torch.device, force: bool) -> SystemConfig:
    """The configuration with nothing left at `auto`: as the run or its stage 4 began, else what suits the device."""
    system, base = options.system, options.continue_from
    system.undo_setting_aside()
    goes_on = system.checkpoints.has_begun() and (not force or system.replaced.is_dir())
    begun = records.read(system.folder) if goes_on else None
    if begun is None and base is not None:
        begun = records.read(base.folder)
    kept = {} if begun is None else begun.options

    def trial(precision: str) -> str:
        archive = training_data.open_checked(config.frontend, options.train_set)
        steps = len(archive) // config.training.batch_size * config.training.epochs
        method = assembly.build_method(config).to(device)
        inputs = training_data.random_inputs(config, method, device)
        return computing.try_compiling(method.encoder, computing.Work(inputs, steps), precision)

    training = computing.decide(config.training, kept, device, trial)
    return dataclasses.replace(config, training=training)


def _prepare(config: SystemConfig, options: RunOptions, force: bool) -> int | None:
    """Make the folder of a run; the epoch up to which it is to be trained, None where it is complete."""
    system, base = options.system, options.continue_from
    # Stage 4 is looked at before the folder is claimed: what it refuses leaves no trace.
    stage_4 = None if base is None else _last_state(config, base)
    if base is not None:
        claim.say_what_is_own(config, base)
    inputs = _inputs(config, options, stage_4)
    if force and not (system.replaced.is_dir() and claim.is_of(system, config, inputs)):
        system.set_training_aside()
    for folder in (system.folder, system.checkpoints.folder):
        directories.remove_temporaries(folder)
    last_epoch = config.training.epochs if stage_4 is None else stage_4["epoch"] + config.training.continued_epochs
    state = system.checkpoints.training_state()
    if state is not None:
        _refuse_fewer_epochs(system, state, last_epoch)
    claim.claim(system, config, inputs)
    if state is not None and state["epoch"] == last_epoch:
        _log.info("%s: complete, %d epochs", system.folder, last_epoch)
        system.forget_replaced()
        return None
    if system.replaced.is_dir():
        _log.info("%s is kept until the new training is complete", system.replaced)
    return last_epoch


def _refuse_fewer_epochs(system: System, state: dict[str, Any], last_epoch: int) -> None:
    """ValueError where training is past its last epoch, or within one after it: its weights would be of neither."""
    begun = 1 if state["step_in_epoch"] or state["passed"] else 0
    if state["epoch"] + begun > last_epoch:
        where = f"in epoch {state['epoch'] + 1}" if begun else f"at the end of epoch {state['epoch']}"
        raise ValueError(
            f"{system.folder} is {where}, and is asked to end with epoch {last_epoch}. Set training.epochs (in stage 5"
            f" training.continued_epochs) so that it ends with epoch {state['epoch'] + begun} or later, use another"
            " folder (run.sh: --tag), or --force true to train anew."
        )


def _inputs(config: SystemConfig, options: RunOptions, stage_4: dict[str, Any] | None) -> dict[str, str]:
    """Digests of all that a run reads, by roles: where it lies and how the folders are called does not count."""
    train_set, *others = training_data.folders(config, options.train_set, options.augmentation)
    if not train_set.is_dir():
        raise ValueError(f"{train_set} is missing. Run stage 3 first, or give the --dumpdir that it wrote.")
    roles = {"training set": train_set}
    roles |= {folder.name.removeprefix(f"{train_set.name}_"): folder for folder in others}
    existing = {role: folder for role, folder in roles.items() if folder.is_dir()}
    inputs = {
        f"{what} of {role}": digest for role, folder in existing.items() for what, digest in identity(folder).items()
    }
    if config.training.init_from is not None:
        weights = initial_weights.weights_of(Path(config.training.init_from))
        inputs["weights that training begins with (--init-from)"] = _digest_of_weights(weights)
    if options.continue_from is not None and stage_4 is not None:
        inputs["record of stage 4"] = options.continue_from.record.identity
        inputs["epochs of stage 4"] = str(stage_4["epoch"])
        inputs["weights of stage 4"] = _digest_of_weights(stage_4["model"])
    return inputs


def _digest_of_weights(model: Mapping[str, torch.Tensor]) -> str:
    return digests.of_columns(model[name].cpu().reshape(-1).numpy() for name in sorted(model))


def _last_state(config: SystemConfig, base: System) -> dict[str, Any]:
    """The state that stage 5 begins with: stage 4's last checkpoint, which must be complete and of the same model."""
    state = base.checkpoints.training_state()
    if state is None:
        raise ValueError(f"{base.folder}: no checkpoint to go on from. Run stage 4 first.")
    claim.refuse_another_model(base, config)
    assembly.refuse_ended_schedules(config)
    epochs = base.config().training.epochs
    if state["epoch"] < epochs:
        raise ValueError(f"{base.folder}: stage 4 is at epoch {state['epoch']} of {epochs}. Let it end before stage 5.")
    _refuse_fewer_epochs(base, state, epochs)
    return state


def make_parts(config: SystemConfig, options: RunOptions, device: torch.device) -> Parts:
    """Data, front end, model and sampler of a run."""
    training = config.training
    archive = training_data.open_checked(config.frontend, options.train_set, training.compare_reads)
    method = assembly.build_method(config)
    if training.init_from is not None and not options.system.checkpoints.has_begun():
        initial_weights.begin_with(method, config, Path(training.init_from))
    method = method.to(device)
    if processes() > 1 and method.synchronised_batch_norm:
        synchronise(method)
    sampler = assembly.make_sampler(config, archive, method, device)
    cut = training_data.Cut(config, method, (REFERENCE,) * sampler.reference_segments, device)
    segments, inputs = training_data.make(cut, archive, options.augmentation)
    speakers_N = archive.read_codes("utt2spk")
    diagnostics = PositiveDiagnostics(device, speakers_N, archive.read_codes("utt2rec"))
    # What stays in single precision: rounded in a run of bf16, with all its bits in one of fp32.
    set_fp32_products("tf32" if training.precision == "bf16" else "ieee", device)
    if training.compile == "true":
        computing.refuse_no_compiler(device)
    computing.prepare_encoders(method, training, training.batch_size // processes())
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
    archive = training_data.open_checked(config.frontend, listed.data, compares=True)
    front_end = FrontEnd(config.frontend, assembly.encoder_class(config).input)
    return Validation(listed, archive, front_end, options.system)
