#!/usr/bin/env python3
"""The baseline without any training: mean and deviation of MFCCs of full utterances, compared by a cosine.

Each of the 40 numbers is standardised over the utterances of the trial list (no labels are used). What a trained
system must clearly beat.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import fft

from sslsv_tk import artifacts, logs
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.kaldi.trials import Trials, left_out, read_trials
from sslsv_tk.scoring.cosine import cosine_scores
from sslsv_tk.scoring.metrics import error_rates
from sslsv_tk.segments import SAMPLE_RATE_HZ

Floats = NDArray[np.floating]
WINDOW, HOP, FFT_SIZE = 400, 160, 512  # 25 ms, 10 ms
BANDS, COEFFICIENTS = 40, 20
_FRAMES_AT_ONCE = 4096  # bounds memory for utterances of hours
log = logs.logger("mfcc_baseline")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", required=True, help="data/SET or dump/raw/SET")
    parser.add_argument("--trials", required=True, help="trial list of either form")
    parser.add_argument("--out", required=True, help="score file to write, lines of `enrol test score`")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(arguments)
    keys, read = open_audio(Path(args.data))
    trials = read_trials(args.trials, keys, left_out(args.data))
    trials.require_both_kinds(args.trials)
    rows = np.unique(np.concatenate([trials.enrol, trials.test]))
    statistics = np.zeros((len(keys), 2 * COEFFICIENTS))
    for row in rows:
        statistics[row] = _finite(mfcc_statistics(read(row), text(keys[row])), text(keys[row]))
    statistics[rows] = standardised(statistics[rows])
    scores = cosine_scores(statistics[rows], np.searchsorted(rows, trials.enrol), np.searchsorted(rows, trials.test))
    write_scores(Path(args.out), keys, trials, scores)
    eer = error_rates(scores, trials.target).equal_error_rate()
    log.info("%s: %d trials, %d utterances, EER %.2f %%", args.out, len(trials), len(rows), eer)


def open_audio(folder: Path) -> tuple[Words, Callable[[int], Floats]]:
    """The sorted utterances of a directory and a function that reads one by its row, samples between -1 and 1."""
    if (folder / "utt2samples").is_file():
        archive = AudioArchive(folder)
        return archive.keys, lambda row: archive.read(row, 0, int(archive.samples[row])) / 32768.0
    data = DataDirectory.load(folder)
    return data.keys, lambda row: read_file(data, row)


def read_file(data: DataDirectory, row: int) -> Floats:
    """One utterance of a data directory that names audio files."""
    path = text(data.values[row])
    try:
        with soundfile.SoundFile(path) as stream:
            if (stream.samplerate, stream.channels) != (SAMPLE_RATE_HZ, 1):
                raise ValueError(
                    f"{path}: expected one channel of {SAMPLE_RATE_HZ} Hz, found {stream.channels} of"
                    f" {stream.samplerate} Hz. Give --data dump/raw/SET, which stage 3 converted."
                )
            if data.cuts is None:
                return stream.read(dtype="float64")
            stream.seek(round(data.cuts.starts[row] * SAMPLE_RATE_HZ))
            seconds = data.cuts.ends[row] - data.cuts.starts[row]  # infinite: to the end of the file
            return stream.read(round(seconds * SAMPLE_RATE_HZ) if np.isfinite(seconds) else -1, dtype="float64")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} ({text(data.keys[row])}): cannot be read: {error}") from None


def mfcc_statistics(samples: Floats, name: str) -> Floats:
    """Mean and standard deviation over the frames of one utterance (40,); `name` stands in errors."""
    if samples.size < WINDOW:
        raise ValueError(f"{name}: {samples.size} samples, expected at least one window of {WINDOW}.")
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    blocks = [mfcc(windows[k : k + _FRAMES_AT_ONCE]) for k in range(0, len(windows), _FRAMES_AT_ONCE)]
    coefficients = np.concatenate(blocks)
    return np.concatenate([coefficients.mean(axis=0), coefficients.std(axis=0)])


def mfcc(windows: Floats) -> Floats:
    """Cepstra (frames, 20) of stretches of 25 ms (frames, 400)."""
    power = np.abs(fft.rfft(windows * np.hamming(WINDOW), FFT_SIZE, axis=1)) ** 2
    return fft.dct(np.log(power @ mel_weights().T + 1e-6), norm="ortho", axis=1)[:, :COEFFICIENTS]


def mel_weights() -> Floats:
    """Triangular bands (40, 257) with edges at equal distances in mel, 2595 log10(1 + f / 700), from 0 to 8000 Hz."""
    top = 2595.0 * np.log10(1.0 + SAMPLE_RATE_HZ / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, BANDS + 2) / 2595.0) - 1.0)
    hertz = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE_HZ / FFT_SIZE
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0.0, np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)))


def standardised(statistics: Floats) -> Floats:
    """Mean 0 and deviation 1 of each column; a column that is the same everywhere becomes 0."""
    deviation = statistics.std(axis=0)
    return (statistics - statistics.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)


def _finite(statistics: Floats, name: str) -> Floats:
    if not np.isfinite(statistics).all():
        raise ValueError(f"{name}: samples that are not finite numbers. Repair or remove the file.")
    return statistics


def write_scores(path: Path, keys: Words, trials: Trials, scores: Floats) -> None:
    """One line `enrol test score` per trial, in the order of the list."""
    with artifacts.replacing(path) as stream:
        for enrol, test, score in zip(trials.enrol, trials.test, scores, strict=True):
            stream.write(f"{text(keys[enrol])} {text(keys[test])} {score:.6f}\n")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
