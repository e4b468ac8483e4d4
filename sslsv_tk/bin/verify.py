"""Compare every byte of a recipe's folders with what was written: what is damaged, and which stage makes it anew.

Changes nothing but the time of a damaged file, so that its stage is not skipped. Exit status 1 where there is one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.recipes import verification

log = logs.logger("verify")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="data, dump, exp, or folders in them")
    audio = (
        "also the audio files that stage 3 packed, by the data directories below the folders: reads the whole corpus"
    )
    parser.add_argument("--sources", choices=["true", "false"], default="false", help=audio)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, print a line for each damaged file; status 1 where there is one."""
    options = get_parser().parse_args(arguments)
    looked_at, damage = verification.verify(options.folders, options.sources == "true")
    for found in damage:
        print(f"{found.fault}: {found.remedy}")
    log.info("%d records, checkpoints and rows of results looked at, %d files damaged", looked_at, len(damage))
    return 1 if damage else 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
