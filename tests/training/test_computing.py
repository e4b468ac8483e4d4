"""What `auto` becomes, that it stays so while a run goes on, and that a compiled run survives its end."""

import os
import random
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

COMPILE = os.environ.get("SSLSV_TEST_COMPILE") == "1"
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


def test_every_encoder_of_a_method_is_compiled():
    clock = Clock()
    method = SimCLR(Slow(clock, 1, 1, 1), SimCLRConfig())
    method.teacher = Slow(clock, 1, 1, 1)
    computing.prepare_encoders(method, TrainingConfig(compile="true"), 4)
    assert method.encoder.how == method.teacher.how == "compiling"


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="go with"):
        TrainingConfig(compile="true", recompute=True)
    with pytest.raises(ValueError, match="go with"):
        TrainingConfig(compile="true", encoder_parts=2)
    assert computing.decide(TrainingConfig(recompute=True), {}, CPU, never).compile == "false"
    method = SimCLR(Slow(Clock(), 1, 1, 1), SimCLRConfig())
    with pytest.raises(ValueError, match=r"leaves less than 2 of the 5 .* Set it to 2 at most"):
        computing.prepare_encoders(method, TrainingConfig(encoder_parts=3), 5)
    computing.prepare_encoders(method, TrainingConfig(encoder_parts=2), 5)
    assert method.encoder.parts == 2


def test_a_run_that_recomputes_leaves_the_same_bits(workspace, stage4, outcome, assert_same):
    assert gated_run.train(workspace.options("ssl", "training.recompute=true")) == 0
    assert_same(outcome(workspace.systems / "ssl"), outcome(stage4))


def test_a_run_in_parts_is_another_one_that_learns_as_well(workspace, stage4, outcome):
    assert gated_run.train(workspace.options("ssl", "training.encoder_parts=2")) == 0
    found, whole = outcome(workspace.systems / "ssl"), outcome(stage4)
    losses = [line["loss"] for line in found["metrics"] if line["kind"] == "epoch"]
    others = [line["loss"] for line in whole["metrics"] if line["kind"] == "epoch"]
    assert losses != others and losses == pytest.approx(others, rel=0.2)


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


def settings_of_a_compiled_run(*others: str) -> tuple[str, ...]:
    return ("training.compile=true", "training.checkpoint_minutes=0", *others)


def test_a_compiled_run_goes_on_to_the_same_bits(workspace, outcome, assert_same, monkeypatch):
    """With the tracing of a compiled run; its generated code has a test of its own."""
    compile_as_ever = Encoder.compile
    monkeypatch.setattr(Encoder, "compile", lambda self: compile_as_ever(self, backend="aot_eager"))
    monkeypatch.setattr(computing, "refuse_no_compiler", lambda device: None)
    assert train.main(workspace.options("whole", *settings_of_a_compiled_run("training.epochs=2"))) == 0
    for epochs in (1, 2):
        assert train.main(workspace.options("parts", *settings_of_a_compiled_run(f"training.epochs={epochs}"))) == 0
    assert_same(outcome(workspace.systems / "parts"), outcome(workspace.systems / "whole"))
    assert System(workspace.systems / "whole").config().training.compile == "true"


@pytest.mark.skipif(not COMPILE, reason="minutes: SSLSV_TEST_COMPILE=1 runs it")
def test_a_compiled_run_that_was_killed_goes_on_to_the_same_bits(workspace, outcome, assert_same):
    settings = settings_of_a_compiled_run("training.epochs=1")
    assert gated_run.train(workspace.options("whole", *settings)) == 0
    words = workspace.options("killed", *settings)
    assert gated_run.train_until(words, 9, random.Random(0)) is not None
    assert gated_run.train(words) == 0
    assert_same(outcome(workspace.systems / "killed"), outcome(workspace.systems / "whole"))
