"""Stage 3 on wav files of 16 kHz: what digests and checksums cost, beside the same work without them.

    python3 benchmarks/packing.py

Files of noise lie in a temporary folder, so they come from the page cache, the worst case for the share of hashing.
Versions take turns in one process of one thread. Times are those of the processor; the least of the rounds counts.
"""

import argparse
import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
import torch
from corpus import RATE
from machine import product_rate, table

from sslsv_tk import block_sums, digests
from sslsv_tk.arks import sources
from sslsv_tk.kaldi import tables
from sslsv_tk.packing import pack
from sslsv_tk.packing.parts import Part, Wanted

SUMS = (block_sums.BlockSums, "update", lambda sums, piece: None)
SOURCES = (sources.SourceDigests, "add", lambda found, value, known=None: None)
STRETCHES = [
    (digests, "of_stretch", lambda contents: bytes(32)),
    (digests, "of_stretch_in", lambda stream, count: stream.read(count) and bytes(32)),
]
VERSIONS = {
    "no digests, no checksums": [SUMS, SOURCES, *STRETCHES],
    "checksums of blocks": [SOURCES, *STRETCHES],
    "and digests of entries": [SOURCES],
    "and digests of the files (as it is)": [],
}
"""What each version leaves out: the class or module, the name, and what stands in its place."""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=500, help="files (default: 500)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each (default: 8)")
    parser.add_argument("--folder", type=Path, help="where files are written (default: a temporary folder)")
    parser.add_argument("--repeats", type=int, default=8, help="rounds, of which the least counts (default: 8)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that it runs")
    return parser


def make_corpus(folder: Path, options: argparse.Namespace) -> Path:
    """A data directory of wav files."""
    (folder / "wav").mkdir()
    keys = [f"a-{number:05d}" for number in range(options.utterances)]
    samples = np.random.default_rng(0).integers(-8000, 8000, int(options.seconds * RATE), dtype=np.int16)
    for key in keys:
        soundfile.write(folder / f"wav/{key}.wav", samples, RATE)
    (folder / "data").mkdir()
    tables.write_table(folder / "data/wav.scp", keys, [str(folder / f"wav/{key}.wav") for key in keys])
    return folder / "data"


def cpu_seconds(data: Path, wanted: Wanted, version: str) -> float:
    """Of packing all into a new folder."""
    out = data.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        for where, name, instead in VERSIONS[version]:
            stack.enter_context(mock.patch.object(where, name, instead))
        if SOURCES in VERSIONS[version]:
            stack.enter_context(mock.patch.object(sources.SourceDigests, "write", lambda found, path: None))
        start = time.process_time()
        pack.pack_part(data, Part(out, 1, 1), wanted)
        return time.process_time() - start


def measure(data: Path, wanted: Wanted, options: argparse.Namespace) -> list[list[str]]:
    """A row for each version."""
    times: dict[str, list[float]] = {version: [] for version in VERSIONS}
    turns: list[Callable[[], None]] = [
        lambda version=version: times[version].append(cpu_seconds(data, wanted, version))  # type: ignore[misc]
        for version in VERSIONS
    ]
    for _ in range(options.repeats):
        for turn in turns:
            turn()
    least = {version: min(found) for version, found in times.items()}
    megabytes = options.utterances * options.seconds * 2 * RATE / 1e6
    without = least["no digests, no checksums"]
    kind = "copied" if wanted.copy else "in place"
    return [
        [f"{kind}: {version}", f"{megabytes / taken:,.0f}", f"{100 * (taken / without - 1):.0f} %"]
        for version, taken in least.items()
    ]


def main() -> None:
    options = get_parser().parse_args()
    if options.smoke:
        options.utterances, options.seconds, options.repeats, options.product_side = 3, 0.5, 1, 64
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        data = make_corpus(Path(name), options)
        rows = [row for copy in (True, False) for row in measure(data, Wanted(copy=copy), options)]
    rate = f"{product_rate(side=options.product_side):.3f}"
    print(f"{options.utterances} wav files of {options.seconds} s\n")
    header = ["work", "MB/s of the processor", "above no hashing", "product, TFLOP/s"]
    print(table(header, [[*row, rate] for row in rows]))


if __name__ == "__main__":
    main()
