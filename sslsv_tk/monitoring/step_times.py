"""Where the seconds of a training step go, part by part, and what can be done about the largest."""

import time

import torch

PARTS = {
    "read": "waiting for audio. Raise training.loader_workers, or copy dump to a faster disk",
    "front_end": "augmentation and front end. With --feats-type fbank both are done once, in stage 3",
    "forward": "the forward pass. Set training.precision=bf16 or training.compile=true, or use more GPUs",
    "sampler": "choosing positives and embedding references. Lower the settings of --positives",
    "backward": "the backward pass. Set training.precision=bf16 or training.compile=true, or use more GPUs",
    "optimiser": "the optimiser. Use larger batches",
}
"""The parts of a step in the order in which they come, and the remedy where one takes the most."""


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
    """Says which part of a step takes the most, when it becomes another one."""

    def __init__(self) -> None:
        self._said = ""

    def sentence(self, means: dict[str, float]) -> str | None:
        """Of the means of `StepTimes.take`; None where that was said already, or where nothing was measured."""
        part = max(PARTS, key=lambda name: means[f"{name}_seconds"])
        most, whole = means[f"{part}_seconds"], sum(means[f"{name}_seconds"] for name in PARTS)
        if part == self._said or most == 0:
            return None
        self._said = part
        return f"{most / whole:.0%} of a step's {whole:.3g} s is {PARTS[part]}."
