"""Seconds of audio per second through log-mel and normalisation, beside torchaudio's transform.

    python3 benchmarks/front_end.py              # 64 segments of 2 s on 1 and on 2 threads
    python3 benchmarks/front_end.py --device cuda

The other version is torchaudio.transforms.MelSpectrogram, a logarithm, and mean and deviation of each band.
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import beside
import torch
from machine import best_of, product_rate, table
from torch import Tensor

from sslsv_tk.frontend.logmel import LogMel
from sslsv_tk.frontend.settings import LogMelConfig


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--segments", type=int, default=64, help="segments of a batch (default: 64)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a segment (default: 2)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="processor threads (default: 1 2)")
    parser.add_argument("--repeats", type=int, default=10, help="calls, of which the fastest counts (default: 10)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    return parser


def torchaudio() -> ModuleType:
    """The reference; where it does not load, the script ends with the line that says which pair does."""
    try:
        return importlib.import_module("torchaudio")
    except (ImportError, OSError) as error:
        command = [sys.executable, Path(__file__).resolve().parents[1] / "tools/environment.py", "torchaudio"]
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        raise SystemExit(line or str(error)) from None


def straightforward_logmel(config: LogMelConfig) -> Callable[[Tensor], Tensor]:
    """The same frames by torchaudio."""
    window = torch.hamming_window if config.window == "hamming" else torch.hann_window
    spectrogram = torchaudio().transforms.MelSpectrogram(
        16_000, n_fft=config.transform_points, win_length=400, hop_length=160, n_mels=config.bands, window_fn=window
    )

    def logmel(waveform_BT: Tensor) -> Tensor:
        frames = torch.log(spectrogram.to(waveform_BT.device)(waveform_BT) + config.floor)
        mean, variance = frames.mean(-1, keepdim=True), frames.var(-1, keepdim=True, unbiased=False)
        return (frames - mean) / torch.sqrt(variance + config.deviation_floor)

    return logmel


def measure(options: argparse.Namespace, threads: int) -> list[str]:
    """The row of a number of threads."""
    torch.set_num_threads(threads)
    device, config = torch.device(options.device), LogMelConfig()
    samples = int(options.seconds * 16_000)
    waveform = 0.1 * torch.randn(options.segments, samples, generator=torch.Generator().manual_seed(0)).to(device)
    ours, other = LogMel(config).to(device), straightforward_logmel(config)
    difference = float((ours(waveform) - other(waveform)).abs().max())
    if difference > 1e-2:
        raise ValueError(f"The two versions differ by {difference}.")
    taken = best_of({"ours": lambda: ours(waveform), "other": lambda: other(waveform)}, options.repeats, device)
    audio, rate = options.segments * options.seconds, product_rate(device, options.product_side)
    figures = [f"{audio / taken['ours']:,.0f}", f"{audio / taken['other']:,.0f}"]
    return [str(threads), *figures, f"{taken['other'] / taken['ours']:.2f}", f"{rate:.3f}"]


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.segments, options.seconds, options.repeats, options.product_side = 2, 0.1, 1, 64
    rows = [measure(options, threads) for threads in options.threads]
    print(f"{options.segments} x {options.seconds} s, {options.device}, torch {torch.__version__}\n")
    print(table(["threads", "ours, audio-s/s", "torchaudio, audio-s/s", "ratio", "product, TFLOP/s"], rows))


if __name__ == "__main__":
    main()
