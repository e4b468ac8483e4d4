"""Score a trial list with the embeddings of a system (stage 7): scores/LIST.score and its row, scores/LIST.json."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.layout import DEFAULT_CHECKPOINT
from sslsv_tk.report.evaluation import Evaluation, evaluate, is_complete

log = logs.logger("score_trials")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="score_trials", description=__doc__)
    parser.add_argument("--system", type=Path, required=True, help="folder of the system, exp/SYSTEM")
    parser.add_argument(
        "--checkpoint",
        default=DEFAULT_CHECKPOINT,
        help="whose embeddings: averaged, latest, best or an epoch number; all but averaged end the names of set and "
        "list (default: %(default)s)",
    )
    parser.add_argument("--data", type=Path, required=True, help="data directory that was extracted, dump/raw/SET")
    parser.add_argument("--trials", type=Path, required=True, help="trial list, data/SET/trials_LIST")
    parser.add_argument(
        "--force",
        choices=("true", "false"),
        default="false",
        help="score again what is complete (default: %(default)s)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the list unless its scores are there, made from the same embeddings and the same list."""
    options = get_parser().parse_args(arguments)
    evaluation = Evaluation(options.system, options.checkpoint, options.data, options.trials)
    if options.force == "false" and is_complete(evaluation):
        log.info("%s: complete", evaluation.scores)
        return 0
    row = evaluate(evaluation)
    interval = row["eer_interval_percent"]
    log.info(
        "%s: %d trials%s, EER %.2f %%%s%s, nearest point %.2f %%, minDCF(0.01) %.4f, minDCF(0.05) %.4f",
        evaluation.scores,
        row["number_of_trials"],
        f" ({row['number_left_out']} left out)" if row["number_left_out"] else "",
        row["eer_percent"],
        "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]",
        row["against_chance"] and f" ({row['against_chance']})",
        row["eer_nearest_percent"],
        row["mindcf_001"],
        row["mindcf_005"],
    )
    return 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
