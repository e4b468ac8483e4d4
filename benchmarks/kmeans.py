"""Time of spherical k-means, beside a straightforward version and the rate of a plain matrix product.

    python3 benchmarks/kmeans.py                                        # 100,000 x 512, 2,500 clusters, 10 updates
    python3 benchmarks/kmeans.py --points 20000 --clusters 1000
    python3 benchmarks/kmeans.py --device cuda --points 1092009 --clusters 25000 --straightforward false

Points are drawn around as many centres as clusters, as embeddings of speakers are.
"""

import argparse
from collections.abc import Callable

import torch
from machine import product_rate, seconds
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.clustering.kmeans import random_rows, spherical_kmeans


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000, help="N (default: 100000)")
    parser.add_argument("--width", type=int, default=512, help="D (default: 512)")
    parser.add_argument("--clusters", type=int, default=2_500, help="K (default: 2500)")
    parser.add_argument("--iterations", type=int, default=10, help="updates of the centroids (default: 10)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--straightforward", choices=["true", "false"], default="true", help="time the other one too")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that it runs")
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


def clustered_points(count: int, width: int, clusters: int, device: torch.device) -> Tensor:
    """(N, D) unit rows around random centres; cosine with the own centre about 0.7."""
    generator = torch.Generator(device).manual_seed(0)
    centres = normalize(torch.randn(clusters, width, device=device, generator=generator), dim=1)
    which = torch.randint(clusters, (count,), device=device, generator=generator)
    noise = torch.randn(count, width, device=device, generator=generator) / width**0.5
    return normalize(centres[which] + noise, dim=1)


def main() -> None:
    options = get_parser().parse_args()
    if options.smoke:
        options.points, options.width, options.clusters, options.iterations = 200, 8, 10, 2
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    points = clustered_points(options.points, options.width, options.clusters, device)
    rows = random_rows(options.points, options.clusters, 0)
    work: dict[str, Callable[[], object]] = {
        "ours, fp32": lambda: spherical_kmeans(points, rows, options.iterations),
        "ours, bf16 products": lambda: spherical_kmeans(points, rows, options.iterations, "bf16"),
    }
    if options.straightforward == "true":
        work["straightforward, fp32"] = lambda: straightforward_kmeans(points, rows, options.iterations)
    print(
        f"{options.points} x {options.width}, {options.clusters} clusters, {options.iterations} updates and a final "
        f"assignment, {device}, {options.threads} threads, torch {torch.__version__}"
    )
    print(f"| 4096 x 4096 product, fp32 | {product_rate(device, 64 if options.smoke else 4096):.3f} TFLOP/s |")
    products = 2.0 * options.points * options.width * options.clusters * (options.iterations + 1)
    for name, call in work.items():
        taken = seconds(call, device)
        print(f"| {name} | {taken:.2f} s | {products / taken / 1e12:.3f} TFLOP/s |", flush=True)


if __name__ == "__main__":
    main()
