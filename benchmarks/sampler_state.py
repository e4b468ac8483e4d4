"""Memory, time and exchange of the sampler's state and its k-means over several processes, beside one process.

    python3 benchmarks/sampler_state.py                            # 1,100,000 x 512, 25,000 clusters, 2 processes
    python3 benchmarks/sampler_state.py --utterances 20000 --clusters 1000 --processes 1 2
    python3 benchmarks/sampler_state.py --minutes 10               # as many iterations as that allows

Random embeddings are observed as in a pass, then an epoch is started: k-means, nearest clusters, draws. Processes of
this machine talk by gloo and share its processor. Bytes are those of the tensors handed to a collective: of an
all-reduce of b bytes over W processes each sends and receives 2 b (W - 1) / W.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import beside
import torch
from machine import product_rate, seconds, table
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.clustering import products
from sslsv_tk.clustering.assignment import Assignment
from sslsv_tk.clustering.kmeans import points_at_once
from sslsv_tk.distributed import collectives
from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig

MEGABYTE = 1e6
COLLECTIVES = ("all_reduce", "all_gather_into_tensor", "broadcast")
OBSERVED_AT_ONCE = 8192
PROBED = 4096
STEPS = 20


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--utterances", type=int, default=1_100_000, help="N (default: %(default)s)")
    parser.add_argument("--clusters", type=int, default=25_000, help="K, also rows of the queue (default: %(default)s)")
    parser.add_argument("--width", type=int, default=512, help="of embeddings and projections (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=10, help="updates at most (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="for k-means; fewer updates fit (%(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[2], help="one column for each (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="of all processes together (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="utterances of a step, of all processes (%(default)s)")
    return parser


@dataclass
class Exchange:
    """Counts what goes through the collectives of torch."""

    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLLECTIVES, 0))
    seconds: float = 0.0

    def watch(self) -> None:
        for name in COLLECTIVES:
            setattr(torch.distributed, name, self._counted(name, getattr(torch.distributed, name)))

    def _counted(self, name: str, call: Any) -> Any:
        def counted(tensor: Tensor, *more: Any) -> Any:
            start = time.perf_counter()
            done = call(tensor, *more)
            self.seconds += time.perf_counter() - start
            self.bytes[name] += tensor.numel() * tensor.element_size()
            return done

        return counted


def iterations_that_fit(options: argparse.Namespace, own: int) -> int:
    """By the time of one product of a part of the points with all centroids; one more assignment follows the last."""
    chunk = points_at_once(options.clusters, torch.device("cpu"))
    points = torch.randn(min(PROBED, own), options.width)
    centroids = torch.randn(options.clusters, options.width)
    probe = min(seconds(lambda: Assignment(points, products.FP32, chunk).update(centroids)) for _ in range(2))
    slowest = float(collectives.largest(torch.tensor([probe * own / len(points)], dtype=torch.float64)))
    return max(1, min(options.iterations, int(60 * options.minutes / slowest) - 1))


def observe_everyone(sampler: SSPSKMeans, width: int) -> None:
    """Random unit rows, the same on every process, as embeddings and as projections."""
    for number, utterance_B in enumerate(torch.arange(sampler.facts.utterances).split(OBSERVED_AT_ONCE)):
        generator = torch.Generator().manual_seed(number)
        rows_BD = normalize(torch.randn(len(utterance_B), width, generator=generator), dim=1)
        sampler.observe(rows_BD[None], utterance_B, rows_BD[None])
    sampler.end_pass(0)


def step_milliseconds(sampler: SSPSKMeans, batch: int, width: int) -> float:
    """Choices for this process's share of a batch, then the whole batch observed; the mean of some steps."""
    everyone = torch.randperm(sampler.facts.utterances, generator=torch.Generator().manual_seed(0)).split(batch)[:STEPS]
    start = time.perf_counter()
    for utterance_B in everyone:
        rows_SBD = torch.ones(1, len(utterance_B), width)
        own_B = collectives.own_share(utterance_B)
        sampler.replace(rows_SBD[:, : len(own_B)], own_B)
        sampler.observe(rows_SBD, utterance_B, rows_SBD)
    return 1e3 * (time.perf_counter() - start) / len(everyone)


def state_megabytes(sampler: SSPSKMeans) -> tuple[float, float]:
    """What this process alone holds, and what all hold."""
    shards = (*sampler.shard_names.sharded, *sampler.shard_names.summed)
    tensors = {name: value for name, value in sampler.whole_state().items() if isinstance(value, Tensor)}
    sizes = {name: value.numel() * value.element_size() / MEGABYTE for name, value in tensors.items()}
    own = sum(size for name, size in sizes.items() if name in shards)
    return own, sum(sizes.values()) - own


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def measure(options: argparse.Namespace) -> dict[str, float]:
    """In each of the processes: the figures of one column."""
    exchange, libraries = Exchange(), peak_megabytes()
    iterations = iterations_that_fit(options, len(collectives.own_rows(options.utterances)))
    facts = SamplerFacts(
        options.utterances, projection_dimension=options.width, embedding_dimension=options.width, slots=1
    )
    sampler = SSPSKMeans(SSPSKMeansConfig(clusters=options.clusters, iterations=iterations), facts)
    observing = seconds(lambda: observe_everyone(sampler, options.width))
    filled = peak_megabytes()
    collectives.summed(torch.ones(1))  # all begin together
    exchange.watch()
    start = time.perf_counter()
    numbers = sampler.start_epoch(0)
    starting = time.perf_counter() - start
    own, same = state_megabytes(sampler)
    reduced = exchange.bytes.pop("all_reduce") / MEGABYTE
    return {
        "state: own share of the embeddings, MB": own,
        "state: the same on all, MB": same,
        "memory before, libraries included, MB": libraries,
        "memory with the state filled, peak, MB": filled,
        "memory with k-means and draws, peak, MB": peak_megabytes(),
        "all utterances observed, s": observing,
        "epoch started, s": starting,
        "updates of the centroids": iterations,
        "one update (epoch / (updates + 1)), s": starting / (iterations + 1),
        "of which exchange, with waiting, s": exchange.seconds / (iterations + 1),
        "all-reduced in an update, MB": reduced / (iterations + 1),  # the first centroids take one more
        "gathered and sent in an epoch, MB": sum(exchange.bytes.values()) / MEGABYTE,
        "choose and observe a batch, ms": step_milliseconds(sampler, options.batch, options.width),
        "mean cosine with the centroid": numbers["kmeans_objective"],
    }


def work(rank: int, processes: int, options: argparse.Namespace, folder: str) -> None:
    torch.set_num_threads(max(1, options.threads // processes))
    if processes > 1:
        meeting = f"file://{folder}/meeting_{processes}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    torch.save(measure(options), Path(folder) / f"{processes}_{rank}.pt")
    if processes > 1:
        torch.distributed.destroy_process_group()


def column(processes: int, options: argparse.Namespace) -> dict[str, float]:
    """The largest figure of all processes, each by itself."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (processes, options, folder), nprocs=processes)
        found = [torch.load(Path(folder) / f"{processes}_{rank}.pt") for rank in range(processes)]
    return {name: max(each[name] for each in found) for name in found[0]}


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.clusters, options.width, options.iterations = 600, 20, 16, 2
        options.batch, options.processes = 64, [1, 2]
    torch.set_num_threads(options.threads)
    print(
        f"N {options.utterances}, D {options.width}, K {options.clusters}, {options.threads} threads of all processes "
        f"together, torch {torch.__version__}; of several processes the largest figure of one\n"
    )
    columns = {
        f"{processes} process{'es' * (processes > 1)}": column(processes, options) for processes in options.processes
    }
    names = next(iter(columns.values())).keys()
    rows = [[name, *(f"{figures[name]:.4g}" for figures in columns.values())] for name in names]
    rate = product_rate(side=64 if options.smoke else 4096)
    rows.append(["4096 x 4096 fp32 product, TFLOP/s", *(f"{rate:.3f}" for _ in columns)])
    print(table(["figure", *columns], rows))


if __name__ == "__main__":
    main()
