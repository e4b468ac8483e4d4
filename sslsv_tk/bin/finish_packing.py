"""Stage 3, after all parts: check that every utterance is packed, and write the tables of dump/raw/SET."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.packing import join


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data directory, data/SET")
    parser.add_argument("--out", type=Path, required=True, help="folder of packed audio, dump/raw/SET")
    parser.add_argument("--num-jobs", type=int, required=True, metavar="N", help="in how many parts pack_audio ran")
    parser.add_argument(
        "--force", choices=["true", "false"], default="false", help="write the tables anew though they are there"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    join.finish(options.data, options.out, options.num_jobs, force=options.force == "true")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
