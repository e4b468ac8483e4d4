"""EER of score files under every convention, side by side: interpolated, nearest point and convex hull.

Either of some score files of one list (`--scores`), or of all below a folder of systems (`--exp`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.report.conventions import Scored, scored_below, table


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compute_eer", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--scores", type=Path, nargs="+", help="score files, exp/SYSTEM/scores/LIST.score")
    which.add_argument("--exp", type=Path, help="folder of systems, of which all scores are read")
    parser.add_argument("--trials", type=Path, help="with --scores: their trial list, data/SET/trials_LIST")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="with --scores: the data directory of the list, data/SET; with --exp: the folder of all of them, data",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table in Markdown."""
    parser = get_parser()
    options = parser.parse_args(arguments)
    if (options.scores is None) != (options.trials is None):
        parser.error("--scores needs --trials, and --exp takes none")
    if options.scores is None:
        files = scored_below(options.exp, options.data)
    else:
        files = [Scored(path, options.data, options.trials) for path in options.scores]
    print(table(files), end="")
    return 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
