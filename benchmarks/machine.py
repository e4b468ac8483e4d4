"""What benchmarks share: times of versions side by side, and how fast this machine is, as a proportion.

python3 benchmarks/machine.py --device cuda        # its matrix products and its memory
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

CPU = torch.device("cpu")


def seconds(work: Callable[[], object], device: torch.device = CPU) -> float:
    """Wall time of one call, to the end of what it started on the device."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def product_rate(device: torch.device = CPU, side: int = 4096) -> float:
    """TFLOP/s of an fp32 product of two square matrices on the threads that torch has, the best of three."""
    left = torch.randn(side, side, device=device)
    return max(2 * side**3 / seconds(lambda: left @ left, device) / 1e12 for _ in range(3))


def product_rates(precision: str, device: torch.device = CPU, side: int = 4096) -> dict[str, float]:
    """TFLOP/s of the product of two square matrices by every library that is there, in "fp32" or "bf16"."""
    left = torch.randn(side, side, device=device)
    half = left.bfloat16()
    ways: dict[str, Callable[[], object]] = {"torch, fp32": lambda: left @ left}
    if precision == "bf16":
        ways = {"torch, bf16": lambda: half @ half}
    if device.type == "cpu":
        ways |= {"oneDNN, bf16 with fp32 results": lambda: _in_bf16(left)} if precision == "bf16" else {}
        ways |= {"numpy, fp32": lambda: left.numpy() @ left.numpy()} if precision == "fp32" else {}
    taken = best_of(ways, 3, device)
    return {name: 2 * side**3 / time / 1e12 for name, time in taken.items()}


def _in_bf16(left: torch.Tensor) -> torch.Tensor:
    settings: Any = torch.backends.mkldnn
    before = settings.matmul.fp32_precision
    settings.matmul.fp32_precision = "bf16"
    try:
        return left @ left
    finally:
        settings.matmul.fp32_precision = before


def share_rows(
    work: dict[str, tuple[str, float, float]], device: torch.device = CPU, side: int = 4096
) -> list[list[str]]:
    """Of {name: (precision, FLOP, seconds)} the rows of a table: rate, the fastest product's, and the share."""
    rows = []
    rates = {precision: product_rates(precision, device, side) for precision in {one[0] for one in work.values()}}
    for name, (precision, flop, taken) in work.items():
        fastest = max(rates[precision], key=lambda way: rates[precision][way])
        rate, most = flop / taken / 1e12, rates[precision][fastest]
        rows.append([name, f"{rate:.3f}", f"{most:.3f}", fastest, f"{100 * rate / most:.0f} %"])
    return rows


SHARE_HEADER = ["work", "TFLOP/s", "fastest 4096 product, TFLOP/s", "of", "share"]


def best_of(versions: dict[str, Callable[[], object]], repeats: int, device: torch.device = CPU) -> dict[str, float]:
    """Shortest wall time of each version, called in turn so that all meet the same load; one call of each before."""
    best = dict.fromkeys(versions, float("inf"))
    for work in versions.values():
        seconds(work, device)
    for _ in range(repeats):
        for name, work in versions.items():
            best[name] = min(best[name], seconds(work, device))
    return best


def table(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def memory_rate(device: torch.device = CPU, numbers: int = 2**28) -> float:
    """Bytes a second, in units of 1e12, that a copy of so many fp32 numbers reads and writes, the best of three."""
    source, target = torch.ones(numbers, device=device), torch.empty(numbers, device=device)
    return max(8 * numbers / seconds(lambda: target.copy_(source), device) / 1e12 for _ in range(4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that it runs")
    options = parser.parse_args()
    device, side = torch.device(options.device), 64 if options.smoke else 4096 if options.device == "cpu" else 8192
    rows = [[f"product of two {side} x {side} matrices, fp32", f"{product_rate(device, side):.3f} TFLOP/s"]]
    rates = product_rates("bf16", device, side)
    rows += [[f"the same by {way}", f"{rate:.3f} TFLOP/s"] for way, rate in rates.items()]
    if device.type == "cuda":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        rows += [["the same in TF32", f"{product_rate(device, side):.3f} TFLOP/s"]]
    rows += [["copy, read and written", f"{memory_rate(device, 2**16 if options.smoke else 2**28):.3f} TB/s"]]
    print(table(["what", "rate"], rows))


if __name__ == "__main__":
    main()
