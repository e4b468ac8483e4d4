"""Repair data directories: sort the tables, keep the utterances that all have, originals in .backup."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.kaldi import repair

log = logs.logger("fix_data_dir")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="data directories, data/SET")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    for folder in options.data:
        kept, total = repair.fix(folder)
        log.info("%s: kept %d of %d utterances", folder, kept, total)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
