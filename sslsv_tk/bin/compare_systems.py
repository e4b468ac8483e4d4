"""Is one system better than another? Their EER on one list and the difference, by a paired bootstrap over speakers."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.report.comparison import scores_of_list
from sslsv_tk.report.evaluation import REPLICATES, read_list
from sslsv_tk.scoring.bootstrap import compare_eer


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compare_systems", description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="score file of the system in question")
    parser.add_argument("--against", type=Path, required=True, help="score file of the system it is compared with")
    parser.add_argument("--trials", type=Path, required=True, help="the trial list of both, data/SET/trials_LIST")
    parser.add_argument("--data", type=Path, required=True, help="data directory with wav.scp and utt2spk, data/SET")
    parser.add_argument(
        "--replicates",
        type=int,
        default=REPLICATES,
        help="draws of speakers; 1000 settle two digits (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the EER of both systems and their difference, each with its interval."""
    options = get_parser().parse_args(arguments)
    listed = read_list(options.data, options.trials)
    labelled = listed.labelled()
    if labelled is None:
        raise ValueError(f"{options.data}: a comparison resamples speakers, but there are no speaker labels (utt2spk).")
    scores, against = (scores_of_list(path, listed) for path in (options.scores, options.against))
    comparison = compare_eer(scores, against, labelled, options.replicates, options.seed)
    difference = comparison.difference
    verdict = "significant" if difference.excludes_zero else "not significant"
    for path, eer in ((options.scores, comparison.first), (options.against, comparison.second)):
        print(f"{path}: EER {eer} %{eer.against_chance and ', '}{eer.against_chance}")
    print(f"difference: {difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] points, {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
