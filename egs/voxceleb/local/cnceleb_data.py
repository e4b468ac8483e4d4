#!/usr/bin/env python3
"""Data directories of CN-Celeb: OUT/train of its development speakers, OUT/eval with the official trials.

    python3 local/cnceleb_data.py --cnceleb1 CN-Celeb_flac --cnceleb2 CN-Celeb2_flac --out data/cnceleb
    ./run.sh --train-audio data/cnceleb/train --test-audio data/cnceleb/eval          # train and score on CN-Celeb
    ./run.sh --test-audio "$VOXCELEB1 cnceleb=data/cnceleb/eval"                      # score beside VoxCeleb1

CN-Celeb_flac/data/id00000/singing-01-002.flac    genre, session, utterance; dev/dev.lst has the speakers to train on
              eval/enroll/id00800-enroll.flac
              eval/test/id00800-singing-01-001.flac
              eval/lists/trials.lst                   id00800-enroll test/id00800-singing-01-001.flac 1
CN-Celeb2_flac/data/id10000/singing-01-001.flac       all of its speakers are to train on
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sslsv_tk import artifacts, logs
from sslsv_tk.corpora import audio_files
from sslsv_tk.corpora.audio_files import AudioListing
from sslsv_tk.kaldi import directories, tables, trials, utterance_ids
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words

log = logs.logger("cnceleb_data")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cnceleb1", type=Path, required=True, metavar="DIR", help="CN-Celeb_flac (or its wav copy)")
    parser.add_argument("--cnceleb2", type=Path, metavar="DIR", help="CN-Celeb2_flac, for training as well")
    parser.add_argument("--out", type=Path, required=True, help="where train and eval go; written anew at each call")
    return parser


def speakers_to_train_on(corpus: Path) -> Words | None:
    """The speakers of dev/dev.lst; None where a corpus has no such list: all of them."""
    path = corpus / "dev" / "dev.lst"
    if not path.is_file():
        return None
    return np.array([line.split()[0] for line in path.read_bytes().splitlines() if line.strip()])


def last_part(paths: Words) -> Words:
    """The name of each file without folders and suffix."""
    return np.char.rpartition(utterance_ids.without_suffix(paths), b"/")[:, 2]


def read_training(corpus: Path) -> tuple[AudioListing, Words]:
    """The files below data/ to train on, and the speaker of each."""
    listing = audio_files.find(corpus / "data")
    speakers = np.char.partition(listing.relative, b"/")[:, 0]
    wanted = speakers_to_train_on(corpus)
    if wanted is None:
        return listing, speakers
    chosen = np.isin(speakers, wanted)
    if not chosen.any():
        raise ValueError(f"{corpus}: no speaker of dev/dev.lst has audio below data/. Is it the folder of CN-Celeb1?")
    return listing.select(chosen), speakers[chosen]


def write(out: Path, keys: Words, paths: Words, speakers: Words) -> None:
    """A data directory; the recording is the id without the number of the utterance."""
    utterance_ids.check(keys, paths)
    rows = utterance_ids.sorted_once(keys, paths)
    keys = keys[rows]
    parts = np.char.rpartition(keys, b"-")
    recordings = np.where(parts[:, 2] == b"enroll", keys, parts[:, 0])
    (out / artifacts.RECORD).unlink(missing_ok=True)
    DataDirectory(keys, paths[rows], speakers[rows], recordings).write(out)
    found = directories.validate(out)
    log.info("%s: %d utterances of %d speakers", out, len(found.keys), len(np.unique(speakers)))


def write_trials(source: Path, out: Path) -> None:
    """The official trials by utterance ids, `enrol test target|nontarget`."""
    enrol, test, target = trials.read_columns(source)
    keys = DataDirectory.load(out).keys
    rows = [directories.find_rows(keys, last_part(names)).astype(np.int32) for names in (enrol, test)]
    unknown = (rows[0] < 0) | (rows[1] < 0)
    if unknown.any():
        line = int(unknown.argmax())
        names = f"{tables.text(enrol[line])} or {tables.text(test[line])}"
        raise ValueError(f"{source}:{line + 1}: {names} is not below eval/enroll and eval/test. Is the corpus whole?")
    trials.write_trials(out / "trials", trials.Trials(rows[0], rows[1], target), keys)
    log.info("%s: %d trials", out / "trials", len(target))


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    corpora = [options.cnceleb1] + ([options.cnceleb2] if options.cnceleb2 else [])
    found = [read_training(corpus) for corpus in corpora]
    speakers = tables.concatenate([names for _, names in found])
    names = last_part(tables.concatenate([listing.relative for listing, _ in found]))
    paths = tables.concatenate([listing.paths() for listing, _ in found])
    write(options.out / "train", tables.joined(speakers, b"-", names), paths, speakers)
    listings = [audio_files.find(options.cnceleb1 / "eval" / part) for part in ("enroll", "test")]
    keys = last_part(tables.concatenate([listing.relative for listing in listings]))
    paths = tables.concatenate([listing.paths() for listing in listings])
    write(options.out / "eval", keys, paths, np.char.partition(keys, b"-")[:, 0])
    write_trials(options.cnceleb1 / "eval" / "lists" / "trials.lst", options.out / "eval")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
