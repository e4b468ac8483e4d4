"""Stage 3, before its jobs: stop where what is still to be written does not fit on the disk."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.packing import disk_space
from sslsv_tk.packing.disk_space import Encoding, Writing


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="data directories whose audio is packed, data/SET",
    )
    parser.add_argument(
        "--in-place", type=Path, nargs="*", default=[], metavar="DIR", help="those whose wav files stay where they are"
    )
    parser.add_argument("--out", type=Path, required=True, help="where audio is packed, dump/raw; sets go below it")
    parser.add_argument(
        "--feature-data", type=Path, nargs="*", default=[], metavar="DIR", help="those of which features are computed"
    )
    parser.add_argument("--feature-out", type=Path, help="where features are written, dump/fbank; sets go below it")
    parser.add_argument("--bands", type=int, default=40, help="mel bands of a frame, of which a second has 100")
    parser.add_argument(
        "--compress", choices=["none", "cm2"], default="none", help="cm2 takes 2 bytes per value, not 4"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = get_parser()
    options = parser.parse_args(arguments)
    writings = [Writing(options.data, options.out, Encoding(), options.in_place)]
    if (options.feature_out is None) != (not options.feature_data):
        parser.error("--feature-data and --feature-out come together")
    if options.feature_out is not None:
        kind = Encoding("fbank", options.bands, 2 if options.compress == "cm2" else 4)
        writings.append(Writing(options.feature_data, options.feature_out, kind))
    disk_space.check(*writings)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
