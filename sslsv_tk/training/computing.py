"""How a run computes: in which precision, and whether its encoder is compiled. `auto` is decided once, here.

What was decided stands in the system's config.yaml, so that a run that goes on computes as it began, and stage 5 as
stage 4 did.
"""

import copy
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.nn.recomputation import recompute
from sslsv_tk.systems.configuration import TrainingConfig

_log = logging.getLogger("progress")

LEAST_SECONDS = 60.0
"""A run whose encoder has less to do than so long in all is not worth a trial."""
MOST_SAVED = 0.5
"""No compiled encoder takes less than half of the time of the other one."""
_REPEATS = 3
_LONGEST_REASON = 150


def computes_natively(device: torch.device) -> bool:
    """Does the device multiply bfloat16 numbers in its own instructions, faster than single precision?

    GPUs from Ampere on; processors with AVX512-bf16 or AMX.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@dataclass(frozen=True)
class Work:
    """What the encoder does in a step of one process, and how many steps are to come."""

    inputs: list[Tensor]
    """One for each length: (rows, F, L) frames or (rows, T) samples, of random numbers."""
    steps: int


def decide(
    training: TrainingConfig, kept: Mapping[str, Any], device: torch.device, trial: Callable[[str], str]
) -> TrainingConfig:
    """The settings with nothing left at `auto`.

    `kept`: settings that the run, or its stage 4, has begun with, as its record has them; empty: it begins now.
    `trial(precision)` says whether to compile.
    """
    precision: Any = training.precision
    compiles: Any = training.compile
    if precision == "auto":
        precision = kept.get("training.precision") or ("bf16" if computes_natively(device) else "fp32")
    if compiles == "auto" and (training.recompute or training.encoder_parts > 1):
        compiles = "false"  # a compiled graph keeps activations as it likes
    if compiles == "auto":
        compiles = kept.get("training.compile") or trial(precision)
    if precision == "bf16" and not computes_natively(device):
        _log.warning("training.precision is bf16, which this %s only emulates: it will be slow", device.type)
    return dataclasses.replace(training, precision=precision, compile=compiles)


def try_compiling(encoder: Encoder, work: Work, precision: str) -> str:
    """`true` where the steps to come save more time than compiling takes, measured with a copy of the encoder."""
    eager = _seconds(encoder, work.inputs, precision)
    if eager * work.steps < LEAST_SECONDS:
        return _say("false", f"{work.steps} steps of {eager:.3g} s are too few to win anything")
    compiled, began = copy.deepcopy(encoder), time.monotonic()
    compiled.compile()
    try:
        _step(compiled, work.inputs, precision)
        cost = time.monotonic() - began
        taken = _seconds(compiled, work.inputs, precision)
    except Exception as error:
        return _say("false", f"the compiler of torch does not work here ({first_line(error)})")
    saved = (eager - taken) * work.steps
    words = f"the encoder's part of a step takes {eager:.3g} s, compiled {taken:.3g} s, and compiling {cost:.0f} s"
    return _say("true" if saved > 2 * cost else "false", words)


def _say(decision: str, reason: str) -> str:
    _log.info("compile: auto is %s: %s", decision, reason)
    return decision


def refuse_no_compiler(device: torch.device) -> None:
    """ValueError where torch cannot compile for the device: else training ends with pages at its first step."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:
        raise ValueError(
            f"training.compile true: the compiler of torch does not work here ({first_line(error)}). Install a C++ "
            "compiler (g++), or set training.compile=false."
        ) from None
    finally:
        torch._dynamo.reset()


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a line."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0][:_LONGEST_REASON]


def prepare_encoders(module: nn.Module, training: TrainingConfig, rows: int) -> None:
    """Let every encoder of a method, a teacher's as well, compute as the settings say; `rows` of a process."""
    if rows < 2 * training.encoder_parts > 2:
        raise ValueError(
            f"training.encoder_parts = {training.encoder_parts} leaves less than 2 of the {rows} utterances of a "
            f"process to a part, which the encoder's batch norms need. Set it to {max(1, rows // 2)} at most."
        )
    for part in [part for part in module.modules() if isinstance(part, Encoder)]:
        part.parts = training.encoder_parts
        if training.recompute:
            recompute(blocks_of(part))
        if training.compile == "true":
            part.compile()
    if training.compile == "true":
        _log.info("the encoder is compiled in the first steps, which takes a minute or more")


def blocks_of(encoder: Encoder) -> list[nn.Module]:
    """The modules of an encoder that follow one another, or itself where it names none."""
    blocks = getattr(encoder, "blocks", None)
    return list(blocks) if isinstance(blocks, nn.Sequential | nn.ModuleList) else [encoder]


def _seconds(encoder: nn.Module, inputs: list[Tensor], precision: str) -> float:
    """Least time of a few steps after one that is not counted."""
    _step(encoder, inputs, precision)
    return min(_timed(encoder, inputs, precision) for _ in range(_REPEATS))


def _timed(encoder: nn.Module, inputs: list[Tensor], precision: str) -> float:
    began = time.monotonic()
    _step(encoder, inputs, precision)
    return time.monotonic() - began


def _step(encoder: nn.Module, inputs: list[Tensor], precision: str) -> None:
    """Forward and backward pass of every input, to the end of what that started on the device."""
    for x in inputs:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            embedding_BD = encoder(x)
        embedding_BD.float().square().sum().backward()
    if inputs[0].device.type == "cuda":
        torch.cuda.synchronize()
