"""Tables of results: one row per system, checkpoint and trial list, from the rows that stage 7 left."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sslsv_tk import artifacts, digests
from sslsv_tk.kaldi.directories import remove_temporaries
from sslsv_tk.kaldi.trials import official_name
from sslsv_tk.provenance import commit, hardware, versions
from sslsv_tk.scoring.metrics import EER_CONVENTIONS
from sslsv_tk.stamps import distrust

Row = dict[str, Any]

COLUMNS = (
    "system",
    "checkpoint",
    "trials",
    "EER % [95 % interval]",
    "nearest-point EER %",
    "ROCCH-EER %",
    "minDCF(0.01)",
    "minDCF(0.05)",
    "seed",
    "trained in",
    "commit",
    "configuration",
)
CONVENTION = (
    f"EER: {EER_CONVENTIONS['interpolated']}; interval: paired bootstrap over speakers; "
    "at chance: the interval holds 50; no interval: fewer than 5 speakers. "
    f"Nearest-point EER, as the SSPS authors take it: {EER_CONVENTIONS['nearest']}. "
    f"ROCCH-EER: {EER_CONVENTIONS['rocch']}. "
    "minDCF(p): prior p of a target trial, both costs 1, normalised. Scores: cosine of full-length embeddings."
)
_TITLE = "# Results"
_Number = (int, float)
_NEEDED: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("system", "checkpoint", "trials", "data"), str),
    "number_of_trials": int,
    **dict.fromkeys(("eer_percent", "eer_nearest_percent", "eer_rocch_percent", "mindcf_001", "mindcf_005"), _Number),
    **dict.fromkeys(("eer_interval_percent", "seed", "arithmetic", "commit", "config_fingerprint"), object),
    "against_chance": str,
    "extraction": dict,
}


def read_rows(experiments: str | Path, systems: Collection[str] = ()) -> list[Row]:
    """The rows of all systems below a folder, or of those named, sorted by list, system and checkpoint."""
    rows = [_read_row(path) for path in sorted(Path(experiments).glob("*/scores/*.json"))]
    if not rows:
        raise ValueError(f"{experiments}: no system has scores (*/scores/*.json). Run stage 7 for one first.")
    present = {row["system"] for row in rows}
    missing = sorted(set(systems) - present)
    if missing:
        raise ValueError(f"{experiments}: no scores of {', '.join(missing)}; there are {', '.join(sorted(present))}.")
    return sorted((row for row in rows if not systems or row["system"] in systems), key=_place)


def unsealed(row: Any) -> Any:
    """The row without its digest; ValueError where it says something else than was written."""
    if not isinstance(row, dict) or digests.SEAL not in row:
        raise ValueError("no digest in it")
    value = digests.unsealed(row)
    if value is None:
        raise ValueError("other contents than were written")
    return value


def _read_row(path: Path) -> Row:
    try:
        row = unsealed(artifacts.from_json(path.read_text(encoding="utf-8")))
    except ValueError as error:
        distrust(path)
        raise ValueError(f"{path}: not a row of results ({error}). Remove it and run stage 7 again.") from None
    missing = sorted(_NEEDED.keys() - row.keys()) if isinstance(row, dict) else ["everything"]
    if missing:
        raise ValueError(f"{path}: a row of results without {', '.join(missing)}. Remove it and run stage 7 again.")
    wrong = [f"{name} {row[name]!r}" for name, kind in _NEEDED.items() if not isinstance(row[name], kind)]
    wrong += [] if _is_interval(row["eer_interval_percent"]) else ["eer_interval_percent"]
    wrong += [] if isinstance(row.get("number_left_out", 0), int) else ["number_left_out"]
    if not wrong and not isinstance(row["extraction"].get("epochs", []), list):
        wrong = ["list of epochs"]
    if wrong:
        raise ValueError(f"{path}: a row of results with a wrong {', '.join(wrong)}. Remove it, run stage 7 again.")
    checked: dict[str, Any] = row
    return checked


def _is_interval(value: Any) -> bool:
    """Two numbers, or nothing at all."""
    if value is None:
        return True
    return isinstance(value, list) and len(value) == 2 and all(isinstance(bound, _Number) for bound in value)


def _place(row: Row) -> tuple[list[tuple[int, int | str]], ...]:
    """Numbers inside names sort as numbers: checkpoint 9 before 10."""
    return tuple(
        [(0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", str(row[name]))]
        for name in ("data", "trials", "system", "checkpoint")
    )


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, with the conventions below them."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{CONVENTION}\n"


def _cells(row: Row) -> list[str]:
    interval = row["eer_interval_percent"]
    bounds = "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"
    return [
        row["system"],
        _checkpoint(row),
        f"{row['data']}: {row['trials']} ({_list_facts(row)})",
        f"{row['eer_percent']:.2f}{bounds}{row['against_chance'] and ', '}{row['against_chance']}",
        f"{row['eer_nearest_percent']:.2f}",
        f"{row['eer_rocch_percent']:.2f}",
        f"{row['mindcf_001']:.4f}",
        f"{row['mindcf_005']:.4f}",
        *(
            "-" if row[name] is None else str(row[name])
            for name in ("seed", "arithmetic", "commit", "config_fingerprint")
        ),
    ]


def _list_facts(row: Row) -> str:
    """The number of trials, whether an official list is the original or the cleaned one, and what was left out."""
    count, without = row["number_of_trials"], row.get("number_left_out", 0)
    official = official_name(row["trials"], count + without)
    numbers = f"{count:,}, {without:,} left out" if without else f"{count:,}"
    return f"{official}; {numbers}" if official else numbers


def _checkpoint(row: Row) -> str:
    """The checkpoint and, where the extraction says it, the epochs whose weights it holds."""
    epochs = row["extraction"].get("epochs")
    if not epochs or None in epochs:
        return str(row["checkpoint"])
    span = f"epoch {epochs[0]}" if len(epochs) == 1 else f"{len(epochs)} epochs, {epochs[0]} to {epochs[-1]}"
    return f"{row['checkpoint']} ({span})"


def write_results(experiments: str | Path) -> Path:
    """Write RESULTS.md of a folder of systems anew; returns its path."""
    rows = read_rows(experiments)
    path = Path(experiments) / "RESULTS.md"
    written = datetime.now().astimezone().isoformat(timespec="seconds")
    environment = {"date": written, "commit": commit(), "hardware": hardware(), **versions()}
    facts = "\n".join(f"- {name}: `{value}`" for name, value in environment.items())
    remove_temporaries(path.parent, path.name)
    with artifacts.replacing(path) as stream:
        stream.write(f"{_TITLE}\n\n## Environment\n{facts}\n\n## Systems\n{table(rows)}")
    return path


def keep_results(rows: Sequence[Row], title: str, path: str | Path, note: str = "") -> None:
    """Put rows under the heading `title` of a Markdown file; an earlier section of that title is replaced in place."""
    if not title.strip() or "\n" in title:
        raise ValueError(f"A title is one line of text, found {title!r}.")
    heading = f"## {title.strip()}"
    machines = sorted({str(row.get("hardware", "unknown")) for row in rows})
    scored = max(str(row.get("date", "unknown"))[:10] for row in rows)
    facts = f"Scored by {scored} on {'; '.join(machines)}."
    section = "\n".join([heading, *([note.strip()] if note.strip() else []), facts, "", table(rows)])
    before, after = _around(Path(path), heading)
    with artifacts.replacing(path) as stream:
        stream.write("\n".join(part.strip("\n") + "\n" for part in (before, section, after) if part.strip()))


def _around(path: Path, heading: str) -> tuple[str, str]:
    """The text of the file before and after the section with that heading (a section ends at the next `#` or `##`)."""
    if not path.exists():
        return f"{_TITLE}\n", ""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if line.rstrip() == heading]
    if not found:
        return "".join(lines), ""
    if len(found) > 1:
        raise ValueError(f"{path}:{found[1] + 1}: the heading {heading!r} is there already on line {found[0] + 1}.")
    ends = (number for number in range(found[0] + 1, len(lines)) if re.match(r"##? ", lines[number]))
    return "".join(lines[: found[0]]), "".join(lines[next(ends, len(lines)) :])
