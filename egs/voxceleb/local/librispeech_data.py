#!/usr/bin/env python3
"""The data directory of some parts of LibriSpeech, and trials drawn from it where they are asked for.

    python3 local/librispeech_data.py --source LibriSpeech --parts train-clean-100 train-clean-360 --out data/ls/train
    python3 local/librispeech_data.py --source LibriSpeech --parts test-clean --out data/ls/test --trials 20000
    ./run.sh --train-audio data/ls/train --test-audio data/ls/test

LibriSpeech/test-clean/1089/134686/1089-134686-0000.flac    reader, chapter, utterance: speaker, recording, utterance

LibriSpeech has no official trials. Half of those drawn are target ones, of two chapters where a reader has several.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs, seeds
from sslsv_tk.corpora import audio_files
from sslsv_tk.kaldi import directories, tables, trials, utterance_ids
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import text
from sslsv_tk.kaldi.trials import Trials

log = logs.logger("librispeech_data")
Pairs = NDArray[np.int64]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, metavar="DIR", help="the folder LibriSpeech")
    parser.add_argument("--parts", nargs="+", required=True, metavar="PART", help="such as test-clean")
    parser.add_argument("--out", type=Path, required=True, help="data directory to write, anew at each call")
    parser.add_argument("--trials", type=int, default=0, metavar="N", help="draw N trials into OUT/trials")
    parser.add_argument("--seed", type=int, default=0, help="of the trials")
    return parser


def read(source: Path, parts: Sequence[str]) -> DataDirectory:
    """The utterances of the parts: an id begins with reader and chapter, whether or not the name of the file does."""
    listings = [audio_files.find(source / part) for part in parts]
    paths = tables.concatenate([listing.paths() for listing in listings])
    stems = tables.concatenate([listing.stems() for listing in listings])
    wrong = np.char.count(stems, b"/") != 2
    if wrong.any():
        raise ValueError(
            f"{text(paths[wrong.argmax()])}: expected <part>/<reader>/<chapter>/<utterance>.flac below {source}."
            " Give the folder that holds the parts, and their names."
        )
    first = np.char.partition(stems, b"/")
    second = np.char.partition(first[:, 2], b"/")
    speakers, names = first[:, 0], second[:, 2]
    recordings = tables.joined(speakers, b"-", second[:, 0])
    begun = np.char.startswith(names, tables.joined(recordings, b"-"))
    keys = np.where(begun, names, tables.joined(recordings, b"-", names))
    utterance_ids.check(keys, paths)
    rows = utterance_ids.sorted_once(keys, paths)
    return DataDirectory(keys[rows], paths[rows], speakers[rows], recordings[rows])


def target_pairs(speakers: NDArray[np.int64], recordings: NDArray[np.int64]) -> Pairs:
    """All pairs (T, 2) of one speaker, first the smaller row: of different recordings where the speaker has several."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    order = np.argsort(speakers, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(speakers[order])) + 1):
        first, second = np.triu_indices(len(rows), k=1)
        pairs = np.stack([rows[first], rows[second]], axis=1)
        apart = recordings[pairs[:, 0]] != recordings[pairs[:, 1]]
        found.append(pairs[apart] if apart.any() else pairs)
    return np.concatenate(found)


def nontarget_pairs(speakers: NDArray[np.int64], count: int, generator: np.random.Generator) -> Pairs:
    """`count` different pairs (count, 2) of two speakers each, first the smaller row."""
    total = len(speakers)
    possible = total * (total - 1) // 2 - sum(n * (n - 1) // 2 for n in np.bincount(speakers).tolist())
    if count > possible:
        raise ValueError(
            f"{count} nontarget trials asked for, the utterances have {possible}. Give a smaller --trials."
        )
    codes = np.zeros(0, dtype=np.int64)
    while len(codes) < count:
        pairs = np.sort(generator.integers(0, total, (2 * count + 100, 2)), axis=1)
        pairs = pairs[speakers[pairs[:, 0]] != speakers[pairs[:, 1]]]
        codes = np.unique(np.concatenate([codes, pairs[:, 0] * total + pairs[:, 1]]))
    return np.stack(np.divmod(generator.permutation(codes)[:count], total), axis=1)


def draw(found: DataDirectory, count: int, seed: int) -> Trials:
    """`count` trials, half of them target ones, in the order of their utterances."""
    assert found.speakers is not None and found.recordings is not None  # read() fills both
    speakers = np.unique(found.speakers, return_inverse=True)[1]
    recordings = np.unique(found.recordings, return_inverse=True)[1]
    generator, pairs = seeds.generator(seed, "trials"), target_pairs(speakers, recordings)
    targets = count // 2
    if not 1 <= targets <= len(pairs):
        raise ValueError(f"{targets} target trials asked for, the utterances have {len(pairs)}. Give another --trials.")
    chosen = generator.permutation(pairs)[:targets]
    chosen = np.concatenate([chosen, nontarget_pairs(speakers, count - targets, generator)])
    order = np.lexsort((chosen[:, 1], chosen[:, 0]))
    enrol, test = chosen[order].T.astype(np.int32)
    return Trials(enrol, test, order < targets)


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    found = read(options.source, options.parts)
    (options.out / artifacts.RECORD).unlink(missing_ok=True)
    found.write(options.out)
    directories.validate(options.out)
    log.info("%s: %d utterances", options.out, len(found.keys))
    if options.trials:
        trials.write_trials(options.out / "trials", draw(found, options.trials, options.seed), found.keys)
        log.info("%s: %d trials", options.out / "trials", options.trials)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
