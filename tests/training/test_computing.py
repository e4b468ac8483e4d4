"""What `auto` becomes, that it stays so while a run goes on, and that a compiled run survives its end."""

import random
import shutil
from typing import Any

import gated_run
import pytest
import torch
from torch import Tensor, nn

from sslsv_tk.bin import train
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig
from sslsv_tk.systems.configuration import TrainingConfig
from sslsv_tk.systems.on_disk import System
from sslsv_tk.training import computing
from sslsv_tk.training.computing import Work

CPU = torch.device("cpu")
AUTO = ("training.precision=auto", "training.compile=auto")


def never(precision: str) -> str:
    raise AssertionError("a trial although there is nothing to decide")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_precision_is_what_the_device_computes_in(monkeypatch, native, expected):
    monkeypatch.setattr(computing, "computes_natively", lambda device: native)
    found = computing.decide(TrainingConfig(), {}, CPU, lambda precision: {"bf16": "true", "fp32": "false"}[precision])
    assert (found.precision, found.compile) == (expected, {"bf16": "true", "fp32": "false"}[expected])


def test_what_is_given_is_not_decided(monkeypatch):
    monkeypatch.setattr(computing, "computes_natively", lambda device: True)
    given = TrainingConfig(precision="fp32", compile="false", epochs=3)
    assert computing.decide(given, {}, CPU, never) == given


def test_a_run_goes_on_as_it_began_and_a_device_that_cannot_is_named(monkeypatch, caplog):
    monkeypatch.setattr(computing, "computes_natively", lambda device: False)
    kept = {"training.precision": "bf16", "training.compile": "true"}
    found = computing.decide(TrainingConfig(), kept, CPU, never)
    assert (found.precision, found.compile) == ("bf16", "true")
    assert "bf16, which this cpu only emulates" in caplog.text


class Clock:
    """Time that passes only when an encoder says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Slow(Encoder):
    """Takes the seconds that it is told, and others when it is compiled."""

    dimension = 3

    def __init__(self, clock: Clock, eager: float, compiled: float, compiling: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.times = {"eager": eager, "compiled": compiled, "compiling": compiling}
        self.clock, self.how = clock, "eager"

    def __deepcopy__(self, memo: Any) -> "Slow":
        return Slow(self.clock, *self.times.values())

    def compile(self, *arguments: Any, **named: Any) -> None:
        self.how = "compiling"

    def forward(self, input_BFL: Tensor) -> Tensor:
        self.clock.now += self.times[self.how]
        self.how = "compiled" if self.how == "compiling" else self.how
        return self.scale * input_BFL


@pytest.mark.parametrize(
    ("steps", "compiled", "compiling", "expected"),
    [
        (59, 0.6, 1.0, "false"),  # less than a minute of work in all
        (1000, 0.6, 100.0, "true"),  # 400 s saved by 100 s
        (1000, 0.6, 300.0, "false"),  # 400 s by 300 s, which every start of the run costs again
        (1000, 1.1, 1.0, "false"),  # slower
    ],
)
def test_compiling_is_tried_and_pays_or_not(monkeypatch, caplog, steps, compiled, compiling, expected):
    clock = Clock()
    monkeypatch.setattr(computing, "time", clock)
    caplog.set_level("INFO", "progress")
    encoder = Slow(clock, 1.0, compiled, compiling)
    assert computing.try_compiling(encoder, Work([torch.zeros(2, 3)], steps), "fp32") == expected
    assert f"compile: auto is {expected}: " in caplog.text
    assert encoder.how == "eager" and encoder.scale.grad is not None, "the trial is with a copy"


def test_no_compiler_is_no_reason_to_stop(monkeypatch, caplog):
    def broken(self: Slow, input_BFL: Tensor) -> Tensor:
        self.clock.now += 1.0
        if self.how == "compiling":
            raise RuntimeError("No working C++ compiler found\nand pages more")
        return self.scale * input_BFL

    clock = Clock()
    monkeypatch.setattr(computing, "time", clock)
    monkeypatch.setattr(Slow, "forward", broken)
    caplog.set_level("INFO", "progress")
    assert computing.try_compiling(Slow(clock, 1, 1, 1), Work([torch.zeros(2, 3)], 1000), "fp32") == "false"
    assert "does not work here (No working C++ compiler found)" in caplog.text and "pages" not in caplog.text
    monkeypatch.setattr(torch, "compile", lambda function: lambda x: broken(Slow(clock, 1, 1, 1), x.no_such))
    with pytest.raises(ValueError, match="the compiler of torch does not work here"):
        computing.refuse_no_compiler(CPU)


def test_every_encoder_of_a_method_is_compiled(monkeypatch):
    clock = Clock()
    method = SimCLR(Slow(clock, 1, 1, 1), SimCLRConfig())
    method.teacher = Slow(clock, 1, 1, 1)
    computing.compile_encoders(method)
    assert method.encoder.how == method.teacher.how == "compiling"


def test_auto_is_written_down_and_kept_in_both_stages(workspace, monkeypatch, capsys):
    monkeypatch.setattr(computing, "computes_natively", lambda device: True)
    assert train.main(workspace.options("ssl", *AUTO, "training.epochs=1")) == 0
    system = System(workspace.systems / "ssl")
    assert (system.config().training.precision, system.config().training.compile) == ("bf16", "false")
    assert system.record.options["training.precision"] == "bf16"
    # Another device goes on, whose own choice would be fp32.
    monkeypatch.setattr(computing, "computes_natively", lambda device: False)
    assert train.main(workspace.options("ssl", *AUTO, "training.epochs=2")) == 0
    assert system.config().training.precision == "bf16"
    lasts = ("training.epochs=2", "training.continued_epochs=1")
    assert train.main(workspace.options("more", *AUTO, *lasts, positives="ssps_kmeans", base=system.folder)) == 0
    assert System(workspace.systems / "more").config().training.precision == "bf16"
    # Made anew, it is what suits the device.
    assert train.main([*workspace.options("ssl", *AUTO, "training.epochs=1"), "--force", "true"]) == 0
    assert system.config().training.precision == "fp32"


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++, which is not here")
def test_a_compiled_run_that_was_killed_goes_on_to_the_same_bits(workspace, outcome, assert_same):
    settings = ("training.compile=true", "training.epochs=1", "training.checkpoint_minutes=0")
    assert gated_run.train(workspace.options("whole", *settings)) == 0

    words = workspace.options("killed", *settings)
    assert gated_run.train_until(words, 9, random.Random(0)) is not None
    assert gated_run.train(words) == 0
    assert_same(outcome(workspace.systems / "killed"), outcome(workspace.systems / "whole"))
    assert System(workspace.systems / "whole").config().training.compile == "true"
