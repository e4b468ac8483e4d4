"""Time (on a GPU also memory) of DINO's loss, forward and backward, beside the sum over pairs of views.

    python3 benchmarks/dino_step.py                                     # batch 16, 16,384 prototypes, 2 and 6 views
    python3 benchmarks/dino_step.py --batch 128 --prototypes 65536 --device cuda

Both get the outputs of student and teacher, so the prototypes themselves are in neither.
"""

import argparse
from collections.abc import Callable

import beside
import torch
from machine import best_of, product_rate, table
from torch import Tensor

from sslsv_tk.methods.dino import dino_loss

STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04
Loss = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--batch", type=int, default=16, help="utterances (default: 16)")
    parser.add_argument("--prototypes", type=int, default=16_384, help="K (default: 16384)")
    parser.add_argument("--views", type=int, default=6, help="of the student; the teacher has 2 (default: 6)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="calls of each, of which the fastest counts (default: 5)"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    return parser


def pair_by_pair(student_SBK: Tensor, teacher_TBK: Tensor, centre_K: Tensor, tau_s: float, tau_t: float) -> Tensor:
    """Equation (2) with the distributions of each view made once, and one product per pair."""
    targets = torch.softmax((teacher_TBK - centre_K) / tau_t, dim=-1)
    logarithms = torch.log_softmax(student_SBK / tau_s, dim=-1)
    terms = [
        -(targets[t] * logarithms[s]).sum(-1).mean()
        for t in range(len(targets))
        for s in range(len(logarithms))
        if s != t
    ]
    return torch.stack(terms).mean()


def peak_memory(work: Callable[[], object], device: torch.device) -> str:
    """What a call needs at most beside its inputs, where the device counts it."""
    if device.type != "cuda":
        return "-"
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / 1e6:.0f} MB"


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.batch, options.prototypes, options.repeats = 2, 8, 1
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    generator = torch.Generator(device).manual_seed(0)
    shape = (options.views + 2, options.batch, options.prototypes)
    cosines = 2 * torch.rand(shape, generator=generator, device=device) - 1
    student, teacher, centre = cosines[2:].clone().requires_grad_(), cosines[:2], cosines.mean((0, 1))

    def gradient(loss: Loss) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss(student, teacher, centre, STUDENT_TEMPERATURE, TEACHER_TEMPERATURE), student)

    work = {"ours": lambda: gradient(dino_loss), "straightforward": lambda: gradient(pair_by_pair)}
    taken = best_of(work, options.repeats, device)
    rows = [[name, f"{1e3 * taken[name]:.1f} ms", peak_memory(call, device)] for name, call in work.items()]
    print(
        f"{options.batch} utterances, {options.views} and 2 views, {options.prototypes} prototypes, fp32, {device}, "
        f"{options.threads} threads, torch {torch.__version__}"
    )
    print(f"| 4096 x 4096 product, fp32 | {product_rate(device, 64 if options.smoke else 4096):.3f} TFLOP/s |")
    print(table(["loss", "forward and backward", "peak memory"], rows))


if __name__ == "__main__":
    main()
