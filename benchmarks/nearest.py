"""Time to find the nearest others of every point, beside the bare product of all with all and a search row by row.

    python3 benchmarks/nearest.py             # 20,000 points of 512 values, the 2 nearest
    python3 benchmarks/nearest.py --points 145569 --device cuda     # the recordings of VoxCeleb2

Time grows with the square of the points. `normalised` looks at every pair twice: for the cohorts and for the search.
"""

import argparse

import beside
import torch
from machine import best_of, product_rate, table
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.clustering.neighbours import cohort_of, nearest_others

ROWS = 200  # of the search row by row, which is timed for so many


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--points", type=int, default=20_000, help="N (default: 20000)")
    parser.add_argument("--width", type=int, default=512, help="D (default: 512)")
    parser.add_argument("--nearest", type=int, default=2, help="k (default: 2)")
    parser.add_argument(
        "--cohort", type=int, default=50, help="others by which similarities are normalised (default: 50)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    return parser


def row_by_row(points_ND: Tensor, count: int) -> Tensor:
    """(ROWS, k) the nearest others of the first rows, each by a product and a sort of its own."""
    found = []
    for row in range(min(ROWS, len(points_ND))):
        cosines_N = points_ND @ points_ND[row]
        cosines_N[row] = -torch.inf
        found.append(cosines_N.argsort(descending=True)[:count])
    return torch.stack(found)


def bare_product(points_ND: Tensor) -> None:
    """All cosines, a part at a time, kept by nobody."""
    for part in points_ND.split(1024):
        part @ points_ND.T


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.points, options.width, options.repeats = 500, 16, 1
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    torch.manual_seed(0)
    points_ND = normalize(torch.randn(options.points, options.width, device=device), dim=1)
    search = nearest_others(points_ND, options.nearest)
    assert torch.equal(search.index_NK[:ROWS].cpu(), row_by_row(points_ND, options.nearest).cpu())
    times = best_of(
        {
            "nearest": lambda: nearest_others(points_ND, options.nearest),
            "normalised": lambda: nearest_others(points_ND, options.nearest, cohort_of(points_ND, options.cohort)),
            "bare product": lambda: bare_product(points_ND),
            "row by row": lambda: row_by_row(points_ND, options.nearest),
        },
        options.repeats,
        device,
    )
    times["row by row"] *= options.points / min(ROWS, options.points)
    print(f"{options.points} x {options.width}, k {options.nearest}, cohort {options.cohort}, {device}\n")
    rate = product_rate(device, 512 if options.smoke else 4096)
    rows = [[name, f"{time:.3g}", f"{time / times['bare product']:.2f}"] for name, time in times.items()]
    rows.append(["4096 x 4096 fp32 product", f"{rate:.3g} TFLOP/s", ""])
    print(table(["search", "s", "/ bare product"], rows))


if __name__ == "__main__":
    main()
