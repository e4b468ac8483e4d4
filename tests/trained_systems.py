"""A trained stage 4, and what a run leaves on disk as values that can be compared."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gated_run
import pytest
import torch
from train_options import options

from sslsv_tk.monitoring.step_times import PARTS

_TIMES = ("seconds", *(f"{part}_seconds" for part in PARTS))
_OF_TIMES = ("metrics_bytes",)  # the length of metrics.jsonl, in which the times have more or fewer digits


@dataclass(frozen=True)
class Workspace:
    """Packed audio and configuration files, shared, and where the systems of a test go."""

    inputs: Path
    systems: Path

    def options(self, name: str, *settings: str, positives: str | None = None, base: Path | None = None) -> list[str]:
        """The words of `train` for the system `name`; with `base`, stage 5."""
        return options(self.inputs, self.systems / name, *settings, positives=positives, base=base)


@pytest.fixture
def workspace(inputs: Path, tmp_path: Path) -> Workspace:
    return Workspace(inputs, tmp_path)


@pytest.fixture(scope="session")
def stage4(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system after stage 4, trained without a disturbance; tests read it only."""
    workspace = Workspace(inputs, tmp_path_factory.mktemp("exp"))
    assert gated_run.train(workspace.options("ssl")) == 0
    return workspace.systems / "ssl"


@pytest.fixture(scope="session")
def outcome() -> Callable[[Path], dict[str, Any]]:
    """outcome(system): every number that a run leaves, without how long it took."""

    def read(system: Path) -> dict[str, Any]:
        folder = system / "checkpoints"
        latest = torch.load(folder / "latest.pt", weights_only=True)
        found = {"latest": {name: value for name, value in latest.items() if name not in _OF_TIMES}}
        found["sampler"] = torch.load(folder / latest["samplers"][0]["file"], weights_only=True)
        for epoch in sorted(folder.glob("*epoch.pt")):
            found[epoch.name] = torch.load(epoch, weights_only=True)
        lines = [json.loads(line) for line in (system / "metrics.jsonl").read_text().splitlines()]
        found["metrics"] = [{name: line[name] for name in line if name not in _TIMES} for line in lines]
        return found

    return read


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Any, Any], None]:
    """assert_same(found, expected): equal in every bit, with the name of the first difference."""

    def compare(found: Any, expected: Any, name: str = "") -> None:
        assert type(found) is type(expected), name
        if isinstance(found, dict):
            assert list(found) == list(expected), name
            for key in found:
                compare(found[key], expected[key], f"{name}.{key}")
        elif isinstance(found, list):
            assert len(found) == len(expected), name
            for number, pair in enumerate(zip(found, expected, strict=True)):
                compare(*pair, f"{name}[{number}]")
        elif isinstance(found, torch.Tensor):
            assert found.dtype == expected.dtype and torch.equal(found, expected), name
        else:
            assert found == expected, name

    return compare
