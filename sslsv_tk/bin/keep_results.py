"""Copy the rows of chosen systems into a RESULTS.md that is kept in the repository, under a heading."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.report.results import keep_results, read_rows

log = logs.logger("keep_results")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keep_results", description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, help="folder of the systems")
    parser.add_argument("--systems", nargs="+", required=True, help="names of the systems whose rows are copied")
    parser.add_argument("--title", required=True, help="heading; an earlier section of the same title is replaced")
    parser.add_argument("--note", default="", help="a line under the heading: protocol, command (default: none)")
    parser.add_argument("--out", type=Path, default=Path("RESULTS.md"), help="file to copy into (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy the rows."""
    options = get_parser().parse_args(arguments)
    rows = read_rows(options.exp, options.systems)
    keep_results(rows, options.title, options.out, options.note)
    log.info("%s: %d rows under %r", options.out, len(rows), options.title)
    return 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
