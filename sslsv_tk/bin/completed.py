"""Which stages of a run of run.sh are complete, printed in one line; with --note N, write down that one is.

The plan (what bin/plan prints) is read from a file. Neither torch nor any content is read: names, sizes, times, inodes.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import artifacts, logs
from sslsv_tk.recipes import completed
from sslsv_tk.recipes.completed import Run

log = logs.logger("completed")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="completed", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, metavar="FILE", help="lines name=value of bin/plan")
    noted = "this stage ended well: note the state of its files, beside the audio as it was listed before"
    parser.add_argument("--note", type=int, choices=list(completed.STAGES), metavar="STAGE", help=noted)
    words = "all options of run.sh as NAME=VALUE; one that takes several values is given several times"
    parser.add_argument("words", nargs="*", metavar="NAME=VALUE", help=words)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the stages that can be skipped, or write a note."""
    options = get_parser().parse_args(arguments)
    run = Run(completed.parse(options.words), completed.parse(options.plan.read_text().splitlines()))
    listed = options.plan.with_name("listings.json")
    if options.note is not None:
        completed.note(run, options.note, str(artifacts.from_json(listed.read_text())[str(options.note)]))
        return
    found, listings = completed.complete(run)
    with artifacts.replacing(listed) as stream:
        stream.write(completed.as_json(listings))
    print(*sorted(found if "true" not in run.options.get("force", ()) else ()))


if __name__ == "__main__":
    # The words are those of run.sh, which has logged them: errors alone are news.
    logging.basicConfig(level=logging.WARNING, format=logs.FORMAT, datefmt=logs.TIME_FORMAT)
    sys.exit(logs.run_command(main))
