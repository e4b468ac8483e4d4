"""Within a training step nothing waits for the device: no number is read back, no shape depends on values."""

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from small_corpus import POSITIVES
from small_settings import METHODS, WITH_POSITIVES, method_words
from torch.utils._python_dispatch import TorchDispatchMode

from sslsv_tk import config
from sslsv_tk.runs import training_run
from sslsv_tk.runs.training_run import RunOptions
from sslsv_tk.sampling import queue
from sslsv_tk.systems import assembly
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.systems.on_disk import System
from sslsv_tk.training.loop import Trainer

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default: "item()",
    aten.nonzero.default: "nonzero()",
    aten.masked_select.default: "masked_select()",
    aten._unique2.default: "unique()",
    aten.unique_dim.default: "unique()",
    aten.is_nonzero.default: "bool()",
    aten.equal.default: "equal()",
}
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
CPU_ALONE = {queue._put_few.__name__}
CPU = torch.device("cpu")


class Waits(TorchDispatchMode):
    """Notes every operator for which a GPU's queue would have to run empty."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if operator in WAITING and not self._is_of_the_cpu_alone():
            self.found.append(WAITING[operator])
        indices = arguments[1] if operator in INDEXED else []
        if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices):
            self.found.append("an index of booleans")
        return operator(*arguments, **(named or {}))

    @staticmethod
    def _is_of_the_cpu_alone() -> bool:
        """Is this within a function that a GPU has another one for?"""
        callers = (frame.f_code.co_name for frame, _ in traceback.walk_stack(None))
        return any(name in CPU_ALONE for name in callers)


def waits_of_steps(inputs: Path, folder: Path, method: str, positives: str | None) -> list[str]:
    """What waits in the steps of an epoch, past its first one."""
    above = [] if positives is None else [inputs / f"{positives}.yaml"]
    words = method_words(method)
    loaded = config.load(SystemConfig, inputs / "system.yaml", *above, overrides=words)
    options = RunOptions(inputs / "train", inputs, System(folder))
    resolved = training_run._with_classes(assembly.resolve(loaded), options)
    trainer = Trainer(
        resolved, training_run.make_parts(resolved, options, torch.device("cpu")), System(folder), torch.device("cpu")
    )
    trainer._start_epoch()
    parts, sampler = trainer.parts, trainer.sampler
    requests = list(parts.batches.epoch(0, sampler.partners(), 0, sampler.reference_in_steps))
    waits = Waits()
    for number, request in enumerate(requests):
        batch = parts.segments[request]
        if number == 0:  # optimisers make their state
            trainer._train_step(batch)
            continue
        with waits:
            trainer._train_step(batch)
    return waits.found


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_stage_4(inputs, tmp_path, method):
    assert waits_of_steps(inputs, tmp_path, method, None) == []


@pytest.mark.parametrize("positives", POSITIVES)
def test_a_step_with_any_positives(inputs, tmp_path, positives):
    assert waits_of_steps(inputs, tmp_path, "simclr", positives) == []


@pytest.mark.parametrize("method", WITH_POSITIVES)
def test_a_step_of_any_method_with_replaced_positives(inputs, tmp_path, method):
    assert waits_of_steps(inputs, tmp_path, method, "ssps_kmeans") == []


def test_what_waits_is_found():
    with Waits() as waits:
        x = torch.arange(4.0)
        x[x > 1].sum().item()
    assert waits.found == ["an index of booleans", "item()"]
