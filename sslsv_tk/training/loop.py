"""The training loop: epochs, steps, checkpoints, and exact resume at any step."""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sslsv_tk import seeds
from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.processes import EndedElsewhere, any_of, from_first, is_first, refuse_different
from sslsv_tk.distributed.shards import reshard
from sslsv_tk.loading.datasets import loader
from sslsv_tk.monitoring.health import Health
from sslsv_tk.monitoring.records import NoRecords, RunningMeans, RunRecords, line
from sslsv_tk.nn.batch_norm import average_statistics
from sslsv_tk.positives.base import Pass
from sslsv_tk.schedules import Progress
from sslsv_tk.systems.checkpoints import CheckpointFolder
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.training.optimisation import clip_gradients, learning_rate, make_optimiser, set_learning_rate
from sslsv_tk.training.parts import Parts
from sslsv_tk.training.passes import show_everyone
from sslsv_tk.training.step import over_processes
from sslsv_tk.training.stopping import Stopped

_log = logging.getLogger("train")


class NonFiniteLoss(ValueError):
    """The loss became NaN or infinite; the last checkpoint is from before."""


@dataclass
class Place:
    """How far a run is."""

    epoch: int = 0  # whole epochs done
    step_in_epoch: int = 0
    step: int = 0  # over both stages
    passed: int = 0  # utterances shown in the pass before this epoch


class Trainer:
    """Trains one system into its folder; made again after a crash, it goes on as if it had never stopped."""

    def __init__(self, config: SystemConfig, parts: Parts, system: str | Path, device: torch.device) -> None:
        self.config, self.parts, self.system, self.device = config, parts, Path(system), device
        self.method, self.sampler = parts.step.method, parts.step.sampler
        self.step = over_processes(parts.step, device)
        self.optimiser = make_optimiser(self.method, config.optimisation)
        self.checkpoints = CheckpointFolder(system, config.training.keep_epochs, config.training.keep_every)
        self.place = Place()
        self.window, self.whole_epoch = RunningMeans(device), RunningMeans(device)
        self.health = Health(self.method.collapse_remedies)
        self._waited = self._worked = 0.0
        self._saved_at = self._epoch_started = time.monotonic()

    def run(self, first: dict[str, Any] | None, last_epoch: int) -> None:
        """Train up to `last_epoch` epochs over both stages.

        `first`: the state that a run without a checkpoint of its own begins with (stage 5: stage 4's last one).
        """
        kept_bytes = self._restore(first)
        self.records = RunRecords(self.system, kept_bytes, self.place.step) if is_first() else NoRecords()
        try:
            while self.place.epoch < last_epoch:
                self._start_epoch()
                self._train_epoch()
                self._end_epoch(last_epoch)
        finally:
            self.records.close()

    # -- state ---------------------------------------------------------------------------------------------------

    def _restore(self, first: dict[str, Any] | None) -> int:
        """Take over the newest checkpoint, or `first`; returns how much of metrics.jsonl belongs to it."""
        newest = from_first(self.checkpoints.newest)
        if newest is None:
            if first is None:
                self._save_epoch()
            else:
                self._load_model(first)
                self.place = Place(epoch=first["epoch"], step=first["step"])
            return 0
        state, sampler_states = self.checkpoints.read_whole(newest)
        refuse_different((state["step"], state["passed"], newest))
        self._load_model(state)
        shards = self.sampler.shard_names
        self.sampler.load_state_dict(reshard(sampler_states, shards, collectives.rank(), collectives.processes()))
        self.place = Place(**{name: state.get(name, 0) for name in asdict(self.place)})
        self.window.load_state_dict(state["window"])
        self.whole_epoch.load_state_dict(state["whole_epoch"])
        self.parts.diagnostics.load_state_dict(state["diagnostics"])
        self.health.load_state_dict(state.get("health", {}))
        _log.info(
            "going on from step %d (epoch %d, step %d in it)",
            self.place.step,
            self.place.epoch + 1,
            self.place.step_in_epoch,
        )
        return int(state["metrics_bytes"])

    def _load_model(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint's weights and the optimiser's averages."""
        try:
            self.method.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"The checkpoint of step {state['step']} that {self.system} goes on from does not fit ({reason}). "
                "It is of another model or an earlier version: train its system anew."
            ) from None

    def _save(self) -> None:
        self._refuse_non_finite()
        state = {
            **asdict(self.place),
            "model": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "window": self.window.state_dict(),
            "whole_epoch": self.whole_epoch.state_dict(),
            "diagnostics": self.parts.diagnostics.state_dict(),
            "health": self.health.state_dict(),
            "metrics_bytes": self.records.bytes_written(),
        }
        self.checkpoints.save(state, self.sampler.state_dict())
        self._saved_at = time.monotonic()

    def _save_epoch(self) -> None:
        """The file of the epochs done; of one process, since the model is the same in all."""
        from_first(lambda: self.checkpoints.save_epoch(self.place.epoch, self.method.weights()))

    def _save_when_due(self) -> None:
        """A checkpoint from time to time, and where one of the processes was asked to stop, the last one."""
        is_late = time.monotonic() - self._saved_at >= 60 * self.config.training.checkpoint_minutes
        stops, is_due = any_of(self.parts.stop.is_made, is_late)
        if stops or is_due:
            self._save()
        if stops:
            self._end_by_request()

    def _end_if_asked(self) -> None:
        """After a checkpoint."""
        if any_of(self.parts.stop.is_made)[0]:
            self._end_by_request()

    def _end_by_request(self) -> None:
        _log.info("asked to stop: the state of step %d is saved, and the next run goes on from there", self.place.step)
        raise Stopped

    def _refuse_non_finite(self) -> None:
        loss = self.whole_epoch.means().get("loss", 0.0)
        if math.isfinite(loss) and any_of(not _all_finite(self.method))[0]:
            loss = math.nan  # the next one would be: a gradient was not finite
        if not math.isfinite(loss):
            if not is_first():
                raise EndedElsewhere
            raise NonFiniteLoss(
                f"The loss is {loss} in epoch {self.place.epoch + 1}, at step {self.place.step} or up to "
                f"{self.config.training.log_steps} steps before. Nothing was saved since the last checkpoint; lower "
                "optimisation.learning_rate, use precision fp32, or look for broken audio, then run again."
            )

    # -- an epoch ------------------------------------------------------------------------------------------------

    def _start_epoch(self) -> None:
        """Show the sampler all utterances where it asks for that, and let it prepare its choices."""
        self._epoch_started = time.monotonic()
        if self.place.step_in_epoch:
            return
        wanted = self.sampler.pass_before(self.place.epoch)
        if wanted != "nothing":
            self._pass(wanted)
        numbers = self.sampler.start_epoch(self.place.epoch)
        everyone = torch.arange(self.parts.batches.utterances, device=self.device)
        numbers.update(self.parts.diagnostics.clusters(self.sampler.cluster_of(everyone)))
        if numbers:
            numbers["seconds"] = time.monotonic() - self._epoch_started
            self._record("positives", numbers)

    def _pass(self, wanted: Pass) -> None:
        """Show the sampler every utterance once; resumed at any batch."""
        place, total = self.place, self.parts.batches.utterances
        _log.info("%s of one encoder: %d of %d utterances to go", wanted, total - place.passed, total)
        for utterance_B, _ in show_everyone(self.parts, wanted, place.epoch, self._loader, place.passed):
            place.passed += len(utterance_B)
            if place.passed < total:
                self._save_when_due()
        self.sampler.end_pass(place.epoch)  # before the only checkpoint of a whole pass: one state to one file name
        self._save()
        self._end_if_asked()

    def _train_epoch(self) -> None:
        place, batches, sampler = self.place, self.parts.batches, self.sampler
        requests = list(batches.epoch(place.epoch, sampler.partners(), place.step_in_epoch, sampler.reference_in_steps))
        mark = time.monotonic()
        for batch in self._loader(requests):
            got = time.monotonic()
            self._train_step(batch)
            place.step, place.step_in_epoch = place.step + 1, place.step_in_epoch + 1
            if place.step % self.config.training.log_steps == 0:
                self._log_window()
            self._waited, self._worked = self._waited + got - mark, self._worked + time.monotonic() - got
            if place.step_in_epoch < batches.steps:  # else _end_epoch saves
                self._save_when_due()
            mark = time.monotonic()

    def _train_step(self, batch: Any) -> None:
        method, progress = self.method, self._progress()
        set_learning_rate(self.optimiser, learning_rate(self.config.optimisation, progress, self.parts.continued))
        torch.manual_seed(self._seed_of_step())
        method.before_step(progress)
        views, utterance_B, references = self.parts.inputs.prepare(batch)
        reference_RBD = self.parts.step.embed_references(references)
        labels_B = None if self.parts.labels_N is None else self.parts.labels_N[utterance_B]
        loss, chosen_B = self.step(views, utterance_B, reference_RBD, labels_B)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        method.after_backward(progress)
        if self.config.optimisation.gradient_clip is not None:
            clip_gradients(method.parameters(), self.config.optimisation.gradient_clip)
        self.optimiser.step()
        method.after_step(progress)
        if not method.synchronised_batch_norm:
            average_statistics(method)
        numbers = {"loss": loss, **method.measures(), **self.sampler.measures()}
        self.health.begin(numbers)
        self.window.add(numbers)
        self.whole_epoch.add(numbers)
        self.parts.diagnostics.count(utterance_B, chosen_B)

    def _seed_of_step(self) -> int:
        """Of what torch draws itself in this step, different in every process."""
        own = [rank] if (rank := collectives.rank()) else []
        return int(seeds.generator(self.config.training.seed, "step", self.place.step, *own).integers(2**62))

    def _progress(self) -> Progress:
        place = self.place
        return Progress(place.epoch + place.step_in_epoch / self.parts.batches.steps, self.config.training.span)

    def _end_epoch(self, last_epoch: int) -> None:
        place = self.place
        self._refuse_non_finite()
        place.epoch, place.step_in_epoch, place.passed = place.epoch + 1, 0, 0
        numbers = {
            **self.whole_epoch.means(),
            **self.parts.diagnostics.summary(),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds": time.monotonic() - self._epoch_started,
        }
        self._warn_of_collapse(numbers, whole_epoch=True)
        numbers["collapsed"] = float(self.health.warned_epoch == place.epoch)
        self._record("epoch", numbers)
        self.whole_epoch.clear()
        self._save_epoch()
        validation = self.parts.validation
        if validation is not None and validation.is_due(place.epoch, last_epoch):
            self._record("validation", validation.score(self.method, place.epoch, self.device))
        self._save()
        if place.epoch < last_epoch:
            self._end_if_asked()

    # -- saying so -----------------------------------------------------------------------------------------------

    def _loader(self, requests: list[Any]) -> Any:
        return loader(self.parts.segments, requests, self.config.training.loader_workers, self.device.type == "cuda")

    def _log_window(self) -> None:
        self._refuse_non_finite()
        count = max(self.window.count, 1)
        numbers = {**self.window.means(), "learning_rate": self.optimiser.param_groups[0]["lr"]}
        numbers.update(data_seconds=self._waited / count, device_seconds=self._worked / count)
        self._record("step", numbers)
        self._warn_of_collapse(numbers)
        if self._waited > self._worked:
            _log.info("reading audio is slower than training: raise training.loader_workers or use a faster disk")
        self.window.clear()
        self._waited = self._worked = 0.0

    def _warn_of_collapse(self, numbers: dict[str, float], whole_epoch: bool = False) -> None:
        epoch = self.place.epoch if whole_epoch else self.place.epoch + 1
        warning = self.health.look(numbers, epoch, self.place.step, whole_epoch)
        if warning is not None:
            _log.warning("%s", warning)

    def _record(self, kind: str, numbers: dict[str, float]) -> None:
        place = self.place
        epoch = place.epoch if kind in ("epoch", "validation") else place.epoch + 1
        _log.info("%s", line({"kind": kind, "epoch": epoch, "step": place.step, **numbers}))
        self.records.write({"kind": kind, "epoch": epoch, **numbers}, place.step)


def _all_finite(module: torch.nn.Module) -> bool:
    """Are all weights and statistics numbers?"""
    tensors = [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())
