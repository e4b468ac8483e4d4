"""Products of points and centroids: the ways to compute them, how far each may be off, and the fastest one here.

B points, K centroids, D values. All ways serve the same search, which knows their error and decides close calls in
double precision (assignment.py). So the choice, which is made by measuring, changes times and no result.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sslsv_tk.arithmetic import fp32_products

LONGEST = 1.01
"""Of a point: float16 rows are longer than 1 by up to 1e-3, k-means takes no longer ones than this."""
_TRIALS = 3  # of each way, on one block, of which the fastest counts
_BLOCKS_WORTH_MEASURING = 10  # of as much work as one trial
_Multiply = Callable[[Tensor, Tensor, Tensor], None]


@dataclass(frozen=True)
class Product:
    """A way to multiply rows (B, D) by rows (K, D), with sums in fp32."""

    name: str
    multiply: _Multiply
    """(B, D), (K, D) of the input type into (B, K) of the output type."""
    rounding: torch.dtype
    """To what the factors are rounded, in any case to nearest."""
    input: torch.dtype
    output: torch.dtype

    def operand(self, rows_KD: Tensor) -> Tensor:
        """Rows as `multiply` takes them."""
        return rows_KD.to(self.input)

    def rounding_error(self, rows_ND: Tensor) -> float:
        """Length of the longest difference between a row and what it is rounded to."""
        if self.rounding == torch.float32 or len(rows_ND) == 0:
            return 0.0
        parts = (part.float() - part.to(self.rounding).float() for part in rows_ND.split(2**14))
        return max(float(torch.linalg.vector_norm(part, dim=1).max()) for part in parts)

    def error(self, points: float, centroids_KD: Tensor) -> float:
        """How far a product may be off: by rounded factors (Cauchy and Schwarz), by its sum, by its own rounding.

        `points`: the rounding error of the points.
        """
        factors = 1.01 * points + LONGEST * self.rounding_error(centroids_KD)
        result = torch.finfo(self.output).eps * (LONGEST + factors) if self.output.itemsize < 4 else 0.0
        return factors + sum_error(centroids_KD.shape[1]) + result


def sum_error(width: int) -> float:
    """How far an fp32 sum of so many products may be off, whatever its order, where the factors have unit length."""
    return LONGEST * width * torch.finfo(torch.float32).eps


def largest(values_BW: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each row and where it stands; numpy's search is three times as fast as torch's on a CPU."""
    if values_BW.device.type == "cuda" or values_BW.dtype == torch.bfloat16:
        return values_BW.max(dim=1)
    place_B = torch.from_numpy(values_BW.numpy().argmax(axis=1))
    return values_BW.gather(1, place_B[:, None])[:, 0], place_B


def _by_torch(points_BD: Tensor, centroids_KD: Tensor, out_BK: Tensor) -> None:
    with fp32_products("ieee", out_BK.device):
        torch.mm(points_BD, centroids_KD.T, out=out_BK)


def _by_numpy(points_BD: Tensor, centroids_KD: Tensor, out_BK: Tensor) -> None:
    np.matmul(points_BD.numpy(), centroids_KD.numpy().T, out=out_BK.numpy())


def _by_onednn(points_BD: Tensor, centroids_KD: Tensor, out_BK: Tensor) -> None:
    """Factors are rounded on the way into AMX tiles, and the sums come out in fp32."""
    with fp32_products("bf16", out_BK.device):
        torch.mm(points_BD, centroids_KD.T, out=out_BK)


def _on_cuda(points_BD: Tensor, centroids_KD: Tensor, out_BK: Tensor) -> None:
    """Parts of a sum are added up in fp32, too."""
    settings = torch.backends.cuda.matmul
    before = settings.allow_fp16_reduced_precision_reduction
    settings.allow_fp16_reduced_precision_reduction = False
    try:
        torch.mm(points_BD, centroids_KD.T, out=out_BK)
    finally:
        settings.allow_fp16_reduced_precision_reduction = before


FP32 = Product("fp32", _by_torch, torch.float32, torch.float32, torch.float32)
OPENBLAS = Product("fp32, numpy", _by_numpy, torch.float32, torch.float32, torch.float32)
BF16 = Product("bf16", _by_torch, torch.bfloat16, torch.bfloat16, torch.bfloat16)
BF16_SUMS = Product("bf16 with fp32 results", _by_onednn, torch.bfloat16, torch.float32, torch.float32)
FP16 = Product("fp16", _on_cuda, torch.float16, torch.float16, torch.float16)


def candidates(device: torch.device) -> list[Product]:
    """The ways that a device has. numpy's library counts where it has no more threads than torch."""
    if device.type == "cuda":
        return [FP16]  # as fast as bf16, with an eighth of its error
    numpy_threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    openblas = [OPENBLAS] if numpy_threads == str(torch.get_num_threads()) else []
    return [FP32, *openblas, BF16, BF16_SUMS]


def fastest(points: int, centroids_KD: Tensor, at_once: int) -> Product:
    """The way that is fastest for blocks of `at_once` points; where the work is small, fp32 without a look."""
    device = centroids_KD.device
    if device.type == "cpu" and points < _BLOCKS_WORTH_MEASURING * at_once:
        return FP32
    return _measured(device, (at_once, *centroids_KD.shape), torch.get_num_threads())


@cache
def _measured(device: torch.device, shape: tuple[int, int, int], threads: int) -> Product:
    """The fastest for (B, K, D) on so many threads, found once in a process."""
    ways = candidates(device)
    return ways[0] if len(ways) == 1 else min(ways, key=lambda way: _seconds(way, device, shape))


def _seconds(way: Product, device: torch.device, shape: tuple[int, int, int]) -> float:
    rows, columns, width = shape
    left, right = torch.ones(rows, width, device=device), torch.ones(columns, width, device=device)
    out = torch.empty(rows, columns, dtype=way.output, device=device)
    taken = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        way.multiply(way.operand(left), way.operand(right), out)
        largest(out), out.amax(1)  # what the search does with them
        taken.append(time.perf_counter() - start)
    return min(taken)
