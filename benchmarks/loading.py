"""Utterances per second that one core loads and augments, 2 x 2 s each, beside a straightforward version.

    python3 benchmarks/loading.py

Ours reads byte ranges and augments a batch at a time in the front end; the other reads whole utterances and clips
with kaldiio, convolves one segment after the other with scipy and adds noise with numpy. Audio is noise, 8 s an
utterance, in a temporary folder, so it comes from the page cache.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import beside
import kaldiio
import numpy as np
import scipy.signal
import torch
from corpus import RATE, pack, pack_augmentation
from machine import CPU, best_of, product_rate, table
from numpy.typing import NDArray

from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.draws.augmentation import Augmentation, AugmentationConfig
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.loading.batches import EpochBatches
from sslsv_tk.loading.datasets import TrainingAudio
from sslsv_tk.segments import Segment
from sslsv_tk.training.inputs import Inputs

LEVELS = {"noise": (0.0, 15.0), "speech": (13.0, 20.0), "music": (5.0, 15.0)}
Waveform = NDArray[np.float32]


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--utterances", type=int, default=512, help="utterances of 8 s (default: 512)")
    parser.add_argument("--clips", type=int, default=100, help="noises per category, and responses (default: 100)")
    parser.add_argument("--batch", type=int, default=32, help="utterances of a batch (default: 32)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a segment (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="epochs, of which the fastest counts (default: 3)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    return parser


def our_epoch(folder: Path, options: argparse.Namespace, augmented: bool) -> Callable[[], None]:
    """An epoch of batches as training gets them, up to the augmented waveform."""
    archive = AudioArchive(folder / "train")
    plan = (Segment(options.seconds, "anchor"), Segment(options.seconds, "positive"))
    augmentation = Augmentation.load(AugmentationConfig(), folder) if augmented else None
    audio = TrainingAudio(archive, plan, 0, augmentation)
    inputs = Inputs(FrontEnd(LogMelConfig(), "waveform"), CPU, augmentation, on_device=True)
    requests = list(EpochBatches(len(archive), options.batch, 0).epoch(0))

    def epoch() -> None:
        for request in requests:
            inputs.prepare(audio[request])

    return epoch


class Straightforward:
    """One utterance after the other, each read whole."""

    def __init__(self, folder: Path, options: argparse.Namespace, augmented: bool) -> None:
        self.train = kaldiio.load_scp(str(folder / "train/wav.scp"))
        self.noises = {name: kaldiio.load_scp(str(folder / f"musan_{name}/wav.scp")) for name in LEVELS}
        self.responses = kaldiio.load_scp(str(folder / "rirs/wav.scp"))
        self.samples, self.batch, self.augmented = int(options.seconds * RATE), options.batch, augmented
        self.draw = np.random.default_rng(0)

    def cut(self, scp: dict[str, tuple[int, NDArray[np.int16]]], key: str) -> Waveform:
        waveform = scp[key][1].astype(np.float32) / 32768
        start = self.draw.integers(0, max(1, len(waveform) - self.samples + 1))
        return waveform[start : start + self.samples]

    def augment(self, waveform: Waveform) -> Waveform:
        response = self.responses[str(self.draw.choice(list(self.responses)))][1].astype(np.float32)
        response /= np.sqrt((response**2).sum())
        waveform = scipy.signal.fftconvolve(waveform, response)[: self.samples]
        name = str(self.draw.choice(list(LEVELS)))
        noise = self.cut(self.noises[name], str(self.draw.choice(list(self.noises[name]))))
        ratio = ((waveform**2).mean() + 1e-4) / ((noise**2).mean() + 1e-4)
        return waveform + np.sqrt(ratio * 10 ** (-self.draw.uniform(*LEVELS[name]) / 10)) * noise

    def views(self) -> Iterator[tuple[Waveform, Waveform]]:
        for key in self.train:
            first, second = self.cut(self.train, key), self.cut(self.train, key)
            yield (self.augment(first), self.augment(second)) if self.augmented else (first, second)

    def epoch(self) -> None:
        views: list[tuple[Waveform, Waveform]] = []
        for pair in self.views():
            views.append(pair)
            if len(views) == self.batch:
                torch.from_numpy(np.stack([np.stack(side) for side in zip(*views, strict=True)]))
                views = []


def measure(folder: Path, options: argparse.Namespace, augmented: bool) -> list[str]:
    """The row with or without augmentation."""
    versions = {
        "ours": our_epoch(folder, options, augmented),
        "other": Straightforward(folder, options, augmented).epoch,
    }
    taken = best_of(versions, options.repeats)
    count = options.utterances // options.batch * options.batch
    work = "load + reverb + noise" if augmented else "load"
    rates = [f"{count / taken[name]:,.0f}" for name in ("ours", "other")]
    return [work, *rates, f"{taken['other'] / taken['ours']:.2f}"]


def convolution_milliseconds() -> float:
    """scipy's convolution of 2 s with a 1 s response, the best of 20."""
    left, right = (np.random.default_rng(0).normal(size=n).astype(np.float32) for n in (2 * RATE, RATE))
    return 1e3 * best_of({"convolution": partial(scipy.signal.fftconvolve, left, right)}, 20)["convolution"]


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.clips, options.batch, options.seconds = 4, 2, 2, 0.1
        options.repeats, options.product_side = 1, 64
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack(folder / "train", [8.0] * options.utterances)
        pack_augmentation(folder, options.clips)
        rows = [measure(folder, options, augmented) for augmented in (True, False)]
    proportions = [f"{product_rate(side=options.product_side):.3f}", f"{convolution_milliseconds():.2f}"]
    print(f"2 x {options.seconds} s per utterance, batches of {options.batch}, one core, torch {torch.__version__}\n")
    header = ["work", "ours, utterances/s", "straightforward, utterances/s", "ratio"]
    print(table([*header, "product, TFLOP/s", "scipy's convolution, ms"], [[*row, *proportions] for row in rows]))


if __name__ == "__main__":
    main()
