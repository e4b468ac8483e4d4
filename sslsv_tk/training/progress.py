"""What a person who waits for a run is told: what it is at its start, and a line after each epoch.

The lines go to the logger `progress`. The launcher shows them on the terminal while the log file gets everything.
"""

import logging
import time
from dataclasses import dataclass

import torch

from sslsv_tk.distributed.collectives import processes
from sslsv_tk.distributed.processes import is_first
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.training.parts import Parts

_log = logging.getLogger("progress")


@dataclass
class RunProgress:
    """How far a run is on its way from one epoch to another, and how long the rest may take."""

    first_epoch: int
    """Whole epochs done before this process began."""
    last_epoch: int

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._epoch_began = self._began

    def say_start(self, config: SystemConfig, parts: Parts, device: torch.device) -> None:
        """Device, precision, parameters, utterances, steps per epoch, epochs to go."""
        parameters = sum(p.numel() for p in parts.step.method.parameters() if p.requires_grad)
        batches, training, left = parts.batches, config.training, self.last_epoch - self.first_epoch
        self._say(
            f"{config.method.name} with {config.encoder.name} on {describe(device)}, {training.arithmetic}: "
            f"{parameters:,} parameters, {batches.utterances:,} utterances, {batches.steps:,} steps per epoch of "
            f"{batches.batch_size}, {left} epoch{'s' if left > 1 else ''} to go "
            f"({self.first_epoch + 1} to {self.last_epoch})"
        )

    def say_epoch(self, epoch: int, loss: float, eer_percent: float | None) -> None:
        """The line after an epoch, which counts from 1: loss, seconds, time to the end at the pace so far."""
        now = time.monotonic()
        pace = (now - self._began) / (epoch - self.first_epoch)
        words = f"epoch {epoch} of {self.last_epoch}: loss {loss:.4g}, {now - self._epoch_began:.0f} s"
        if eer_percent is not None:
            words += f", EER of validation {eer_percent:.2f} %"
        left = self.last_epoch - epoch
        self._say(f"{words}, {duration(pace * left)} to go" if left else f"{words}, training ends")
        self._epoch_began = now

    def _say(self, words: str) -> None:
        if is_first():
            _log.info("%s", words)


def describe(device: torch.device) -> str:
    """The device as a person knows it, and how many processes share the work."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type} with {torch.get_num_threads()} threads"
    return f"{processes()} x {name}" if processes() > 1 else name


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
