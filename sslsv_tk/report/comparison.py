"""Several systems side by side over repetitions (seeds): EER, paired difference to a control, quality of positives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sslsv_tk import artifacts
from sslsv_tk.kaldi.tables import text
from sslsv_tk.report.evaluation import REPLICATES, TrialList
from sslsv_tk.report.score_file import read_scores
from sslsv_tk.scoring.bootstrap import LabelledTrials, compare_eer
from sslsv_tk.scoring.metrics import Floats, equal_error_rate

DIAGNOSTICS = ("coverage", "speaker_accuracy", "recording_accuracy", "seconds")
HEADINGS = ("coverage", "right speaker", "same recording", "s/epoch")


@dataclass(frozen=True)
class Repetition:
    """One run of all systems: its folder of systems, and the trial list that they were scored on."""

    experiments: Path
    listed: TrialList

    def labelled(self) -> LabelledTrials:
        """The trials with speakers, which the bootstrap resamples."""
        labelled = self.listed.labelled()
        if labelled is None:
            raise ValueError(f"{self.listed.path}: a comparison resamples speakers, but utt2spk has no labels.")
        return labelled


@dataclass(frozen=True)
class TableRow:
    """A row: its name, and where each repetition keeps the scores, SYSTEM/scores/LIST.score below its folder."""

    name: str
    scores: str

    @classmethod
    def parse(cls, word: str) -> "TableRow":
        """NAME=SYSTEM/scores/LIST.score"""
        name, equals, scores = word.partition("=")
        if not (name and equals and scores):
            raise ValueError(f"--rows {word}: expected NAME=SYSTEM/scores/LIST.score, below each folder of --exp.")
        return cls(name, scores)


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


def last_epoch(system: Path) -> dict[str, float]:
    """The numbers of the last epoch in metrics.jsonl; none for a system that was not trained."""
    epochs = epochs_of(system)
    return epochs[-1] if epochs else {}


def epochs_of(system: Path) -> list[dict[str, float]]:
    """The numbers of each epoch in metrics.jsonl; none for a system that was not trained."""
    path = system / "metrics.jsonl"
    if not path.exists():
        return []
    with open(path, "rb") as stream:
        records = [_record(line, f"{path}:{number}") for number, line in enumerate(stream, start=1)]
    return [
        {name: value for name, value in record.items() if isinstance(value, (int, float))}
        for record in records
        if record.get("kind") == "epoch"
    ]


def _record(line: bytes, place: str) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    try:
        found = artifacts.from_json(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{place}: expected a table of numbers in JSON, found {text(line[:60].strip())!r}.")
    return found


def comparison_table(rows: Sequence[TableRow], control: str, repetitions: Sequence[Repetition]) -> str:
    """Markdown: per row the EER of each repetition, its mean, and the paired difference to the row `control`."""
    names = [row.name for row in rows]
    if control not in names:
        raise ValueError(f"--control {control}: not one of the rows {', '.join(names)}.")
    reference = rows[names.index(control)]
    titles = ["system", "EER %", "mean", f"minus {control}, paired, [95 % interval]", *HEADINGS]
    lines = [titles, ["---"] * len(titles), *(_cells(row, reference, repetitions) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(row: TableRow, control: TableRow, repetitions: Sequence[Repetition]) -> list[str]:
    rates, differences = [], []
    for repetition in repetitions:
        scores = scores_of_list(repetition.experiments / row.scores, repetition.listed)
        rates.append(equal_error_rate(scores, repetition.listed.trials.target))
        if row != control:
            against = scores_of_list(repetition.experiments / control.scores, repetition.listed)
            found = compare_eer(scores, against, repetition.labelled(), REPLICATES, 0).difference
            star = "*" if found.excludes_zero else ""
            differences.append(f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]{star}")
    epochs = [last_epoch(repetition.experiments / Path(row.scores).parts[0]) for repetition in repetitions]
    numbers = [_mean([epoch[name] for epoch in epochs if name in epoch]) for name in DIAGNOSTICS]
    return [
        row.name,
        " / ".join(f"{rate:.2f}" for rate in rates),
        f"{np.mean(rates):.2f}",
        "; ".join(differences) or "0",
        *numbers,
    ]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = float(np.mean(values))
    return f"{mean:.1f}" if mean >= 2 else f"{mean:.3f}"
