#!/usr/bin/env python3
"""The same utterances in several sets: how far lengths, embeddings and error rates are from those of one of them.

    python3 local/compare_sets.py --system exp/simclr_fast_resnet34 --reference original --sets m4a_44100 mp3_8000

What it is for: the same speech in other files (encoded, resampled) or read in another way should give the same
embeddings. The sets have been through stages 3, 6 and 7. They have the same utterance ids, or --ids names a table of
two columns, path below the reference's folder and path below the other's, as local/encoded_speech.py writes it.
Prints a table.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import layout, logs
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.directories import find_rows
from sslsv_tk.kaldi.tables import Words, first_words
from sslsv_tk.kaldi.utterance_ids import utterance_ids
from sslsv_tk.report import results, system
from sslsv_tk.segments import SAMPLE_RATE_HZ

HEAD = ("set", "utterances", "largest difference in length, ms", "mean cosine", "lowest cosine", "EER %", "difference")


@dataclass(frozen=True)
class SetOfUtterances:
    """Utterances (N,), sorted, lengths (N,) in samples, embeddings (N, D) of unit length, the EER if scored."""

    keys: Words
    samples: NDArray[np.int64]
    embeddings: NDArray[np.float64]
    eer_percent: float | None

    def renamed(self, keys: Words) -> "SetOfUtterances":
        """The same under other names (N,)."""
        order = np.argsort(keys, kind="stable")
        return SetOfUtterances(keys[order], self.samples[order], self.embeddings[order], self.eer_percent)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", type=Path, required=True, help="exp/SYSTEM")
    parser.add_argument("--checkpoint", default=layout.DEFAULT_CHECKPOINT, help="default: %(default)s")
    parser.add_argument("--dump", type=Path, default=Path("dump/raw"), help="default: %(default)s")
    parser.add_argument("--reference", required=True, metavar="SET", help="what the others are compared with")
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET")
    parser.add_argument("--ids", type=Path, metavar="FILE", help="where the ids of the reference are others: ids.tsv")
    return parser


def read(options: argparse.Namespace, name: str) -> SetOfUtterances:
    """What stages 3, 6 and 7 left of a set; ValueError where embeddings and audio are not of the same utterances."""
    folder = layout.embeddings_folder(options.system, name, options.checkpoint)
    keys, embeddings = system.read_embeddings(folder)
    archive = AudioArchive(options.dump / name)
    if not np.array_equal(keys, archive.keys):
        raise ValueError(
            f"{folder}: {len(keys)} embeddings, but {options.dump / name} has {len(archive)} utterances, or others."
            " Run stage 6 again."
        )
    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    return SetOfUtterances(keys, archive.samples.astype(np.int64), embeddings / norms, read_eer(options, name))


def read_eer(options: argparse.Namespace, name: str) -> float | None:
    """The EER of the first list of a set, None where no list was scored."""
    if not any((options.system / "scores").glob("*.json")):
        return None
    rows = results.read_rows(options.system.parent, [options.system.name])
    of_set = [row for row in rows if (row["data"], row["checkpoint"]) == (name, options.checkpoint)]
    return of_set[0]["eer_percent"] if of_set else None


def translated(keys: Words, ids: Path) -> Words:
    """The names that the table gives the keys; ValueError where it lacks some."""
    old, new = (utterance_ids(column) for column in tables.read_columns(ids, 2))
    order = np.argsort(old, kind="stable")
    rows = find_rows(old[order], keys)
    if (rows < 0).any():
        raise ValueError(f"{ids}: {int((rows < 0).sum())} utterances are not in it: {first_words(keys[rows < 0])}.")
    return new[order][rows]


def line(name: str, found: SetOfUtterances, reference: SetOfUtterances) -> list[str]:
    """One row of the table; ValueError where the utterances are not the reference's."""
    if not np.array_equal(found.keys, reference.keys):
        strange = np.setxor1d(found.keys, reference.keys)
        raise ValueError(
            f"{name} and the reference differ in {len(strange)} utterances: {first_words(strange)}. Was audio left out"
            " as unreadable (<set>/rejected), or is --ids needed?"
        )
    milliseconds = 1000 * np.abs(found.samples - reference.samples).max() / SAMPLE_RATE_HZ
    cosines = np.sum(found.embeddings * reference.embeddings, axis=1)
    eer, other = found.eer_percent, reference.eer_percent
    return [
        name,
        str(len(found.keys)),
        f"{milliseconds:.1f}",
        f"{cosines.mean():.4f}",
        f"{cosines.min():.4f}",
        "-" if eer is None else f"{eer:.2f}",
        "-" if eer is None or other is None else f"{eer - other:+.2f}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    reference = read(options, options.reference)
    if options.ids is not None:
        reference = reference.renamed(translated(reference.keys, options.ids))
    lines = [list(HEAD), ["---"] * len(HEAD), line(options.reference, reference, reference)]
    lines += [line(name, read(options, name), reference) for name in options.sets]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
