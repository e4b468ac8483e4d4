"""One data directory of the utterances of several; a table that one of them lacks is left out, and said."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.kaldi import table_sets
from sslsv_tk.kaldi.table_sets import TableSet

log = logs.logger("combine_data")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("dest", type=Path, help="data directory to write")
    parser.add_argument("data", type=Path, nargs="+", help="data directories; they stay as they are")
    parser.add_argument(
        "--force", choices=["true", "false"], default="false", help="replace the data directory that is there"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    if options.dest.resolve() in [folder.resolve() for folder in options.data]:
        raise ValueError(f"{options.dest} is one of the directories to combine. Write to another folder.")
    sets = [TableSet.load(folder) for folder in options.data]
    made = table_sets.combine(sets)
    made.write(options.dest, options.force == "true", all(one.has_speaker_prefixes() for one in sets))
    log.info("%s: %d utterances of %d directories", options.dest, len(made.keys), len(sets))


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
