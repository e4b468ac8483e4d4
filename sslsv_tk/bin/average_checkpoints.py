"""Average the weights of the last epochs of a system (after stages 4 and 5): checkpoints/averaged.pt."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.runs.averaging import write_average
from sslsv_tk.systems.on_disk import System


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", type=Path, required=True, help="folder of the system, exp/SYSTEM")
    parser.add_argument(
        "--last",
        type=int,
        metavar="N",
        help="epochs to average; default: training.average_epochs of the system, continued_average_epochs in stage 5",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Average unless the file is there, made from the same epochs."""
    options = get_parser().parse_args(arguments)
    if options.last is not None and options.last < 1:
        raise ValueError(f"--last {options.last}: expected at least 1 epoch.")
    write_average(System(options.system), options.last)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
