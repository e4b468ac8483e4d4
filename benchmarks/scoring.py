"""Seconds to score a trial list, beside a straightforward implementation in the same run.

    python3 benchmarks/scoring.py [--trials 37611 580000]

The straightforward one keeps embeddings in a dictionary, takes the cosine of one trial after the other in a Python
loop and gets the error rates from running counts in Python lists, as public toolkits do. Embeddings are random.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import beside
import numpy as np
from machine import product_rate
from numpy.typing import NDArray

from sslsv_tk.scoring.bootstrap import LabelledTrials, eer_interval
from sslsv_tk.scoring.cosine import cosine_scores
from sslsv_tk.scoring.metrics import error_rates

T = TypeVar("T")
UTTERANCES = {37_611: 4_708, 580_000: 4_708}  # VoxCeleb1-O cleaned; the size of E and H on the same utterances
SPEAKERS, DIMENSION, REPLICATES = 40, 512, 1000


@dataclass(frozen=True)
class Case:
    """Embeddings (N, 512) of speakers with noise, and trials as row numbers (T,)."""

    embeddings: NDArray[np.float32]
    speakers: NDArray[np.int64]
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def targets(self) -> NDArray[np.bool_]:
        return self.speakers[self.enrol] == self.speakers[self.test]


def draw(utterances: int, trials: int) -> Case:
    """Half of the trials are target trials."""
    generator = np.random.default_rng(0)
    speakers = np.arange(utterances) % SPEAKERS
    embeddings = generator.standard_normal((SPEAKERS, DIMENSION))[speakers]
    embeddings += 4 * generator.standard_normal((utterances, DIMENSION))
    enrol, test = generator.integers(0, utterances, (2, trials))
    same = np.arange(trials) % 2 == 0
    test[same] = generator.integers(0, utterances // SPEAKERS, same.sum()) * SPEAKERS + speakers[enrol[same]]
    return Case(embeddings.astype(np.float32), speakers, enrol, test)


def ours(case: Case) -> tuple[float, float]:
    """EER in per cent and minimum DCF at 0.01."""
    rates = error_rates(cosine_scores(case.embeddings, case.enrol, case.test), case.targets)
    return rates.equal_error_rate("nearest"), rates.minimum_dcf(0.01)


def straightforward(case: Case) -> tuple[float, float]:
    """The same, one trial after the other."""
    vectors = dict(enumerate(case.embeddings))
    scores = []
    for enrol, test in zip(case.enrol.tolist(), case.test.tolist(), strict=True):
        first, second = vectors[enrol], vectors[test]
        scores.append(float(np.dot(first, second) / (np.linalg.norm(first) * np.linalg.norm(second))))
    ranked = sorted(zip(scores, case.targets.tolist(), strict=True))
    target_count = sum(target for _, target in ranked)
    nontarget_count = len(ranked) - target_count
    misses, alarms, nearest, eer, cost = 0, nontarget_count, 2.0, 100.0, 1.0
    for _, target in ranked:
        misses, alarms = misses + target, alarms - (not target)
        miss, alarm = misses / target_count, alarms / nontarget_count
        if abs(miss - alarm) <= nearest:
            nearest, eer = abs(miss - alarm), 100 * max(miss, alarm)
        cost = min(cost, (0.01 * miss + 0.99 * alarm) / 0.01)
    return eer, cost


def seconds(work: Callable[[], T], repeats: int) -> tuple[float, T]:
    """The best of several runs, and the result."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


def measure(trials: int) -> list[str]:
    """The row of one list."""
    utterances = UTTERANCES.get(trials, max(SPEAKERS, trials // 8))
    case = draw(utterances, trials)
    fast, figures = seconds(lambda: ours(case), 5)
    slow, wanted = seconds(lambda: straightforward(case), 1)
    if not np.allclose(figures, wanted, rtol=1e-3):
        raise ValueError(f"{trials} trials: EER and minDCF {figures} are not those of the loop, {wanted}.")
    scores = cosine_scores(case.embeddings, case.enrol, case.test)
    labelled = LabelledTrials(case.targets, case.speakers[case.enrol], case.speakers[case.test])
    resampled, _ = seconds(lambda: eer_interval(scores, labelled, REPLICATES), 1)
    return [f"{trials:,} of {utterances:,}", f"{fast:.3f}", f"{slow:.2f}", f"{slow / fast:.0f}", f"{resampled:.2f}"]


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=list(UTTERANCES), help="lengths of the lists")
    return parser


def main() -> int:
    """Print the table."""
    options = beside.parsed(get_parser())
    if options.smoke:
        options.trials = [2000]
    rate = product_rate(side=64 if options.smoke else 4096)
    print(f"4096 x 4096 fp32 product: {rate:.3f} TFLOP/s on {os.environ['OMP_NUM_THREADS']} threads\n")
    print(f"| trials of utterances | cosine + EER + minDCF, s | loop, s | ratio | bootstrap x {REPLICATES}, s |")
    print("| --- | --- | --- | --- | --- |")
    for trials in options.trials:
        print(f"| {' | '.join(measure(trials))} |", flush=True)
    return 0


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "2":  # read when numpy loads, so the script starts itself anew
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "2"})
    sys.exit(main())
