"""Where the seconds of a training step go, part by part, and what can be done about the largest."""

import time
from collections.abc import Mapping

import torch

from sslsv_tk.systems.configuration import TrainingConfig

PARTS = {
    "read": "waiting for audio",
    "front_end": "augmentation and front end",
    "forward": "the forward pass",
    "sampler": "choosing positives and embedding references",
    "backward": "the backward pass",
    "optimiser": "the optimiser",
}
"""The parts of a step, in the order in which they come."""
_CLEARLY = 1.2
"""A part that is so many times the one that was named last is named anew; less comes and goes with the load."""


def remedies(training: TrainingConfig, device: torch.device) -> dict[str, str]:
    """What can be done about each part, given what is set already."""
    faster = ["training.precision=bf16"] if training.precision == "fp32" else []
    keeps_all = not training.recompute and training.encoder_parts == 1
    faster += ["training.compile=true"] if training.compile == "false" and keeps_all else []
    faster += ["training.recompute=false"] if training.recompute else []
    faster += ["training.encoder_parts=1"] if training.encoder_parts > 1 else []
    machine = "More GPUs share the batch" if device.type == "cuda" else "A GPU is faster"
    encoder = f"{machine}; so may a new system be (--tag) with {' or '.join(faster)}" if faster else machine
    return {
        "read": "Raise training.loader_workers, or copy dump to a faster disk",
        "front_end": "A new system with --feats-type fbank does both once, in stage 3",
        "forward": encoder,
        "sampler": "Lower the settings of --positives",
        "backward": encoder,
        "optimiser": "Larger batches have fewer steps",
    }


class StepTimes:
    """Sums the seconds of each part; on a GPU by events, for which nothing waits before the sums are asked for."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._marks: list[tuple[str, torch.cuda.Event]] = []
        self._last = 0.0

    def waited(self, seconds: float) -> None:
        """For a batch, which the process does itself whatever the device."""
        self._seconds["read"] += seconds

    def start(self) -> None:
        """A step begins."""
        self._last = time.perf_counter()
        if self._on_gpu:
            self._mark("")

    def end(self, part: str) -> None:
        """A part of the step ends, and the next one begins."""
        if self._on_gpu:
            self._mark(part)
            return
        now = time.perf_counter()
        self._seconds[part] += now - self._last
        self._last = now

    def _mark(self, part: str) -> None:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append((part, event))

    def take(self, steps: int) -> dict[str, float]:
        """Mean seconds of each part over so many steps, as `read_seconds` and so on; counted anew from here."""
        if self._marks:
            self._marks[-1][1].synchronize()
        for (_, before), (part, after) in zip(self._marks, self._marks[1:], strict=False):
            if part:  # else the first mark of a step
                self._seconds[part] += before.elapsed_time(after) / 1000
        means = {f"{part}_seconds": seconds / max(steps, 1) for part, seconds in self._seconds.items()}
        self._seconds, self._marks = dict.fromkeys(PARTS, 0.0), []
        return means


class Bottleneck:
    """Says which part of a step takes the most, when it becomes clearly another one."""

    def __init__(self, advice: Mapping[str, str], skipped: int = 0) -> None:
        """`advice`: what can be done about each part; `skipped`: lines in which a compiler is at work."""
        self._advice, self._skipped = advice, skipped
        self._said: str | None = None

    def sentence(self, means: Mapping[str, float]) -> str | None:
        """Of the means of `StepTimes.take`; None where that was said already, or where nothing was measured."""
        seconds = {part: means[f"{part}_seconds"] for part in PARTS}
        part = max(seconds, key=lambda name: seconds[name])
        self._skipped -= 1
        if self._skipped >= 0 or seconds[part] == 0:
            return None
        if self._said is not None and seconds[part] < _CLEARLY * seconds[self._said]:
            return None
        self._said = part
        whole = sum(seconds.values())
        return f"{seconds[part] / whole:.0%} of a step's {whole:.3g} s is {PARTS[part]}. {self._advice[part]}."
