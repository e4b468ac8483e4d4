"""Check data directories: keys sorted, unique and the same in every table, spk2utt the inverse of utt2spk."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.kaldi import directories

log = logs.logger("validate_data_dir")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--no-spk-sort", action="store_true", help="speakers need not be prefixes of their utterances, as Kaldi wants"
    )
    for table in ("wav", "feats", "text"):
        taken = "taken as Kaldi's scripts give it: no folder needs this table, it is checked where it is there"
        parser.add_argument(f"--no-{table}", action="store_true", help=taken)
    parser.add_argument("data", type=Path, nargs="+", help="data directories, data/SET")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    for folder in options.data:
        found = directories.validate(folder, speaker_prefix=not options.no_spk_sort)
        log.info("%s: %d utterances, well formed", folder, len(found.keys))


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
