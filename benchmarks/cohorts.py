"""Time and private memory of AS-norm statistics over a cohort in arks, beside the bare product and a sort.

    python3 benchmarks/cohorts.py                       # 4,708 embeddings, a cohort of 100,000, the 300 nearest
    python3 benchmarks/cohorts.py --cohort 1092009      # as many as VoxCeleb2 has: 2.3 GB in the temporary folder

The cohort is read from Kaldi vectors in blocks. The sort, of all scores at once, is made for 50 embeddings and scaled.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import beside
import kaldiio
import numpy as np
from machine import SHARE_HEADER, best_of, share_rows, table
from numpy.typing import NDArray

from sslsv_tk.arks.vectors import vector_blocks
from sslsv_tk.scoring.cohorts import CohortStatistics, cohort_statistics
from sslsv_tk.scoring.cosine import unit_length

SORTED_ROWS = 50
WRITTEN_AT_ONCE = 20_000
Singles = NDArray[np.float32]


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--rows", type=int, default=4_708, help="embeddings (default: 4708, those of VoxCeleb1-O)")
    parser.add_argument("--cohort", type=int, default=100_000, help="rows of the cohort (default: 100000)")
    parser.add_argument("--width", type=int, default=512, help="D (default: 512)")
    parser.add_argument("--nearest", type=int, default=300, help="N (default: 300)")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many, after one more (default: 1)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    return parser


def write_cohort(folder: Path, rows: int, width: int) -> Path:
    """Random vectors of speakers with noise as an ark and its table."""
    generator = np.random.default_rng(0)
    speakers = generator.standard_normal((max(1, rows // 180), width)).astype(np.float32)
    for first in range(0, rows, WRITTEN_AT_ONCE):
        count = min(WRITTEN_AT_ONCE, rows - first)
        vectors = speakers[generator.integers(0, len(speakers), count)]
        vectors += generator.standard_normal((count, width), dtype=np.float32)
        keyed = {f"c{first + row:07d}": vector for row, vector in enumerate(vectors)}
        kaldiio.save_ark(str(folder / "xvector.ark"), keyed, scp=str(folder / "xvector.scp"), append=first > 0)
    return folder / "xvector.scp"


class PrivateMemory:
    """The most private memory of this process, looked at whenever a block is read."""

    def __init__(self) -> None:
        self.most = 0

    def watching(self, blocks: Iterator[Singles]) -> Iterator[Singles]:
        for block in blocks:
            status = Path("/proc/self/status").read_text()
            kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
            self.most = max(self.most, int(kilobytes))
            yield block


def sorted_statistics(embeddings: Singles, scp: Path, nearest: int) -> CohortStatistics:
    """All scores at once, sorted."""
    unit = unit_length(embeddings)
    scores = np.sort(np.concatenate([unit @ unit_length(block).T for block in vector_blocks(scp)], axis=1), axis=1)
    return CohortStatistics(scores[:, -nearest:].mean(1), scores[:, -nearest:].std(1))


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.rows, options.cohort, options.width, options.nearest, options.product_side = 20, 300, 8, 10, 64
    embeddings = np.random.default_rng(1).standard_normal((options.rows, options.width)).astype(np.float32)
    memory = PrivateMemory()
    with tempfile.TemporaryDirectory() as name:
        scp = write_cohort(Path(name), options.cohort, options.width)
        some = embeddings[:SORTED_ROWS]
        found = cohort_statistics(some, vector_blocks(scp), options.nearest)
        if not np.allclose(found, sorted_statistics(some, scp, options.nearest), atol=1e-4):
            raise ValueError("The statistics are not those of the sort.")
        work = {
            "statistics": lambda: cohort_statistics(embeddings, memory.watching(vector_blocks(scp)), options.nearest),
            "bare product": lambda: [embeddings @ block.T for block in vector_blocks(scp, 2**12)],
            "sort": lambda: sorted_statistics(some, scp, options.nearest),
        }
        taken = best_of(work, options.repeats)
    taken["sort"] *= options.rows / len(some)
    print(f"{options.rows} x {options.width}, a cohort of {options.cohort}, the {options.nearest} nearest\n")
    rows = [[name, f"{time:.3g}", f"{time / taken['bare product']:.2f}"] for name, time in taken.items()]
    print(table(["work", "s", "/ bare product"], rows))
    print(f"| private memory at most, MB | {memory.most / 1024:.0f} |\n")
    flop = 2.0 * options.rows * options.cohort * options.width
    shares = {"statistics": ("fp32", flop, taken["statistics"])}
    print(table(SHARE_HEADER, share_rows(shares, side=options.product_side)))


if __name__ == "__main__":
    main()
