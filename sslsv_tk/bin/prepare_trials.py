"""Stage 1: a trial list in Kaldi form (enrol test target|nontarget), checked against its test set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sslsv_tk import logs, records
from sslsv_tk.kaldi import prepared_trials, trials
from sslsv_tk.kaldi.directories import DataDirectory, remove_temporaries

log = logs.logger("prepare_trials")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--source", type=Path, required=True, help="lines `1|0 a b` (VoxCeleb), `a b 1|0` or `a b target|nontarget`"
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="data directory of the test set; all utterances named must be there or in its table rejected",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="list to write, data/SET/trials_NAME; written anew at each call"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    records.require_tables(options.data)
    directory, left_out = DataDirectory.load(options.data), trials.left_out(options.data)
    files = directory.values if directory.cuts is None else None
    taken = trials.read_trials(options.source, directory.keys, left_out, files)
    taken.require_both_kinds(options.source)
    keys = np.sort(np.concatenate([directory.keys, left_out]))
    found = taken if not taken.left_out else trials.read_trials(options.source, keys)
    remove_temporaries(options.out.parent, options.out.name)
    trials.write_trials(options.out, found, keys)
    prepared_trials.write_record(options.out, options.source)
    targets = int(found.target.sum())
    if taken.left_out:
        names = f"utterances that were left out ({options.data}/rejected)"
        log.warning("%s: %d of %d trials name %s and will not count", options.out, taken.left_out, len(found), names)
    counts = f"{len(found)} trials, {targets} target, {len(found) - targets} nontarget"
    log.info("%s, of %s: %s", options.out, trials.described(options.source), counts)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
