"""What a run says of an epoch: means over log lines and over the whole of it, and whether training is healthy."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslsv_tk.distributed.processes import is_first
from sslsv_tk.monitoring.diagnostics import PositiveDiagnostics
from sslsv_tk.monitoring.health import Health, still_alike
from sslsv_tk.monitoring.records import NoRecords, RunningMeans, RunRecords, line
from sslsv_tk.monitoring.step_times import Bottleneck, StepTimes
from sslsv_tk.training.position import Position

_log = logging.getLogger("train")
_progress = logging.getLogger("progress")


class EpochLog:
    """The numbers of steps, summed up for a line every so many steps and one for the epoch.

    Its state, with what it has written, belongs to a checkpoint: a run that goes on writes the lines that it would have
    written. All processes call it alike, since means are taken over them; the first one writes.
    """

    def __init__(
        self, device: torch.device, diagnostics: PositiveDiagnostics, remedies: str, bottleneck: Bottleneck
    ) -> None:
        """`remedies`: what the method itself says may help against a collapse."""
        self.diagnostics, self.health = diagnostics, Health(remedies)
        self._window, self._epoch = RunningMeans(device), RunningMeans(device)
        self.times, self._bottleneck = StepTimes(device), bottleneck
        self._started = time.monotonic()
        self._records: NoRecords = NoRecords()
        self._bytes_kept = 0

    def open(self, system: Path, step: int) -> None:
        """Begin to write, after the state of `step` was taken over: what was written later is cut off."""
        if is_first():
            self._records = RunRecords(system, self._bytes_kept, step)

    def close(self) -> None:
        """Write out what is left."""
        self._records.close()

    def start_epoch(self) -> None:
        """An epoch begins, or is gone on with: its seconds are counted from here."""
        self._started = time.monotonic()

    def add_step(self, numbers: Mapping[str, Tensor], utterance_B: Tensor, chosen_B: Tensor) -> None:
        """What a step measured and whose positives it chose; nothing waits for the device."""
        self.health.begin(numbers)
        self._window.add(numbers)
        self._epoch.add(numbers)
        self.diagnostics.count(utterance_B, chosen_B)

    def loss(self) -> float:
        """The mean of this epoch so far."""
        return self._epoch.means().get("loss", 0.0)

    def write_positives(self, numbers: dict[str, float], cluster_N: Tensor | None, position: Position) -> None:
        """What the sampler says of the epoch that it has prepared."""
        numbers = {**numbers, **self.diagnostics.clusters(cluster_N)}
        if numbers:
            numbers["seconds"] = time.monotonic() - self._started
            self._write("positives", numbers, position.epoch + 1, position.step)

    def write_steps(self, position: Position, learning_rate: float) -> None:
        """The means since the last such line."""
        times = self.times.take(self._window.count)
        numbers = {**self._window.means(), "learning_rate": learning_rate, **times}
        self._write("step", numbers, position.epoch + 1, position.step)
        self._warn_of_collapse(numbers, position.epoch + 1, position.step)
        if (sentence := self._bottleneck.sentence(times)) is not None:
            _log.info("%s", sentence)
        self._window.clear()

    def write_epoch(self, position: Position, learning_rate: float) -> float:
        """The means of the epoch that has just ended; its loss."""
        numbers = {
            **self._epoch.means(),
            **self.diagnostics.summary(),
            "learning_rate": learning_rate,
            "seconds": time.monotonic() - self._started,
        }
        self._warn_of_collapse(numbers, position.epoch, position.step, whole_epoch=True)
        if self.health.warned_epoch == position.epoch:
            numbers["collapsed"] = 1.0
        elif not still_alike(numbers):  # of embeddings that have not spread yet nobody can say so
            numbers["collapsed"] = 0.0
        self._write("epoch", numbers, position.epoch, position.step)
        self._epoch.clear()
        return numbers.get("loss", 0.0)

    def write_validation(self, numbers: dict[str, float], position: Position) -> None:
        """How the weights do on the validation list after the epoch that has just ended."""
        self._write("validation", numbers, position.epoch, position.step)

    def _warn_of_collapse(self, numbers: dict[str, float], epoch: int, step: int, whole_epoch: bool = False) -> None:
        warning = self.health.look(numbers, epoch, step, whole_epoch)
        if warning is not None:
            _progress.warning("%s", warning)

    def _write(self, kind: str, numbers: dict[str, float], epoch: int, step: int) -> None:
        """One line to the log and one to metrics.jsonl; `epoch` counts from 1."""
        _log.info("%s", line({"kind": kind, "epoch": epoch, "step": step, **numbers}))
        self._records.write({"kind": kind, "epoch": epoch, **numbers}, step)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint, also in the middle of an epoch."""
        return {
            "window": self._window.state_dict(),
            "whole_epoch": self._epoch.state_dict(),
            "diagnostics": self.diagnostics.state_dict(),
            "health": self.health.state_dict(),
            "metrics_bytes": self._records.bytes_written(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, in whose table these are entries among others."""
        self._window.load_state_dict(state["window"])
        self._epoch.load_state_dict(state["whole_epoch"])
        self.diagnostics.load_state_dict(state["diagnostics"])
        self.health.load_state_dict(state["health"])
        self._bytes_kept = int(state["metrics_bytes"])
