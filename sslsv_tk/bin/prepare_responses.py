"""Stage 2: the data directory of room responses, from any tree of audio files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.corpora import noises


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--source",
        required=True,
        metavar="DIR",
        help="tree of responses; of RIRS_NOISES its noises are passed over",
    )
    parser.add_argument("--out", type=Path, required=True, help="data directory to write, data/rirs")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the files that may be left out when unreadable; they are listed in OUT/rejected",
    )
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make anew what is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    noises.prepare_responses(options.source, options.out, options.tolerance, force=options.force == "true")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
