"""Seconds of a whole training step of systems of the recipe, and the share of the fastest product that this is.

    python3 benchmarks/system_step.py                      # SimCLR and DINO with ECAPA-TDNN, 8 utterances
    python3 benchmarks/system_step.py --systems simclr_fast_resnet34 --utterances 32
    python3 benchmarks/system_step.py --device cuda --utterances 256 --ways bf16 "bf16 compiled" --profile 10
    python3 benchmarks/system_step.py --beside DIR         # the same systems of another checkout

A step is front end, encoder, heads, loss, backward pass, optimiser and what the method does after it; audio is random
and lies on the device. FLOP are those that torch counts in a step in fp32.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from beside import parsed, parser
from machine import best_of, product_rate, table
from torch.utils.flop_counter import FlopCounterMode

from sslsv_tk import config
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.same_utterance import SameUtterance, SameUtteranceConfig
from sslsv_tk.schedules import Progress
from sslsv_tk.training.optimisation import make_optimiser
from sslsv_tk.training.step import TrainingStep

try:
    from machine import SHARE_HEADER, share_rows

    from sslsv_tk.systems import assembly
    from sslsv_tk.systems.configuration import SystemConfig
except ImportError:  # a checkout of before those
    from sslsv_tk.training.configuration import SystemConfig  # type: ignore[no-redef, import-not-found]

    from sslsv_tk.training import assembly  # type: ignore[no-redef, attr-defined]

    SHARE_HEADER = []

WAYS = ("fp32", "bf16", "fp32 compiled", "bf16 compiled")


def get_parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    default = ["simclr_ecapa", "dino_ecapa"]
    made.add_argument("--systems", nargs="+", default=default, help="of conf/systems (default: %(default)s)")
    made.add_argument("--utterances", type=int, default=8, help="of a batch (default: 8)")
    made.add_argument("--ways", nargs="+", choices=WAYS, default=["fp32", "bf16"], help="(default: fp32 bf16)")
    made.add_argument("--threads", type=int, default=2, help="of the processor (default: 2)")
    made.add_argument("--repeats", type=int, default=5, help="steps, of which the fastest counts (default: 5)")
    made.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    made.add_argument("--profile", type=int, default=0, metavar="N", help="list the N costliest kernels of each")
    return made


def configuration_of(system: str, smoke: bool) -> SystemConfig:
    """The system as conf/ has it; with `smoke` so small that it only shows that it runs."""
    conf = Path(config.__file__).parents[1] / "egs/voxceleb/conf"
    path = conf / "systems" / f"{system}.yaml"
    words = []
    if smoke:
        words = ["encoder.dimension=16"]
        if "ecapa" in system:
            words += ["encoder.channels=16", "encoder.excitation=8", "encoder.attention=8"]
        words += ["method.prototypes=16"] if "dino" in system else []
    loaded = config.load(SystemConfig, path if path.is_file() else conf / f"{system}.yaml", overrides=words)
    return assembly.resolve(loaded)


def step_of(system: SystemConfig, way: str, options: argparse.Namespace) -> Callable[[], None]:
    """The whole step as the training loop makes it."""
    device, method = torch.device(options.device), assembly.build_method(system).to(options.device).train()
    if way.endswith("compiled"):
        method.encoder.compile()
    width = method.scoring_encoder().dimension
    facts = SamplerFacts(options.utterances, 0, device, method.projection_dimension, width)
    training = TrainingStep(method, SameUtterance(SameUtteranceConfig(), facts), way.split()[0])
    optimiser, front_end = make_optimiser(method, system.optimisation), FrontEnd(system.frontend).to(device)
    segments = [
        torch.randint(-8000, 8000, (options.utterances, segment.samples), dtype=torch.int16).to(device)
        for segment in method.segments
    ]
    utterances, progress = torch.arange(options.utterances, device=device), Progress(20.0, 100)

    def step() -> None:
        method.before_step(progress)
        loss, _ = training([front_end(segment) for segment in segments], utterances, None)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        method.after_backward(progress)
        optimiser.step()
        method.after_step(progress)

    return step


def flop_of(step: Callable[[], None]) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def kernels(step: Callable[[], None], count: int) -> str:
    """The costliest kernels of a step."""
    with torch.profiler.profile() as profile:
        step()
    key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    return str(profile.key_averages().table(sort_by=key, row_limit=count, max_name_column_width=70))


def main() -> None:
    options = parsed(get_parser())
    if options.smoke:
        options.utterances, options.repeats = 2, 1
    torch.set_num_threads(options.threads)
    device, side = torch.device(options.device), 64 if options.smoke else 4096
    print(f"{options.utterances} utterances, {options.device}, {options.threads} threads, torch {torch.__version__}")
    print(f"| 4096 x 4096 product, fp32 | {product_rate(device, side):.3f} TFLOP/s |\n")
    for name in options.systems:
        system = configuration_of(name, options.smoke)
        steps = {f"{name}, {way}": step_of(system, way, options) for way in options.ways}
        flop = flop_of(step_of(system, "fp32", options))
        taken = best_of(steps, options.repeats, device)
        rows = [[label, f"{time:.4f}", f"{options.utterances / time:.1f}"] for label, time in taken.items()]
        print(f"{flop / 1e12:.3f} TFLOP a step\n\n{table(['step', 's', 'utterances/s'], rows)}\n", flush=True)
        if SHARE_HEADER:
            work = {label: ("bf16" if "bf16" in label else "fp32", flop, time) for label, time in taken.items()}
            print(f"{table(SHARE_HEADER, share_rows(work, device, side))}\n", flush=True)
        for label, step in steps.items() if options.profile else ():
            print(f"{label}\n{kernels(step, options.profile)}", flush=True)


if __name__ == "__main__":
    main()
