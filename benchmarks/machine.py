"""What benchmarks share: times of versions side by side, and how fast this machine is, as a proportion."""

import time
from collections.abc import Callable

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
