"""Stage 2: data directories of noises, music and speech, cut into pieces, from a MUSAN-like tree."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.corpora import noises


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--source", required=True, metavar="DIR", help="tree with the folders noise, music and speech on top"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="where musan_noise, musan_music and musan_speech go; data"
    )
    parser.add_argument(
        "--cut-seconds", type=float, default=10.0, help="length of a piece; at least that of a training segment"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the files that may be left out when unreadable; they are listed in rejected",
    )
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make anew what is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    noises.prepare_noises(
        options.source, options.out, options.cut_seconds, options.tolerance, force=options.force == "true"
    )


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
