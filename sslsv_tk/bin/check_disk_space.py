"""Stage 3, before its jobs: stop where what is still to be written does not fit on the disk."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.data import disk_space
from sslsv_tk.data.disk_space import Kind


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="data directories, data/SET")
    parser.add_argument(
        "--in-place", type=Path, nargs="*", default=[], metavar="DIR", help="those whose wav files stay where they are"
    )
    parser.add_argument("--out", type=Path, required=True, help="where stage 3 writes, dump/raw; sets go below it")
    parser.add_argument(
        "--feats-type",
        choices=["raw", "fbank"],
        default="raw",
        help="raw: 32 kB per second of audio; fbank: 100 frames of --bands values per second",
    )
    parser.add_argument("--bands", type=int, default=80, help="fbank: mel bands of a frame")
    parser.add_argument("--compress", choices=["none", "cm2"], default="none", help="fbank: cm2 takes 2 bytes, not 4")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, compare."""
    options = get_parser().parse_args(arguments)
    size = 2 if options.compress == "cm2" else 4
    kind = Kind(options.feats_type, options.bands, size)
    disk_space.check(options.data, options.out, kind, options.in_place)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
