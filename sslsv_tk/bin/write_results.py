"""Write RESULTS.md of a folder of systems anew from every SYSTEM/scores/*.json (stage 7)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.report.results import write_results

log = logs.logger("write_results")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="write_results", description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, help="folder of the systems; RESULTS.md is written into it")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table and print it."""
    options = get_parser().parse_args(arguments)
    path = write_results(options.exp)
    sys.stdout.write(path.read_text(encoding="utf-8"))
    log.info("%s written", path)
    return 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
