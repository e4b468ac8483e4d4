"""Milliseconds for the embedding of a full utterance, 6.4 s in the mean, beside a straightforward version.

    python3 benchmarks/extraction.py
    python3 benchmarks/extraction.py --encoder ecapa_tdnn
    python3 benchmarks/extraction.py --device cuda

Both read packed audio from a temporary folder, lengths between 4 and 8.8 s. The other version takes utterances with
kaldiio, features with torchaudio, and Fast ResNet-34 in the usual memory layout.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import beside
import kaldiio
import numpy as np
import torch
from corpus import pack
from front_end import straightforward_logmel
from machine import SHARE_HEADER, best_of, product_rate, share_rows, table
from torch.utils.flop_counter import FlopCounterMode
from training_step import UsualLayout, encoder_config

from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.blocks import BLOCK
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.encoders.ecapa_tdnn import ECAPATDNN, ECAPATDNNConfig
from sslsv_tk.encoders.fast_resnet34 import FastResNet34
from sslsv_tk.extraction.embeddings import Extractor
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig

Precision = Literal["fp32", "bf16"]


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--encoder", choices=["fast_resnet34", "ecapa_tdnn"], default="fast_resnet34")
    parser.add_argument("--utterances", type=int, default=100, help="default: 100")
    parser.add_argument("--shortest", type=float, default=4.0, help="seconds (default: 4)")
    parser.add_argument("--longest", type=float, default=8.8, help="seconds (default: 8.8)")
    parser.add_argument("--step", type=float, default=0.0, help="lengths are multiples of it; VoxCeleb's: 0.04 (none)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="passes, of which the fastest counts (default: 3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    return parser


def ours(folder: Path, encoder: Encoder, device: torch.device, precision: Precision) -> Callable[[], np.ndarray]:
    """(N, D) as stage 6 computes them."""
    archive, extractor = AudioArchive(folder), Extractor(encoder, FrontEnd(LogMelConfig()), device, precision)
    return lambda: np.concatenate([extractor.block(archive, start) for start in range(0, len(archive), BLOCK)])


def straightforward(folder: Path, encoder: Encoder, device: torch.device) -> Callable[[], np.ndarray]:
    """(N, D), one utterance after the other."""
    usual = (UsualLayout(encoder) if isinstance(encoder, FastResNet34) else encoder).to(device).eval()
    logmel = straightforward_logmel(LogMelConfig())

    @torch.no_grad()
    def embed() -> np.ndarray:
        rows = []
        for _, waveform in kaldiio.load_scp(str(folder / "wav.scp")).values():
            samples = torch.from_numpy(waveform.astype(np.float32) / 32768).to(device)
            rows.append(usual(logmel(samples[None]))[0].cpu().numpy())
        return np.stack(rows)

    return embed


def make_encoder(options: argparse.Namespace) -> Encoder:
    """At full size (ECAPA-TDNN: 1,024 channels), or hardly any for --smoke."""
    if options.encoder == "fast_resnet34":
        return FastResNet34(encoder_config(options))
    return ECAPATDNN(ECAPATDNNConfig(channels=16 if options.smoke else 1024))


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.shortest, options.longest = 3, 0.2, 0.4
        options.repeats, options.product_side = 1, 64
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, encoder = torch.device(options.device), make_encoder(options)
    lengths = np.linspace(options.shortest, options.longest, options.utterances)
    if options.step > 0:
        lengths = np.round(lengths / options.step) * options.step
    with tempfile.TemporaryDirectory() as name:
        folder = pack(Path(name) / "test", lengths.tolist())
        versions = {
            "ours, fp32": ours(folder, encoder, device, "fp32"),
            "ours, bf16": ours(folder, encoder, device, "bf16"),
            "straightforward": straightforward(folder, encoder, device),
        }
        found, wanted = versions["ours, fp32"](), versions["straightforward"]()
        if not np.allclose(found, wanted, atol=1e-3 * float(np.abs(wanted).max())):
            raise ValueError(f"The two versions differ by {np.abs(found - wanted).max()}.")
        taken = best_of(versions, options.repeats, device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            encoder(torch.zeros(1, 40, int(100 * lengths.mean()), device=device))
    rate = f"{product_rate(device, options.product_side):.3f}"
    times = {name: 1e3 * time / options.utterances for name, time in taken.items()}
    rows = [[name, f"{time:.1f}", f"{times['straightforward'] / time:.2f}", rate] for name, time in times.items()]
    print(
        f"{options.utterances} utterances of {lengths.mean():.1f} s in the mean, {options.encoder}, "
        f"{options.device}, {options.threads} threads, torch {torch.__version__}\n"
    )
    print(table(["version", "ms per utterance", "ratio", "product, TFLOP/s"], rows))
    flop = counter.get_total_flops() * options.utterances
    shares = {f"encoder, {name}": (name[-4:], flop, taken[name]) for name in ("ours, fp32", "ours, bf16")}
    print(f"\n{table(SHARE_HEADER, share_rows(shares, device, options.product_side))}")


if __name__ == "__main__":
    main()
