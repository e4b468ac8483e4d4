"""Systems side by side over repetitions with other seeds: EER, paired difference to a control, right positives."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.report.comparison import Repetition, TableRow, comparison_table
from sslsv_tk.report.evaluation import read_list


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compare_positives", description=__doc__)
    parser.add_argument("--exp", type=Path, nargs="+", required=True, help="one folder of systems per repetition")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="data directory with utt2spk, one for all or one each"
    )
    parser.add_argument(
        "--trials", type=Path, nargs="+", required=True, help="trial list that was scored, one for all or one each"
    )
    parser.add_argument(
        "--rows", nargs="+", required=True, metavar="NAME=SYSTEM/scores/LIST.score", help="paths below each --exp"
    )
    parser.add_argument("--control", required=True, help="name of the row that the others are compared with")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table in Markdown."""
    options = get_parser().parse_args(arguments)
    count = len(options.exp)
    for name in ("data", "trials"):
        if len(getattr(options, name)) not in (1, count):
            raise ValueError(f"--{name} has {len(getattr(options, name))} values; expected 1, or {count} as --exp has.")
    listed = [
        read_list(options.data[i % len(options.data)], options.trials[i % len(options.trials)]) for i in range(count)
    ]
    repetitions = [Repetition(folder, trials) for folder, trials in zip(options.exp, listed, strict=True)]
    print(comparison_table([TableRow.parse(word) for word in options.rows], options.control, repetitions), end="")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
