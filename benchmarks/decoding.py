"""Utterances per second decoded from m4a on one core: many files by one ffmpeg process, and one process per file.

    python3 benchmarks/decoding.py

Audio is tones and noise as AAC in a temporary folder, so it comes from the page cache. The last column is what the
container alone gives: lengths without decoding, as stage 1 reads them.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import beside
import numpy as np
import soundfile
import torch
from corpus import RATE
from machine import best_of, product_rate, table
from numpy.typing import NDArray

from sslsv_tk.audio.decoding import decode
from sslsv_tk.audio.headers import read_header
from sslsv_tk.audio.waveforms import Source


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--utterances", type=int, default=256, help="files (default: 256)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each (default: 8)")
    parser.add_argument(
        "--rates", type=int, nargs="+", default=[RATE, 44_100], help="sampling rates (default: 16000 44100)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the fastest counts (default: 3)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    return parser


def make_corpus(folder: Path, options: argparse.Namespace, rate: int) -> list[Path]:
    """Files of the same content under different names."""
    time = np.arange(int(options.seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(size=len(time)) / 50
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (150.0, 450.0, 1800.0)) / 8
    source, first = folder / f"{rate}.wav", folder / f"{rate}-00000.m4a"
    soundfile.write(source, tones * (1 + np.sin(2 * np.pi * 3 * time)) / 2 + noise, rate)
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c:a", "aac", "-b:a", "64k", first], check=True)
    paths = [folder / f"{rate}-{number:05d}.m4a" for number in range(options.utterances)]
    for path in paths[1:]:
        path.write_bytes(first.read_bytes())
    return paths


def one_process_each(paths: list[Path]) -> list[NDArray[np.int16]]:
    """The straightforward way: ffmpeg on one file after the other, resampling as it goes."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i"]
    output = ["-f", "s16le", "-ac", "1", "-ar", str(RATE), "pipe:1"]
    return [
        np.frombuffer(subprocess.run([*command, path, *output], capture_output=True, check=True).stdout, np.int16)
        for path in paths
    ]


def ours(paths: list[Path]) -> list[NDArray[np.int16]]:
    found = [waveform for _, waveform in decode(Source(str(path)) for path in paths)]
    return [waveform for waveform in found if isinstance(waveform, np.ndarray)]


def measure(folder: Path, options: argparse.Namespace, rate: int) -> list[str]:
    """The row of a sampling rate; both ways must give the same lengths but for what ffmpeg does not trim."""
    paths = make_corpus(folder, options, rate)
    short, long = len(ours(paths[:1])[0]), len(one_process_each(paths[:1])[0])
    if not 0 <= long - short < 1024 * RATE / rate + 2:
        raise ValueError(f"{rate} Hz: {short} samples by us and {long} by ffmpeg alone.")
    versions = {
        "ours": lambda: ours(paths),
        "each": lambda: one_process_each(paths),
        "headers": lambda: [read_header(str(path)) for path in paths],
    }
    taken = best_of(versions, options.repeats)
    rates = [f"{len(paths) / taken[name]:,.0f}" for name in ("ours", "each")]
    return [f"{rate} Hz", *rates, f"{taken['each'] / taken['ours']:.2f}", f"{len(paths) / taken['headers']:,.0f}"]


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.seconds, options.repeats, options.product_side = 3, 0.5, 1, 64
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        rows = [measure(Path(name), options, rate) for rate in options.rates]
    rate = f"{product_rate(side=options.product_side):.3f}"
    print(f"{options.utterances} m4a files of {options.seconds} s\n")
    header = ["m4a at", "ours, utterances/s", "a process each, utterances/s", "ratio", "headers alone, files/s"]
    print(table([*header, "product, TFLOP/s"], [[*row, rate] for row in rows]))


if __name__ == "__main__":
    main()
