"""Some utterances of a data directory: `DATA N DEST` (N at random, or the first ...), or `DATA DEST` with a list."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sslsv_tk import logs
from sslsv_tk.kaldi import subsets, tables
from sslsv_tk.kaldi.table_sets import TableSet

log = logs.logger("subset_data_dir")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--first", action="store_true", help="the first N")
    which.add_argument("--last", action="store_true", help="the last N")
    which.add_argument("--shortest", action="store_true", help="the N shortest, as utt2dur says")
    which.add_argument("--per-spk", action="store_true", help="up to N of each speaker, at random")
    which.add_argument("--utt-list", type=Path, metavar="FILE", help="those whose id begins a line of this file")
    which.add_argument("--spk-list", type=Path, metavar="FILE", help="those of the speakers that begin its lines")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.add_argument(
        "--force", choices=["true", "false"], default="false", help="replace the data directory that is there"
    )
    parser.add_argument("places", nargs="+", metavar="DATA [N] DEST", help="data directory, how many, what to write")
    return parser


def choose(options: argparse.Namespace, found: TableSet, count: int) -> np.ndarray:
    """The rows to take."""
    if options.utt_list or options.spk_list:
        names = found.keys if options.utt_list else found.speakers()
        return np.flatnonzero(subsets.listed(names, options.utt_list or options.spk_list))
    if options.per_spk:
        return subsets.per_speaker(found.speakers(), count, options.seed)
    if options.shortest:
        if "utt2dur" not in found.tables:
            raise ValueError(f"{options.places[0]}: no utt2dur, so it is not known which utterances are the shortest.")
        return subsets.shortest(tables.numbers(found.column("utt2dur"), "utt2dur"), count)
    if options.first or options.last:
        return (subsets.first if options.first else subsets.last)(len(found.keys), count)
    return subsets.drawn(len(found.keys), count, options.seed)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = get_parser()
    options = parser.parse_args(arguments)
    has_count = not (options.utt_list or options.spk_list)
    if len(options.places) != 2 + has_count or (has_count and not options.places[1].isdecimal()):
        parser.error(f"expected {'DATA N DEST' if has_count else 'DATA DEST'}, found {' '.join(options.places)}")
    data, dest = Path(options.places[0]), Path(options.places[-1])
    if data.resolve() == dest.resolve():
        raise ValueError(f"{dest} is the directory to take from. Write to another folder.")
    found = TableSet.load(data)
    made = found.select(choose(options, found, int(options.places[1]) if has_count else 0))
    made.write(dest, options.force == "true", found.has_speaker_prefixes())
    log.info("%s: %d of %d utterances of %s", dest, len(made.keys), len(found.keys), data)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
