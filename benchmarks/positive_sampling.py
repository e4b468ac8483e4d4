"""Time to choose the pseudo-positives of a batch, beside a Python loop over the batch and a plain matrix product.

    python3 benchmarks/positive_sampling.py             # N 1,092,009, K 25,000, M 1, queue 25,000, batch 256
    python3 benchmarks/positive_sampling.py --device cuda

Clusters are random; utterances come in a random order, as in training. Both versions choose among the members that
are queued and gather their projections; the time to queue the batch's own projections is given apart. The loop takes
every anchor by itself and searches the queue for members of the drawn cluster.
"""

import argparse
import statistics
from collections.abc import Callable

import beside
import torch
from machine import product_rate, seconds
from torch import Tensor

from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig

WIDTH = 512
EMBEDDING = 8  # of the reference embeddings, which play no part here


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--utterances", type=int, default=1_092_009, help="N (default: 1092009)")
    parser.add_argument("--clusters", type=int, default=25_000, help="K (default: 25000)")
    parser.add_argument("--neighbours", type=int, default=1, help="M (default: 1)")
    parser.add_argument("--queue-size", type=int, default=25_000, help="default: 25000")
    parser.add_argument("--batch", type=int, default=256, help="utterances per step (default: 256)")
    parser.add_argument("--steps", type=int, default=200, help="steps to time (default: 200; the loop: 10)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    return parser


def clustered_sampler(options: argparse.Namespace, device: torch.device) -> SSPSKMeans:
    """A sampler in its first epoch with random clusters, which are handed over as a checkpoint is."""
    settings = SSPSKMeansConfig(clusters=options.clusters, neighbours=options.neighbours, queue_size=options.queue_size)
    facts = SamplerFacts(options.utterances, 0, device, WIDTH, EMBEDDING)
    sampler = SSPSKMeans(settings, facts)
    state = sampler.state_dict()
    state["clusters.assignments_N"] = torch.randint(options.clusters, (options.utterances,), dtype=torch.int32)
    shift = 1 + torch.arange(options.neighbours)
    state["clusters.neighbours_KM"] = ((torch.arange(options.clusters)[:, None] + shift) % options.clusters).int()
    sampler.load_state_dict({**state, "filling.epoch": 0})
    return sampler


def loop_over_the_batch(sampler: SSPSKMeans, positives_BP: Tensor, utterance_B: Tensor) -> tuple[Tensor, Tensor]:
    """The same choice written down anchor by anchor: search the queue for the drawn cluster, draw one found."""
    replaced_BP, chosen_B = positives_BP.clone(), utterance_B.clone()
    queued = sampler.queue.owner
    cluster_of_queued = sampler.clusters.assignments_N[queued]
    for i, utterance in enumerate(utterance_B):
        neighbours = sampler.clusters.neighbours_KM[sampler.clusters.assignments_N[utterance]]
        if len(neighbours) == 0:
            cluster = sampler.clusters.assignments_N[utterance]
        else:
            cluster = neighbours[torch.randint(len(neighbours), ())]
        slots = ((cluster_of_queued == cluster) & (queued != utterance)).nonzero()[:, 0]
        if len(slots) > 0:
            slot = slots[torch.randint(len(slots), ())]
            chosen_B[i] = queued[slot]
            replaced_BP[i] = sampler.queue.rows[slot, 0]
    return replaced_BP, chosen_B


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, to the end of what it started on the device."""
    return 1e3 * seconds(work, device)


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.clusters, options.queue_size, options.batch, options.steps = 400, 10, 100, 8, 5
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    sampler = clustered_sampler(options, device)
    batches = torch.randperm(options.utterances, device=device).split(options.batch)
    fill = max(1, options.queue_size // options.batch + 1)
    reference = torch.zeros(1, options.batch, EMBEDDING, device=device)
    times: dict[str, list[float]] = {"replace": [], "observe": [], "loop": []}
    coverage = []
    for step, utterances in enumerate(batches[: fill + options.steps]):
        positives = torch.randn(1, len(utterances), WIDTH, device=device)
        replacing = milliseconds(lambda p=positives, u=utterances: sampler.replace(p, u), device)
        if step >= fill:
            times["replace"].append(replacing)
            coverage.append(float((sampler.replace(positives, utterances)[1] != utterances).float().mean()))
        if fill <= step < fill + 10:
            loop = milliseconds(lambda p=positives, u=utterances: loop_over_the_batch(sampler, p[0], u), device)
            times["loop"].append(loop)
        rows = reference[:, : len(utterances)]
        observing = milliseconds(lambda p=positives, u=utterances, r=rows: sampler.observe(p, u, r), device)
        times["observe"].append(observing)
    print(
        f"N {options.utterances}, K {options.clusters}, M {options.neighbours}, queue {options.queue_size}, batch "
        f"{options.batch}, {device}, {options.threads} threads, torch {torch.__version__}; medians"
    )
    print(f"| 4096 x 4096 product, fp32 | {product_rate(device, 64 if options.smoke else 4096):.3f} TFLOP/s |")
    print(f"| choose and replace a batch | {statistics.median(times['replace']):.3f} ms |")
    print(f"| observe a batch (queue, members) | {statistics.median(times['observe']):.3f} ms |")
    print(f"| loop over the batch | {statistics.median(times['loop']):.1f} ms |")
    print(f"| replaced | {100 * statistics.mean(coverage):.1f} % |")


if __name__ == "__main__":
    main()
