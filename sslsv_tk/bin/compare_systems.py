"""Is one system better than another? Their EER on one list and the difference, by a paired bootstrap over speakers."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sslsv_tk import logs
from sslsv_tk.data.tables import text
from sslsv_tk.report.evaluation import REPLICATES, TrialList, read_list
from sslsv_tk.report.score_file import read_scores
from sslsv_tk.scoring.bootstrap import compare_eer
from sslsv_tk.scoring.metrics import Floats


def get_parser() -> argparse.ArgumentParser:
    """The options of the command."""
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


def scores_of_list(path: Path, listed: TrialList) -> Floats:
    """Scores (T,) of a file that must hold the trials of the list in its order."""
    enrol, test, scores = read_scores(path)
    if len(scores) != len(listed.trials):
        raise ValueError(f"{path} has {len(scores)} scores, {listed.path} has {len(listed.trials)} trials.")
    wanted = listed.keys[listed.trials.enrol], listed.keys[listed.trials.test]
    other = np.flatnonzero((enrol != wanted[0]) | (test != wanted[1]))
    if len(other):
        expected, found = (f"{text(side[0][other[0]])} {text(side[1][other[0]])}" for side in (wanted, (enrol, test)))
        raise ValueError(
            f"{path}:{other[0] + 1}: expected {expected} as in {listed.path}, found {found}: another list."
        )
    return scores


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
    print(f"{options.scores}: EER {comparison.first} %")
    print(f"{options.against}: EER {comparison.second} %")
    print(f"difference: {difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] points, {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
