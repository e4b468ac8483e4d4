"""Time and memory of stages 1 to 3 and of the loader as the corpus grows: 1,000, 10,000 and 100,000 short utterances.

    python3 benchmarks/growth.py                          # some minutes, 2.5 GB of disk
    python3 benchmarks/growth.py --utterances 1000 3000   # other sizes

Each step runs in a process of its own on real files: a tree of wav files of 0.25 s, 8 utterances to a recording, 5
recordings to a speaker. A step that is linear takes the same time for an utterance at every size, but for what it takes
to begin. Seconds are those of the processor; memory is the largest resident set, the interpreter and its libraries
included.
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from sslsv_tk.audio import wav

RATE = 16_000
SECONDS, SEGMENT_SECONDS = 0.25, 0.2
BATCH = 256
Work = Callable[[Path], None]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [1_000, 10_000, 100_000]
    parser.add_argument("--utterances", type=int, nargs="+", default=sizes, help="sizes (default: 1000 10000 100000)")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that it runs")
    return parser


def make_tree(folder: Path, utterances: int) -> None:
    """SPEAKER/RECORDING/UTTERANCE.wav below folder/corpus, and clips of noise and responses, packed."""
    from corpus import pack_augmentation

    samples = np.random.default_rng(0).integers(-8000, 8000, int(SECONDS * RATE), dtype=np.int16)
    contents = wav.header(len(samples)) + samples.tobytes()
    for number in range(utterances):
        recording = number // 8
        path = folder / "corpus" / f"id{recording // 5:05d}" / f"video{recording:06d}"
        if number % 8 == 0:
            path.mkdir(parents=True)
        (path / f"{number % 8:05d}.wav").write_bytes(contents)
    pack_augmentation(folder, 20, 1.0, 0.1)


def run(module: str, **options: str | Path) -> None:
    """A command of ours, in this process."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    importlib.import_module(f"sslsv_tk.bin.{module}").main(words)


def listing(folder: Path) -> None:
    run("prepare_corpus", source=folder / "corpus", out=folder / "data")


def packing(folder: Path) -> None:
    for module, options in (("pack_audio", {"job": "1"}), ("finish_packing", {})):
        run(module, data=folder / "data", out=folder / "dump", num_jobs="1", **options)


def opening(folder: Path) -> None:
    from sslsv_tk.arks.audio_archive import AudioArchive

    for _ in range(10):
        AudioArchive(folder / "dump")


def drawing(folder: Path) -> None:
    """All numbers of an epoch: the order, starts of two segments, noises, levels and responses."""
    from sslsv_tk import seeds
    from sslsv_tk.arks.audio_archive import AudioArchive
    from sslsv_tk.draws.augmentation import Augmentation, AugmentationConfig
    from sslsv_tk.loading.batches import EpochBatches

    archive = AudioArchive(folder / "dump")
    augmentation = Augmentation.load(AugmentationConfig(), folder)
    for request in EpochBatches(len(archive), min(BATCH, len(archive)), 0).epoch(0):
        for view in range(2):
            seeds.uniform(1, 0, "segment", 0, request.utterance_B, view)
            augmentation.draw(0, 0, request.utterance_B, view)


def reading(folder: Path) -> None:
    """An epoch of two segments an utterance, with the numbers of their augmentation, in one process."""
    from sslsv_tk.arks.audio_archive import AudioArchive
    from sslsv_tk.draws.augmentation import Augmentation, AugmentationConfig
    from sslsv_tk.loading.batches import EpochBatches
    from sslsv_tk.loading.datasets import TrainingAudio
    from sslsv_tk.loading.loader import loader
    from sslsv_tk.segments import Segment

    archive = AudioArchive(folder / "dump")
    plan = (Segment(SEGMENT_SECONDS, "anchor"), Segment(SEGMENT_SECONDS, "positive"))
    dataset = TrainingAudio(archive, plan, 0, Augmentation.load(AugmentationConfig(), folder))
    requests = list(EpochBatches(len(archive), min(BATCH, len(archive)), 0).epoch(0))
    for _ in loader(dataset, requests, 0, pin_memory=False):
        pass


STEPS: dict[str, tuple[Work, tuple[str, ...]]] = {
    "stage 1: files listed, tables written": (listing, ("bin.prepare_corpus",)),
    "stage 3: packed and joined, one job": (packing, ("bin.pack_audio", "bin.finish_packing")),
    "packed audio opened, ten times": (opening, ("arks.audio_archive",)),
    "draws of an epoch": (drawing, ("draws.augmentation", "loading.batches")),
    "an epoch read, two segments an utterance": (reading, ("loading.loader",)),
}
"""Each with the modules that are loaded before its clock begins."""


def measured(work: Work, modules: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Processor seconds, and peak MB, of a process of its own."""
    forking = multiprocessing.get_context("fork")
    receiving, sending = forking.Pipe(duplex=False)

    def child(end: Connection) -> None:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        for module in modules:
            importlib.import_module(f"sslsv_tk.{module}")
        start = time.process_time()
        work(folder)
        end.send((time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6))

    process = forking.Process(target=child, args=(sending,))
    process.start()
    sending.close()
    try:
        found: tuple[float, float] = receiving.recv()
    except EOFError:
        raise SystemExit(f"the step {work.__name__} failed") from None
    process.join()
    return found


def main() -> int:
    options = get_parser().parse_args()
    if options.smoke:
        options.utterances = [16, 48]
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    print(
        "\n| step | utterances | processor s | µs an utterance | peak MB |\n| --- | --- | --- | --- | --- |", flush=True
    )
    for utterances in options.utterances:
        with tempfile.TemporaryDirectory() as name:
            make_tree(Path(name), utterances)
            for what, (work, modules) in STEPS.items():
                seconds, megabytes = measured(work, modules, Path(name))
                each = 1e6 * seconds / utterances
                print(f"| {what} | {utterances:,} | {seconds:.2f} | {each:,.1f} | {megabytes:.0f} |", flush=True)
    from machine import product_rate  # loads torch, which most steps begin without

    print(f"\n4096 x 4096 fp32 product, TFLOP/s here: {product_rate(side=64 if options.smoke else 4096):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
