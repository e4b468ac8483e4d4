"""The training loop: epochs and steps, each with the passes, lines and checkpoints that belong to it."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from sslsv_tk import seeds
from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.processes import any_of
from sslsv_tk.loading.ahead import on_device
from sslsv_tk.loading.datasets import Batch
from sslsv_tk.loading.loader import Loader
from sslsv_tk.monitoring.step_times import Bottleneck, remedies
from sslsv_tk.positives.base import Pass
from sslsv_tk.schedules import Progress
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.systems.on_disk import System
from sslsv_tk.training.epoch_log import EpochLog
from sslsv_tk.training.optimisation import learning_rate, make_optimiser, set_learning_rate, update
from sslsv_tk.training.parts import Parts
from sslsv_tk.training.passes import show_everyone
from sslsv_tk.training.progress import RunProgress
from sslsv_tk.training.run_state import RunState
from sslsv_tk.training.step import over_processes
from sslsv_tk.training.stopping import Stopped

_log = logging.getLogger("train")
_ASKED = "asked to stop: the state of step {} is saved, and the next run goes on from there"


class Trainer:
    """Trains one system into its folder; made again after a crash, it goes on as if it had never stopped."""

    def __init__(self, config: SystemConfig, parts: Parts, system: System, device: torch.device) -> None:
        self.config, self.parts, self.system, self.device = config, parts, system, device
        self.method, self.sampler = parts.step.method, parts.step.sampler
        self.step = over_processes(parts.step, device)
        self.optimiser = make_optimiser(self.method, config.optimisation)
        bottleneck = Bottleneck(remedies(config.training, device), int(config.training.compile == "true"))
        self.log = EpochLog(device, parts.diagnostics, self.method.collapse_remedies, bottleneck)
        parts.step.times = self.log.times
        self.state = RunState(parts.step, self.optimiser, self.log, config.training, system)
        self.loader = _make_loader(config, parts, device, lambda: self._meet(has_batch=False))

    def run(self, stage_4: Mapping[str, Any] | None, last_epoch: int) -> None:
        """Train up to `last_epoch` epochs over both stages.

        `stage_4`: its last state, with which stage 5 begins where it has no checkpoint of its own.
        """
        self.state.restore(stage_4)
        self.log.open(self.system.folder, self.state.position.step)
        self.progress = RunProgress(self.state.position.epoch, last_epoch)
        self.progress.say_start(self.config, self.parts, self.device)
        try:
            while self.state.position.epoch < last_epoch:
                self._start_epoch()
                self._train_epoch()
                self._end_epoch(last_epoch)
        finally:
            self.loader.close()
            self.log.close()

    # -- an epoch ------------------------------------------------------------------------------------------------

    def _start_epoch(self) -> None:
        """Show the sampler all utterances where it asks for that, and let it prepare its choices."""
        position = self.state.position
        self.log.start_epoch()
        if position.step_in_epoch:
            return
        wanted = self.sampler.pass_before(position.epoch)
        if wanted != "nothing":
            self._pass(wanted)
        numbers = self.sampler.start_epoch(position.epoch)
        everyone_N = torch.arange(self.parts.batches.utterances, device=self.device)
        self.log.write_positives(numbers, self.sampler.cluster_of(everyone_N), position)

    def _pass(self, wanted: Pass) -> None:
        """Show the sampler every utterance once; resumed at any batch."""
        position, total = self.state.position, self.parts.batches.utterances
        _log.info("%s of one encoder: %d of %d utterances to go", wanted, total - position.passed, total)
        for utterance_B, _ in show_everyone(self.parts, wanted, position.epoch, self._gated, position.passed):
            position.passed += len(utterance_B)
        # Before the only checkpoint of a whole pass: a sampler's file is named by step and utterances passed, and may
        # never be written with two states.
        self.sampler.end_pass(position.epoch)
        self.state.save()
        self._end_if_asked()

    def _train_epoch(self) -> None:
        position, batches, sampler = self.state.position, self.parts.batches, self.sampler
        requests = batches.epoch(position.epoch, sampler.partners(), position.step_in_epoch, sampler.reference_in_steps)
        mark = time.monotonic()
        for batch in self._loader(list(requests)):
            self.log.times.waited(time.monotonic() - mark)
            self._meet()
            self._train_step(batch)
            position.end_step()
            if position.step % self.config.training.log_steps == 0:
                self.state.refuse_non_finite()
                self.log.write_steps(position, _rate(self.optimiser))
            mark = time.monotonic()

    def _end_epoch(self, last_epoch: int) -> None:
        """The line of the epoch, its weights, their EER where that is due, and a checkpoint."""
        position, validation = self.state.position, self.parts.validation
        self.state.refuse_non_finite()
        position.end_epoch()
        loss, eer_percent = self.log.write_epoch(position, _rate(self.optimiser)), None
        self.state.save_epoch()
        if validation is not None and validation.is_due(position.epoch, last_epoch):
            numbers = validation.score(self.method, position.epoch, self.device)
            self.log.write_validation(numbers, position)
            eer_percent = numbers["eer_percent"]
        self.state.save()
        self.progress.say_epoch(position.epoch, loss, eer_percent)
        if position.epoch < last_epoch:
            self._end_if_asked()

    # -- a step --------------------------------------------------------------------------------------------------

    def _train_step(self, batch: Batch) -> None:
        method, progress, times = self.method, self._progress(), self.log.times
        times.start()
        set_learning_rate(self.optimiser, learning_rate(self.config.optimisation, progress, self.parts.continued))
        # Seeded anew in every step, so that a run that was killed draws what it would have drawn.
        torch.manual_seed(_seed_of_step(self.config.training.seed, self.state.position.step))
        method.before_step(progress)
        views, utterance_B, references = self.parts.inputs.prepare(batch)
        times.end("front_end")
        reference_RBD = self.parts.step.embed_references(references)
        times.end("sampler")
        labels_B = None if self.parts.labels_N is None else self.parts.labels_N[utterance_B]
        loss, chosen_B = self.step(views, utterance_B, reference_RBD, labels_B)
        times.end("forward")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        times.end("backward")
        update(self.optimiser, method, self.config.optimisation, progress)
        self.log.add_step({"loss": loss, **method.measures(), **self.sampler.measures()}, utterance_B, chosen_B)
        times.end("optimiser")

    def _progress(self) -> Progress:
        position = self.state.position
        return Progress(position.epoch + position.step_in_epoch / self.parts.batches.steps, self.config.training.span)

    def _loader(self, requests: list[Any]) -> Any:
        return on_device(self.loader.batches(requests), self.device)

    def _gated(self, requests: list[Any]) -> Iterator[Batch]:
        """The batches of a pass, each when all processes have theirs."""
        for batch in self._loader(requests):
            self._meet()
            yield batch

    def _meet(self, has_batch: bool = True) -> None:
        """Before a batch is used: wait until all processes have theirs, save from time to time, stop where one shall.

        A process whose batch does not come meets the others about every second (`has_batch` False). So none is inside a
        step, where nothing could be saved, while the read of another one hangs.
        """
        is_inside = self.state.position.is_inside(self.parts.batches.utterances)
        while True:
            waits, stops, is_due = any_of(not has_batch, self.parts.stop.is_made, self.state.is_old())
            if is_inside and (stops or (is_due and not waits)):
                self.state.save()
            if stops and (is_inside or waits):  # else after the first step
                self._end_by_request()
            if not waits or not has_batch:
                return

    def _end_if_asked(self) -> None:
        """After a checkpoint."""
        if any_of(self.parts.stop.is_made)[0]:
            self._end_by_request()

    def _end_by_request(self) -> None:
        _log.info("%s", _ASKED.format(self.state.position.step))
        raise Stopped


def _make_loader(config: SystemConfig, parts: Parts, device: torch.device, waiting: Callable[[], None]) -> Loader:
    return Loader(parts.segments, config.training.loader_workers, device.type == "cuda", waiting)


def _rate(optimiser: torch.optim.Optimizer) -> float:
    """The learning rate of the last step."""
    return float(optimiser.param_groups[0]["lr"])


def _seed_of_step(seed: int, step: int) -> int:
    """Of what torch draws itself in a step, different in every process."""
    own = [rank] if (rank := collectives.rank()) else []
    return int(seeds.generator(seed, "step", step, *own).integers(2**62))
