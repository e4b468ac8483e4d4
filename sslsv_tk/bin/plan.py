"""The plan of a run of run.sh: all its options resolved and checked, printed as lines name=value. Changes nothing."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from sslsv_tk import logs
from sslsv_tk.recipes import options as recipe_options
from sslsv_tk.recipes import plan
from sslsv_tk.recipes.options import Mistake

log = logs.logger("plan")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plan", description=__doc__)
    again = "check what needs the training set, which stage 1 has made; print nothing"
    parser.add_argument("--after-stage", type=int, choices=[1], help=again)
    words = "all options of run.sh as NAME=VALUE; one that takes several values is given several times"
    parser.add_argument("words", nargs="*", metavar="NAME=VALUE", help=words)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Decide, check, print; status 2 where an option cannot be meant, 1 where what it names cannot be used."""
    given = get_parser().parse_args(arguments)
    try:
        made = plan.make(recipe_options.parse(given.words), os.environ)
        plan.check(made, after_stage_1=given.after_stage == 1)
        lines = made.lines()
    except Mistake as mistake:
        log.error("error: %s", mistake)
        return 2
    if given.after_stage is None:
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    # The words are those of run.sh, which has logged them: errors alone are news.
    logging.basicConfig(level=logging.WARNING, format=logs.FORMAT, datefmt=logs.TIME_FORMAT)
    sys.exit(logs.run_command(main))
