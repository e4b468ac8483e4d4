"""Split a data directory into parts: DATA/splitN/1 to N, no speaker in two of them, or DATA/splitNutt by utterances."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.kaldi import subsets
from sslsv_tk.kaldi.table_sets import TableSet

log = logs.logger("split_data")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", type=Path, help="data directory; its tables stay as they are")
    parser.add_argument("parts", type=int, help="in how many parts")
    parser.add_argument(
        "--per-utt", action="store_true", help="parts of equal size, whoever speaks; for work on single utterances"
    )
    parser.add_argument("--force", choices=["true", "false"], default="false", help="replace parts that are there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    found = TableSet.load(options.data)
    if options.per_utt:
        parts = list(subsets.parts_by_utterance(len(found.keys), options.parts))
    else:
        parts = list(subsets.parts_by_speaker(found.speakers(), options.parts))
    folder = options.data / f"split{options.parts}{'utt' if options.per_utt else ''}"
    for number, rows in enumerate(parts, start=1):
        found.select(rows).write(folder / str(number), options.force == "true", found.has_speaker_prefixes())
    sizes = [len(rows) for rows in parts]
    log.info("%s: %d parts of %d to %d utterances", folder, len(parts), min(sizes), max(sizes))


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
