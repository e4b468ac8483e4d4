"""What a process needs when 1, 8 or 64 train on 1 to 100 million utterances: memory, bytes read, communication.

    python3 benchmarks/scaling.py                    # ssps_kmeans with Fast ResNet-34, the batch 256 a process
    python3 benchmarks/scaling.py --encoder ecapa_tdnn --rate 500

Nothing of that size is run. The sampler of each process is built on torch's device without memory, with the ranks of a
run of so many processes, so that its tensors have the sizes that they would have; what it prepares for an epoch is
measured at --measured utterances, and grows with them in proportion. Communication follows from the sizes of what is
handed to collectives (over W processes each sends 2 (W - 1) / W of an all-reduce). Bytes read and seconds start from
--rate, utterances a second that a process trains on, which must be measured (benchmarks/training_step.py).
"""

import argparse
import contextlib
from collections.abc import Iterator
from unittest import mock

import beside
import torch
from machine import product_rate, table
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk import registry
from sslsv_tk.distributed import collectives
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig
from sslsv_tk.segments import REFERENCE

WIDTH = 512
VIEW_SECONDS = 2 * 2.0
BYTES_PER_SECOND = 32_000  # of 16-bit audio at 16 kHz
UTTERANCES_PER_CLUSTER = 44  # K 25,000 of 1.09 M, as the paper has it
UPDATES = 10
GIGABYTE, MEGABYTE = 1e9, 1e6


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--encoder", default="fast_resnet34", help="whose gradients are summed (default: %(default)s)")
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10, 100], help="of utterances (1 10 100)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 8, 64], help="(default: 1 8 64)")
    parser.add_argument(
        "--batch", type=int, default=256, help="utterances of a process in a step (default: %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=2000.0, help="utterances/s of a process, assumed (%(default)s)")
    parser.add_argument("--measured", type=int, default=100_000, help="utterances of the measured epoch (%(default)s)")
    return parser


@contextlib.contextmanager
def as_one_of(processes: int) -> Iterator[None]:
    """As the first of so many processes, which do not exist: enough for sizes."""
    with (
        mock.patch.object(collectives, "processes", lambda: processes),
        mock.patch.object(collectives, "rank", lambda: 0),
    ):
        yield


def make(utterances: int, device: str) -> SSPSKMeans:
    """The sampler with the paper's settings, for embeddings that are stored in 16 bits."""
    clusters = max(2, utterances // UTTERANCES_PER_CLUSTER)
    facts = SamplerFacts(utterances, 0, torch.device(device), WIDTH, WIDTH)
    return SSPSKMeans(SSPSKMeansConfig(clusters=clusters, iterations=1, reference_dtype="float16"), facts)


def size(tensors: dict[str, Tensor]) -> int:
    """Bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def of_state(utterances: int, processes: int) -> tuple[int, int]:
    """Bytes of the sampler's state that one process alone holds, and that all hold alike."""
    with as_one_of(processes):
        sampler = make(utterances, "meta")
        state = {name: value for name, value in sampler.whole_state().items() if isinstance(value, Tensor)}
    own = {name: value for name, value in state.items() if name in sampler.shard_names.sharded}
    return size(own), size(state) - size(own)


def of_epoch(measured: int) -> float:
    """Bytes for each utterance of what is prepared for an epoch besides the state: members, their tree, draws."""
    sampler = make(measured, "cpu")
    everyone = torch.arange(measured)
    for utterance_B in everyone.split(4096):
        rows_BD = normalize(torch.randn(len(utterance_B), WIDTH), dim=1)
        sampler.observe(rows_BD[None], utterance_B, rows_BD[None])
    sampler.end_pass(0)
    sampler.start_epoch(0)
    members = sampler._draws._members
    prepared = {**tensors_of(sampler._draws), **tensors_of(members), **tensors_of(members.marked)}
    kept = {id(value) for value in sampler.whole_state().values()}
    return size({name: value for name, value in prepared.items() if id(value) not in kept}) / measured


def tensors_of(thing: object) -> dict[str, Tensor]:
    return {f"{type(thing).__name__}.{name}": value for name, value in vars(thing).items() if isinstance(value, Tensor)}


def parameters_of(encoder: str) -> int:
    with torch.device("meta"):
        cls = registry.find("sslsv_tk.encoders", encoder, Encoder)
        return sum(parameter.numel() for parameter in cls(cls.Config()).parameters())


def row(millions: float, processes: int, options: argparse.Namespace, per_utterance: float) -> list[str]:
    """One line of the table."""
    utterances = int(millions * 1e6)
    own, alike = of_state(utterances, processes)
    clusters = max(2, utterances // UTTERANCES_PER_CLUSTER)
    sent = 2 * (processes - 1) / processes
    gradients = parameters_of(options.encoder) * 4 * sent
    rows = (
        options.batch * (processes - 1) * (2 * WIDTH * 4 + WIDTH * 4 + 8)
    )  # both views' embeddings, a reference, a name
    centroids = clusters * WIDTH * 4
    work = 2 * utterances * clusters * WIDTH * (UPDATES + 1) / processes
    seconds = (VIEW_SECONDS + REFERENCE.seconds) * BYTES_PER_SECOND * options.rate
    return [
        f"{millions:g}",
        str(processes),
        f"{clusters:,}",
        f"{own / GIGABYTE:.2f}",
        f"{(alike + per_utterance * utterances) / GIGABYTE:.2f}",
        f"{seconds / MEGABYTE:,.0f}",
        f"{utterances / options.rate / processes / 60:,.1f}",
        f"{(gradients + rows) / MEGABYTE:,.1f}",
        f"{(UPDATES * centroids * sent + utterances * 4 * (processes - 1) / processes) / GIGABYTE:,.2f}",
        f"{work / 1e15:,.3f}",
    ]


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.millions, options.processes, options.measured = [0.01], [1, 2], 2000
    per_utterance = of_epoch(options.measured)
    print(
        f"ssps_kmeans, D {WIDTH}, 16-bit references, K = N / {UTTERANCES_PER_CLUSTER}, queue of K, {UPDATES} updates; "
        f"{options.encoder}, {parameters_of(options.encoder):,} parameters, batch {options.batch} x processes; "
        f"{options.rate:g} utterances/s of a process are assumed; what an epoch prepares: {per_utterance:.0f} bytes an "
        f"utterance, measured at {options.measured:,}\n"
    )
    header = ["million utterances", "processes", "K", "own share of references, GB", "the same on all, GB"]
    header += [
        "read, MB/s a process",
        "epoch, min",
        "a step sends, MB",
        "k-means sends, GB",
        "k-means, PFLOP a process",
    ]
    print(table(header, [row(n, w, options, per_utterance) for n in options.millions for w in options.processes]))
    print(f"\n4096 x 4096 fp32 product, TFLOP/s here: {product_rate(side=64 if options.smoke else 4096):.3f}")


if __name__ == "__main__":
    main()
