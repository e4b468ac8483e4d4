"""Score files read again: the EER of each under every convention, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk import artifacts
from sslsv_tk.report.comparison import scores_of_list
from sslsv_tk.report.evaluation import TrialList, read_list
from sslsv_tk.scoring.bootstrap import chance_interval
from sslsv_tk.scoring.metrics import error_rates

COLUMNS = ("scores", "trials", "EER %", "nearest-point EER %", "ROCCH-EER %", "minDCF(0.01)")


@dataclass(frozen=True)
class Scored:
    """A score file, and the list that it is of with the data directory that the list speaks of."""

    scores: Path
    data: Path
    trials: Path


def scored_below(experiments: Path, data: Path) -> list[Scored]:
    """All score files of a folder of systems; their lists are DATA/SET/trials_LIST, as stage 1 leaves them."""
    rows = sorted(experiments.glob("*/scores/*.json"))
    if not rows:
        raise ValueError(f"{experiments}: no system has scores (*/scores/*.json). Run stage 7 for one first.")
    return [_scored(row, data) for row in rows]


def _scored(row: Path, data: Path) -> Scored:
    try:
        facts = artifacts.from_json(row.read_text(encoding="utf-8"))
        folder, name = data / facts["data"], f"trials_{facts['trials']}"
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{row}: not a row of results. Remove it and run stage 7 again.") from None
    return Scored(row.with_suffix(".score"), folder, folder / name)


def table(files: Sequence[Scored]) -> str:
    """One line per score file in Markdown; each list is read once."""
    lists: dict[tuple[Path, Path], TrialList] = {}

    def lines() -> Iterator[Sequence[str]]:
        yield COLUMNS
        yield ["---"] * len(COLUMNS)
        for file in files:
            key = file.data, file.trials
            lists[key] = lists.get(key) or read_list(*key)
            yield _cells(file, lists[key])

    return "".join(f"| {' | '.join(line)} |\n" for line in lines())


def _cells(file: Scored, listed: TrialList) -> list[str]:
    targets = listed.trials.target
    rates = error_rates(scores_of_list(file.scores, listed), targets)
    eer = rates.equal_error_rate()
    chance = chance_interval(eer, targets).against_chance
    return [
        str(file.scores),
        f"{file.data.name}: {file.trials.name.removeprefix('trials_')} ({len(targets):,})",
        f"{eer:.2f}{chance and ', '}{chance}",
        f"{rates.equal_error_rate('nearest'):.2f}",
        f"{rates.equal_error_rate('rocch'):.2f}",
        f"{rates.minimum_dcf(0.01):.4f}",
    ]
