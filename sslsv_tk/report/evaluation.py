"""One system on one trial list: its scores, and the row of figures with all that made them."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests, layout, logs, provenance, records
from sslsv_tk.kaldi import prepared_trials
from sslsv_tk.kaldi.directories import DataDirectory, find_rows, remove_temporaries
from sslsv_tk.kaldi.tables import Words, first_words, text
from sslsv_tk.kaldi.trials import Trials, left_out, read_trials
from sslsv_tk.records import CONTENTS, Record
from sslsv_tk.report import results, system
from sslsv_tk.report.score_file import write_scores
from sslsv_tk.scoring.bootstrap import Interval, LabelledTrials, TooFewSpeakers, chance_interval, eer_interval
from sslsv_tk.scoring.cosine import cosine_scores
from sslsv_tk.scoring.metrics import error_rates

Scores = NDArray[np.floating[Any]]

REPLICATES = 1000
_REFUSED = {"trials": "trials", "data": "audio", "speakers": "speakers"}
"""What a row is of: two that differ here must not share a file, whatever their names."""
log = logs.logger("score_trials")


@dataclass(frozen=True)
class TrialList:
    """Trials as row numbers into the keys (N,) of a data directory, and the speakers (N,) if it knows them."""

    path: Path
    keys: Words
    trials: Trials
    speakers: Words | None

    def labelled(self) -> LabelledTrials | None:
        """The trials with the speakers of both sides; None where every utterance is its own speaker: no labels."""
        if self.speakers is None or np.array_equal(self.speakers, self.keys):
            return None
        codes = np.unique(self.speakers, return_inverse=True)[1]
        try:
            return LabelledTrials(self.trials.target, codes[self.trials.enrol], codes[self.trials.test])
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None


@dataclass(frozen=True)
class Evaluation:
    """Which embeddings to score on which list; `data` is the data directory that the list speaks of."""

    system: Path
    checkpoint: str
    data: Path
    trials: Path

    @property
    def embeddings(self) -> Path:
        return layout.embeddings_folder(self.system, self.data, self.checkpoint)

    @property
    def scores(self) -> Path:
        return layout.score_file(self.system, self.trials, self.checkpoint)

    @property
    def row(self) -> Path:
        return self.scores.with_suffix(".json")

    def identity(self) -> dict[str, str]:
        """What the row is of; two rows that differ here must not share a file."""
        return {
            "system": self.system.resolve().name,
            "checkpoint": self.checkpoint,
            "trials": layout.list_name(self.trials),
            "data": self.data.name,
        }


def is_complete(evaluation: Evaluation) -> bool:
    """Do scores and row stand there, whole, made from the embeddings and the list as they are now?

    A row of something else under the same name (another list, another test set) raises StaleArtifact; older figures of
    the same are just redone.
    """
    try:
        row = results.unsealed(artifacts.from_json(evaluation.row.read_text(encoding="utf-8")))
        old = {name: row[name] for name in evaluation.identity()}
        made_from, scores_fingerprint = row["made_from"], row["scores_fingerprint"]
        wanted = _made_from(evaluation, system.record_of(evaluation.embeddings))
        others = [name for name in _REFUSED if made_from[name] != wanted[name]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    if old != evaluation.identity():
        raise artifacts.StaleArtifact(
            f"{evaluation.row} is the row of {old}, not of {evaluation.identity()}. "
            "Give the list another name, or use --force true to replace the row."
        )
    if others:
        raise artifacts.StaleArtifact(
            f"{evaluation.row} was made of other {' and '.join(_REFUSED[name] for name in others)} than"
            f" {evaluation.trials} and {evaluation.data}. Use another --expdir or another name (run.sh: --test-audio"
            " NAME=DIR), or --force true to replace the row."
        )
    whole = evaluation.scores.exists() and digests.of_file(evaluation.scores) == scores_fingerprint
    return whole and bool(made_from == wanted)


def evaluate(evaluation: Evaluation) -> dict[str, Any]:
    """Score the list, write the scores and then the row; returns the row."""
    for file in (evaluation.scores, evaluation.row):
        remove_temporaries(file.parent, file.name)
    made = system.record_of(evaluation.embeddings)
    options, made_from = _extraction_options(evaluation, made), _made_from(evaluation, made)
    listed = read_list(evaluation.data, evaluation.trials)
    scores = _score(evaluation, listed)
    figures = _figures(listed, scores)
    keys, trials = listed.keys, listed.trials
    write_scores(evaluation.scores, keys[trials.enrol], keys[trials.test], scores)
    row = {
        **evaluation.identity(),
        **figures,
        **system.configuration(evaluation.system),
        "commit": provenance.commit(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "hardware": provenance.hardware(),
        "extraction": options,
        "trials_fingerprint": digests.of_file(evaluation.trials),
        "scores_fingerprint": digests.of_file(evaluation.scores),
        "made_from": made_from,
    }
    row = digests.sealed(row)
    with artifacts.replacing(evaluation.row) as stream:
        json.dump(row, stream, indent=1)
        stream.write("\n")
    return row


def read_list(data: Path, trials: Path) -> TrialList:
    """A trial list with the data directory that it speaks of; both kinds of trials must be there."""
    records.require_tables(data)
    directory = DataDirectory.load(data)
    prepared_trials.require_whole(trials)
    listed = read_trials(trials, directory.keys, left_out(data))
    listed.require_both_kinds(trials)
    return TrialList(trials, directory.keys, listed, directory.speakers)


def _score(evaluation: Evaluation, listed: TrialList) -> Scores:
    keys, embeddings = system.read_embeddings(evaluation.embeddings)
    rows = find_rows(keys, listed.keys)
    used = np.unique(np.concatenate([listed.trials.enrol, listed.trials.test]))
    missing = listed.keys[used[rows[used] < 0]]
    if len(missing):
        raise ValueError(
            f"{evaluation.embeddings}: no embedding for {len(missing)} of the {len(used)} utterances of {listed.path}: "
            f"{first_words(missing)}. Run stage 6 for this data."
        )
    try:
        return cosine_scores(embeddings, rows[listed.trials.enrol], rows[listed.trials.test], [text(k) for k in keys])
    except ValueError as error:
        raise ValueError(f"{evaluation.embeddings}: {error}") from None


def _figures(listed: TrialList, scores: Scores) -> dict[str, Any]:
    rates = error_rates(scores, listed.trials.target)
    eer, interval = rates.equal_error_rate(), _interval(listed, scores)
    return {
        "number_of_trials": len(scores),
        "number_left_out": listed.trials.left_out,
        "number_of_targets": int(listed.trials.target.sum()),
        "eer_percent": eer,
        "eer_interval_percent": None if interval is None else [interval.low, interval.high],
        "against_chance": (interval or chance_interval(eer, listed.trials.target)).against_chance,
        "eer_nearest_percent": rates.equal_error_rate("nearest"),
        "eer_rocch_percent": rates.equal_error_rate("rocch"),
        "mindcf_001": rates.minimum_dcf(0.01),
        "mindcf_005": rates.minimum_dcf(0.05),
    }


def _interval(listed: TrialList, scores: Scores) -> Interval | None:
    """95 % interval of the EER over speakers, or None (and a line in the log) where the data cannot give one."""
    labelled = listed.labelled()
    if labelled is None:
        log.info("no interval for the EER: the data directory of %s has no speaker labels", listed.path)
        return None
    try:
        return eer_interval(scores, labelled, REPLICATES)
    except TooFewSpeakers as error:
        log.info("no interval for the EER: %s", error)
        return None


def _extraction_options(evaluation: Evaluation, made: Record) -> dict[str, Any]:
    """How the embeddings were made, as their record says; those of another checkpoint are refused."""
    found = str(made.options.get("checkpoint", evaluation.checkpoint))
    if found != evaluation.checkpoint:
        raise artifacts.StaleArtifact(
            f"{evaluation.embeddings} holds embeddings of checkpoint {found}, not {evaluation.checkpoint}. "
            "Run stage 6 with --force true."
        )
    return {**made.options, **made.facts}


def _made_from(evaluation: Evaluation, made: Record) -> dict[str, Any]:
    """Digests of all that the figures depend on; no path and no name is among them."""
    tables = {"speakers": evaluation.data / "utt2spk", "rejected": evaluation.data / "rejected"}
    return {
        **{name: digests.of_file(path) if path.is_file() else "absent" for name, path in tables.items()},
        "trials": prepared_trials.digest(evaluation.trials),
        "data": made.inputs.get("data", "unknown"),
        "embeddings": made.facts[CONTENTS],
        "configuration": made.inputs.get("configuration", "unknown"),
        "replicates": REPLICATES,
    }
