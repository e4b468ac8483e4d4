"""One system on one trial list: its scores, and the row of figures with all that made them."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests, layout, logs, provenance
from sslsv_tk.arks.indexes import read_scp
from sslsv_tk.kaldi.directories import DataDirectory, find_rows, remove_temporaries
from sslsv_tk.kaldi.tables import Words, first_words, text
from sslsv_tk.kaldi.trials import Trials, left_out, read_trials
from sslsv_tk.report import system
from sslsv_tk.report.score_file import write_scores
from sslsv_tk.scoring.bootstrap import LabelledTrials, TooFewSpeakers, eer_interval
from sslsv_tk.scoring.cosine import cosine_scores
from sslsv_tk.scoring.metrics import error_rates

Scores = NDArray[np.floating[Any]]

REPLICATES = 1000
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

    A row of something else under the same name raises StaleArtifact; older figures of the same are just redone.
    """
    try:
        row = artifacts.from_json(evaluation.row.read_text(encoding="utf-8"))
        old = {name: row[name] for name in evaluation.identity()}
        made_from, scores_fingerprint = row["made_from"], row["scores_fingerprint"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    if old != evaluation.identity():
        raise artifacts.StaleArtifact(
            f"{evaluation.row} is the row of {old}, not of {evaluation.identity()}. "
            "Give the list another name, or use --force true to replace the row."
        )
    whole = evaluation.scores.exists() and digests.of_file(evaluation.scores) == scores_fingerprint
    return whole and bool(made_from == _made_from(evaluation))


def evaluate(evaluation: Evaluation) -> dict[str, Any]:
    """Score the list, write the scores and then the row; returns the row."""
    for file in (evaluation.scores, evaluation.row):
        remove_temporaries(file.parent, file.name)
    made_from = _made_from(evaluation)
    options = _extraction_options(evaluation)
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
    with artifacts.replacing(evaluation.row) as stream:
        json.dump(row, stream, indent=1)
        stream.write("\n")
    return row


def read_list(data: Path, trials: Path) -> TrialList:
    """A trial list with the data directory that it speaks of; both kinds of trials must be there."""
    directory = DataDirectory.load(data)
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
    return {
        "number_of_trials": len(scores),
        "number_left_out": listed.trials.left_out,
        "number_of_targets": int(listed.trials.target.sum()),
        "eer_percent": rates.equal_error_rate(),
        "eer_interval_percent": _interval(listed, scores),
        "eer_rocch_percent": rates.equal_error_rate("rocch"),
        "mindcf_001": rates.minimum_dcf(0.01),
        "mindcf_005": rates.minimum_dcf(0.05),
    }


def _interval(listed: TrialList, scores: Scores) -> list[float] | None:
    """95 % interval of the EER over speakers, or None (and a line in the log) where the data cannot give one."""
    labelled = listed.labelled()
    if labelled is None:
        log.info("no interval for the EER: the data directory of %s has no speaker labels", listed.path)
        return None
    try:
        interval = eer_interval(scores, labelled, REPLICATES)
    except TooFewSpeakers as error:
        log.info("no interval for the EER: %s", error)
        return None
    return [interval.low, interval.high]


def _extraction_options(evaluation: Evaluation) -> dict[str, Any]:
    """How the embeddings were made, as their made.json says; those of another checkpoint are refused."""
    made = artifacts.read_record(evaluation.embeddings)
    if made is None:
        raise ValueError(f"{evaluation.embeddings}: no finished embeddings (no made.json). Run stage 6 first.")
    found = str(made["options"].get("checkpoint", evaluation.checkpoint))
    if found != evaluation.checkpoint:
        raise artifacts.StaleArtifact(
            f"{evaluation.embeddings} holds embeddings of checkpoint {found}, not {evaluation.checkpoint}. "
            "Run stage 6 with --force true."
        )
    return {**made["options"], **made.get("facts", {})}


def _made_from(evaluation: Evaluation) -> dict[str, Any]:
    """Fingerprints of all that the figures depend on."""
    folder = evaluation.embeddings
    _extraction_options(evaluation)
    files = {
        "trials": evaluation.trials,
        "embeddings record": folder / artifacts.RECORD,
        "xvector.scp": folder / "xvector.scp",
        "wav.scp": evaluation.data / "wav.scp",
        "utt2spk": evaluation.data / "utt2spk",
        "rejected": evaluation.data / "rejected",
        "config.yaml": evaluation.system / "config.yaml",
    }
    found = {name: digests.of_file(path) if path.exists() else "absent" for name, path in files.items()}
    if found["xvector.scp"] == "absent":
        raise ValueError(f"{folder}: made.json says that embeddings are there, but xvector.scp is not. Run stage 6.")
    arks = [text(ark) for ark in np.unique(read_scp(folder / "xvector.scp")[1])]
    return {**found, "arks": digests.of_files(arks), "replicates": REPLICATES}
