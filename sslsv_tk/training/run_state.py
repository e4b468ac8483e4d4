"""The state of a run: what a checkpoint holds, so that a run that was killed goes on to the same bits."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch

from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.processes import EndedElsewhere, any_of, from_first, is_first, refuse_different
from sslsv_tk.distributed.shards import reshard
from sslsv_tk.systems.checkpoints import CheckpointFolder
from sslsv_tk.systems.configuration import TrainingConfig
from sslsv_tk.systems.on_disk import System
from sslsv_tk.training.epoch_log import EpochLog
from sslsv_tk.training.position import Position
from sslsv_tk.training.step import TrainingStep

_log = logging.getLogger("train")


class NonFiniteLoss(ValueError):
    """The loss became NaN or infinite; the last checkpoint is from before."""


class RunState:
    """Model, optimiser, sampler, position and log of a run, saved and restored together.

    Of several processes each saves its own part of the sampler, and the first one the rest, which is the same in all.
    """

    def __init__(
        self,
        step: TrainingStep,
        optimiser: torch.optim.Optimizer,
        log: EpochLog,
        config: TrainingConfig,
        system: System,
    ) -> None:
        self.method, self.sampler, self.optimiser = step.method, step.sampler, optimiser
        self.log, self.config, self.system = log, config, system
        self.position = Position()
        self._checkpoints = CheckpointFolder(system.folder, config.keep_epochs, config.keep_every)
        self._saved_at = time.monotonic()

    def restore(self, stage_4: Mapping[str, Any] | None) -> None:
        """Take over the newest checkpoint; where there is none begin anew, or with the last state of stage 4."""
        # The first process chooses for all: another machine may still see the file of before.
        newest = from_first(self._checkpoints.newest)
        if newest is not None:
            self._go_on(newest)
        elif stage_4 is not None:
            self._load_model(stage_4)
            self.position = Position(epoch=stage_4["epoch"], step=stage_4["step"])
        else:
            self.save_epoch()

    def _go_on(self, newest: str) -> None:
        state, sampler_states = self._checkpoints.read_whole(newest)
        refuse_different((state["step"], state["passed"], newest))
        self._load_model(state)
        names, rank, processes = self.sampler.shard_names, collectives.rank(), collectives.processes()
        self.sampler.load_state_dict(reshard(sampler_states, names, rank, processes))
        self.position = Position(**{field.name: state[field.name] for field in fields(Position)})
        self.log.load_state_dict(state)
        at = self.position
        _log.info("going on from step %d (epoch %d, step %d in it)", at.step, at.epoch + 1, at.step_in_epoch)

    def _load_model(self, state: Mapping[str, Any]) -> None:
        """Take over a checkpoint's weights and the optimiser's averages."""
        try:
            self.method.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"The checkpoint of step {state['step']} that {self.system.folder} goes on from does not fit "
                f"({reason}). It is of another model or an earlier version: train its system anew."
            ) from None

    def is_old(self) -> bool:
        """Is the last checkpoint so many minutes old that the next one is due? Each process has a clock of its own."""
        return time.monotonic() - self._saved_at >= 60 * self.config.checkpoint_minutes

    def save(self) -> None:
        """Write a checkpoint; NonFiniteLoss instead where it would hold numbers that are none."""
        self.refuse_non_finite()
        state = {
            **asdict(self.position),
            "model": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            **self.log.state_dict(),
        }
        self._checkpoints.save(state, self.sampler.state_dict())
        self._saved_at = time.monotonic()

    def save_epoch(self) -> None:
        """Write the weights after the epochs done; of one process, since they are the same in all."""
        from_first(lambda: self._checkpoints.save_epoch(self.position.epoch, self.method.weights()))

    def refuse_non_finite(self) -> None:
        """NonFiniteLoss where the epoch's loss, a weight or a statistic is NaN or infinite; in all processes alike."""
        loss = self.log.loss()
        if math.isfinite(loss) and any_of(not _all_finite(self.method))[0]:
            loss = math.nan  # the next one would be: a gradient was not finite
        if math.isfinite(loss):
            return
        if not is_first():
            raise EndedElsewhere
        raise NonFiniteLoss(
            f"The loss is {loss} in epoch {self.position.epoch + 1}, at step {self.position.step} or up to "
            f"{self.config.log_steps} steps before. Nothing was saved since the last checkpoint; lower "
            "optimisation.learning_rate, use precision fp32, or look for broken audio, then run again."
        )


def _all_finite(module: torch.nn.Module) -> bool:
    """Are all weights and statistics numbers?"""
    tensors = [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())
