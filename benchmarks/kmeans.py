"""Time of spherical k-means, beside a straightforward version and the rate of a plain matrix product.

    python3 benchmarks/kmeans.py                                        # 100,000 x 512, 2,500 clusters, 10 updates
    python3 benchmarks/kmeans.py --points 20000 --clusters 1000
    python3 benchmarks/kmeans.py --device cuda --points 1092009 --clusters 25000 --straightforward false

Points are drawn around as many centres as clusters, as embeddings of speakers are, and then at random. Where faiss is
installed it clusters the same points from the same beginning. TFLOP/s are those of all products; ours and faiss stop
where nothing changes any more, and ours leaves out products that cannot matter.
"""

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import beside
import torch
from machine import best_of, product_rate, product_rates
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.clustering import products
from sslsv_tk.clustering.kmeans import random_rows, spherical_kmeans


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--points", type=int, default=100_000, help="N (default: 100000)")
    parser.add_argument("--width", type=int, default=512, help="D (default: 512)")
    parser.add_argument("--clusters", type=int, default=2_500, help="K (default: 2500)")
    parser.add_argument("--iterations", type=int, default=10, help="updates of the centroids (default: 10)")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many, after one more (default: 1)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--straightforward", choices=["true", "false"], default="true", help="time the other one too")
    return parser


def straightforward_kmeans(points_ND: Tensor, initial_rows_K: Tensor, iterations: int) -> Tensor:
    """The whole matrix of similarities at once, and a scatter of every value; (N,) assignments."""
    centroids_KD = points_ND[initial_rows_K]
    for _ in range(iterations):
        assignments_N = (points_ND @ centroids_KD.T).argmax(dim=1)
        sums_KD = torch.zeros_like(centroids_KD)
        sums_KD.scatter_add_(0, assignments_N[:, None].expand(-1, points_ND.shape[1]), points_ND)
        centroids_KD = torch.where(sums_KD.norm(dim=1, keepdim=True) > 0, normalize(sums_KD, dim=1), centroids_KD)
    return (points_ND @ centroids_KD.T).argmax(dim=1)


def random_points(count: int, width: int, device: torch.device) -> Tensor:
    """(N, D) unit rows in no order at all."""
    generator = torch.Generator(device).manual_seed(1)
    return normalize(torch.randn(count, width, device=device, generator=generator), dim=1)


def clustered_points(count: int, width: int, clusters: int, device: torch.device) -> Tensor:
    """(N, D) unit rows around random centres; cosine with the own centre about 0.7."""
    generator = torch.Generator(device).manual_seed(0)
    centres = normalize(torch.randn(clusters, width, device=device, generator=generator), dim=1)
    which = torch.randint(clusters, (count,), device=device, generator=generator)
    noise = torch.randn(count, width, device=device, generator=generator) / width**0.5
    return normalize(centres[which] + noise, dim=1)


def faiss_kmeans(points_ND: Tensor, initial_rows_K: Tensor, options: argparse.Namespace) -> Callable[[], float]:
    """faiss with the same beginning and as many threads; its objective, the mean cosine that it ends with."""
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(options.threads)
    points = points_ND.numpy()

    def cluster() -> float:
        search = faiss.Kmeans(
            options.width,
            len(initial_rows_K),
            niter=options.iterations,
            spherical=True,
            max_points_per_centroid=len(points),
            min_points_per_centroid=1,
        )
        search.train(points, init_centroids=points[initial_rows_K.numpy()])
        similarities, _ = search.index.search(points, 1)  # of unit vectors: it searches by inner product
        return float(similarities.mean())

    return cluster


def measure(options: argparse.Namespace, points: Tensor, device: torch.device) -> list[list[str]]:
    """The rows of one cloud of points."""
    rows = random_rows(options.points, options.clusters, 0)
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: spherical_kmeans(points, rows, options.iterations).objective,
        "ours, fp32 products": lambda: spherical_kmeans(points, rows, options.iterations, products.FP32).objective,
    }
    if options.straightforward == "true":
        work["straightforward, fp32"] = lambda: straightforward_kmeans(points, rows, options.iterations)
    if device.type == "cpu" and importlib.util.find_spec("faiss") is not None:
        work["faiss"] = faiss_kmeans(points, rows, options)
    taken = best_of(work, options.repeats, device)
    flop = 2.0 * options.points * options.width * options.clusters * (options.iterations + 1)
    found = []
    for name, time in taken.items():
        objective = "" if name.startswith("straight") else f"{work[name]():.5f}"
        found.append([name, f"{time:.2f} s", f"{flop / time / 1e12:.3f} TFLOP/s", objective])
    return found


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.points, options.width, options.clusters, options.iterations, options.repeats = 200, 8, 10, 2, 1
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(
        f"{options.points} x {options.width}, {options.clusters} clusters, {options.iterations} updates and a final "
        f"assignment, {device}, {options.threads} threads, torch {torch.__version__}"
    )
    side = 64 if options.smoke else 4096
    print(f"| 4096 x 4096 product, fp32 | {product_rate(device, side):.3f} TFLOP/s |")
    for name, rate in product_rates("bf16", device, side).items():
        print(f"| the same, {name} | {rate:.3f} TFLOP/s |")
    clouds = {
        "": clustered_points(options.points, options.width, options.clusters, device),
        "random points: ": random_points(options.points, options.width, device),
    }
    for cloud, points in clouds.items():
        for name, *cells in measure(options, points, device):
            print(f"| {cloud}{name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
