"""Segments per second that one core reads from features in arks, beside kaldiio's full read.

    python3 benchmarks/feature_reading.py

Ours reads the frames of the segment alone, of float32 and of 16-bit matrices; kaldiio reads the whole utterance, of
which the segment is then cut. Features are noise, 8 s an utterance, in a temporary folder, so they come from the page
cache. For comparison, segments of packed audio, of which frames would yet have to be computed.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import beside
import kaldiio
import numpy as np
import torch
from corpus import RATE, pack
from machine import best_of, product_rate, table
from numpy.typing import NDArray

from sslsv_tk.arks import matrices
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.arks.feature_archive import FeatureArchive
from sslsv_tk.kaldi import tables

FRAME_RATE, BANDS = 100, 40
KINDS: dict[str, matrices.Compression] = {"float32 (FM)": "none", "16-bit (CM2)": "cm2"}


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--utterances", type=int, default=2000, help="utterances (default: 2000)")
    parser.add_argument("--utterance-seconds", type=float, default=8.0, help="length of each (default: 8)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a segment (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="passes, of which the fastest counts (default: 3)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    return parser


def write_features(folder: Path, utterances: int, seconds: float, compression: matrices.Compression) -> Path:
    """Noise of the level of log-mel frames as stage 3 leaves it."""
    folder.mkdir()
    frames = int(seconds * FRAME_RATE) + 1
    generator, places = np.random.default_rng(0), []
    keys = [f"utterance-{row:06d}" for row in range(utterances)]
    with open(folder / "feats.ark", "wb") as stream:
        for key in keys:
            stream.write(key.encode() + b" ")
            places.append(f"{folder / 'feats.ark'}:{stream.tell()}")
            matrix = generator.normal(-5, 4, (frames, BANDS)).astype(np.float32)
            stream.write(matrices.encode(matrix, compression))
    tables.write_table(folder / "feats.scp", keys, places)
    tables.write_table(folder / "utt2num_frames", keys, np.full(utterances, frames))
    return folder


def ours(archive: FeatureArchive | AudioArchive, starts: NDArray[np.int64], count: int) -> Callable[[], None]:
    """One segment of every utterance."""

    def work() -> None:
        for row, start in enumerate(starts.tolist()):
            archive.read_looped(row, start, count)

    return work


def whole(folder: Path, starts: NDArray[np.int64], count: int) -> Callable[[], None]:
    """One segment of every utterance, cut of what kaldiio reads; arks stay open."""
    scp = kaldiio.load_scp(str(folder / "feats.scp"), max_cache_fd=4)
    keys = list(scp)

    def work() -> None:
        for key, start in zip(keys, starts.tolist(), strict=True):
            np.array(scp[key][start : start + count])

    return work


def measure(folder: Path, options: argparse.Namespace) -> list[list[str]]:
    """A row for each kind of features, and one for packed audio."""
    generator = np.random.default_rng(1)
    spare = options.utterance_seconds - options.seconds
    places = generator.uniform(0, spare, options.utterances)
    starts, count = (places * FRAME_RATE).astype(np.int64), int(options.seconds * FRAME_RATE) + 1
    rows = []
    for name, compression in KINDS.items():
        made = write_features(folder / compression, options.utterances, options.utterance_seconds, compression)
        versions = {"ours": ours(FeatureArchive(made), starts, count), "kaldiio": whole(made, starts, count)}
        taken = best_of(versions, options.repeats)
        rates = [f"{options.utterances / taken[version]:,.0f}" for version in ("ours", "kaldiio")]
        size = (made / "feats.ark").stat().st_size / options.utterances / options.utterance_seconds / 1000
        rows.append([name, *rates, f"{taken['kaldiio'] / taken['ours']:.2f}", f"{size:.1f}"])
    audio = AudioArchive(pack(folder / "audio", [options.utterance_seconds] * options.utterances))
    work = ours(audio, (places * RATE).astype(np.int64), int(options.seconds * RATE))
    rate = options.utterances / best_of({"audio": work}, options.repeats)["audio"]
    rows.append(["packed audio", f"{rate:,.0f}", "-", "-", f"{2 * RATE / 1000:.1f}"])
    return rows


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.utterance_seconds, options.seconds = 5, 0.5, 0.2
        options.repeats, options.product_side = 1, 64
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), options)
    product = f"{product_rate(side=options.product_side):.3f}"
    print(f"segments of {options.seconds} s of utterances of {options.utterance_seconds} s, {BANDS} bands, one core\n")
    header = ["entries", "ours, segments/s", "kaldiio, segments/s", "ratio", "kB per second of audio"]
    print(table([*header, "product, TFLOP/s"], [[*row, product] for row in rows]))


if __name__ == "__main__":
    main()
