"""The plan of a run of run.sh: all its options resolved and checked, printed as lines name=value. Changes nothing."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from sslsv_tk import logs
from sslsv_tk.config import ConfigError
from sslsv_tk.recipes import checks, plan
from sslsv_tk.recipes import options as recipe_options
from sslsv_tk.recipes.options import Mistake
from sslsv_tk.recipes.scale import AUTO

log = logs.logger("plan")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plan", description=__doc__)
    again = "the plan once more, now that stage 1 has made the training set: what needs it is checked and decided"
    parser.add_argument("--after-stage", type=int, choices=[1], help=again)
    words = "all options of run.sh as NAME=VALUE; one that takes several values is given several times"
    parser.add_argument("words", nargs="*", metavar="NAME=VALUE", help=words)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Decide, check, print; status 2 where an option cannot be meant, 1 where what it names cannot be used."""
    given = get_parser().parse_args(arguments)
    try:
        after_stage_1 = given.after_stage == 1
        made = plan.make(recipe_options.parse(given.words), os.environ, after_stage_1)
        checks.check(made, after_stage_1)
        lines = made.lines()
    except (Mistake, ConfigError) as mistake:
        log.error("error: %s", mistake)
        return 2
    if after_stage_1:  # the other notes were read before
        lines = [line for line in lines if not line.startswith("note=") or line.startswith(f"note=--scale {AUTO}")]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    # The words are those of run.sh, which has logged them: errors alone are news.
    logging.basicConfig(level=logging.WARNING, format=logs.FORMAT, datefmt=logs.TIME_FORMAT)
    sys.exit(logs.run_command(main))
