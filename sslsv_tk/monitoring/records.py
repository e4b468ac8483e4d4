"""What a run says about itself: log lines, metrics.jsonl and TensorBoard."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslsv_tk import artifacts
from sslsv_tk.distributed.collectives import processes, total
from sslsv_tk.monitoring.event_file import EventFile

_log = logging.getLogger("train")


class RunningMeans:
    """Means of numbers over steps and processes, summed on the device without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, numbers: Mapping[str, Tensor]) -> None:
        """Add the numbers of one step, scalars on the device."""
        for name, number in numbers.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), dtype=torch.float64, device=self._device)
            self._sums[name] += number.detach()
        self.count += 1

    def means(self) -> dict[str, float]:
        """The means so far; all processes ask for them at the same time."""
        return {name: float(number) / max(self.count, 1) for name, number in self._over_processes().items()}

    def _over_processes(self) -> dict[str, Tensor]:
        """The sums, as their mean over the processes."""
        if processes() == 1 or not self._sums:
            return self._sums
        return dict(zip(self._sums, total(torch.stack(list(self._sums.values()))) / processes(), strict=True))

    def clear(self) -> None:
        """Start anew."""
        self._sums, self.count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint between two log lines."""
        return {"sums": {name: number.cpu() for name, number in self._over_processes().items()}, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on summing."""
        self._sums = {name: number.to(self._device) for name, number in state["sums"].items()}
        self.count = state["count"]


class NoRecords:
    """The records of a process that writes none, since the first one does."""

    def write(self, numbers: Mapping[str, float | str], step: int) -> None:
        """Drop the numbers, which the first process has too."""

    def bytes_written(self) -> int:
        """Size of metrics.jsonl as far as this process wrote it."""
        return 0

    def close(self) -> None:
        """Leave the files, which are another process's."""


class RunRecords(NoRecords):
    """metrics.jsonl (one object per log line and epoch) and tensorboard/, cut back to a checkpoint on resume."""

    def __init__(self, system: str | Path, kept_bytes: int, step: int) -> None:
        """`kept_bytes`: what of metrics.jsonl belongs to the checkpoint that the run goes on from."""
        path = Path(system) / "metrics.jsonl"
        self._file = path.open("ab")
        if path.stat().st_size < kept_bytes:
            _log.warning("%s is shorter than at the checkpoint: some lines were lost", path)
        else:
            os.truncate(path, kept_bytes)
        self._board = _tensorboard(Path(system) / "tensorboard", step)

    def write(self, numbers: Mapping[str, float | str], step: int) -> None:
        """One line; numbers also go to TensorBoard."""
        with artifacts.naming(self._file.name):
            self._file.write((json.dumps({"step": step, **numbers}) + "\n").encode())
            self._file.flush()
        if self._board is not None:
            scalars = {name: value for name, value in numbers.items() if isinstance(value, (int, float))}
            self._board.write(str(numbers.get("kind", "step")), scalars, step)

    def bytes_written(self) -> int:
        """Size of metrics.jsonl, for the checkpoint."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Write out what is left."""
        with artifacts.naming(self._file.name):
            self._file.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, step: int) -> EventFile | None:
    try:
        return EventFile(folder, step + 1)
    except ImportError:
        _log.info("tensorboard is not installed (pip install tensorboard): metrics.jsonl has the same numbers")
        return None


def line(numbers: Mapping[str, float | str]) -> str:
    """`name=value` words, numbers with four digits."""
    words = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in numbers.items()}
    return " ".join(f"{name}={word}" for name, word in words.items())
