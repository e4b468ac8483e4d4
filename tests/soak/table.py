"""The table of docs/reliability.md, made of the cases that the other scripts of tests/soak and tests/fuzz wrote down.

    python3 tests/soak/table.py --cases /tmp/*/cases.jsonl --commit COMMIT --write docs/reliability.md

What stands between the two marks of the page is replaced. A verdict that does not hold is listed with its case.
"""

import argparse
import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

HELD = {
    "the same bytes": "same results",
    "right": "same results",
    "refused, the file named": "refused by name",
    "refused, the cause named": "refused by name",
}
BEGIN, END = "<!-- cases: begin -->", "<!-- cases: end -->"
TITLES = {
    "flip": "a bit flipped in a file between two stages, its time changed",
    "rot": "a bit flipped, time and inode kept, as a bad disk does",
    "artifact": "a file cut, removed, grown, blanked, exchanged, or with its lines changed",
    "input": "audio, lists or settings of the user changed between two stages",
    "full disk": "a disk that runs full, then has room again",
    "kill -9, local": "kill -9 of run.sh, a launcher or a command",
    "kill -9, local, fbank": "the same with `--feats-type fbank`",
    "kill -9, slurm": "the same on two nodes of Slurm that train together, and lost nodes",
    "other signals, local": "SIGTERM of run.sh, SIGUSR1 of a training",
    "other signals, local, fbank": "the same with `--feats-type fbank`",
    "other signals, slurm": "the same on two nodes of Slurm, and scancel",
    "audio": "hostile audio files",
    "tables": "hostile tables",
    "options": "hostile options",
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A row for each kind of fault, and a list of what does not hold."""
    lines = ["| fault | tries | same results | refused by name | not held |", "|---|---|---|---|---|"]
    for kind in [*TITLES, *sorted({row["kind"] for row in rows} - TITLES.keys())]:
        found = Counter(HELD.get(row["verdict"], "not held") for row in rows if row["kind"] == kind)
        if found:
            counts = (found["same results"], found["refused by name"], found["not held"])
            lines.append(f"| {TITLES.get(kind, kind)} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    faults = [row for row in rows if row["verdict"] not in HELD]
    if faults:
        lines += ["", "What did not hold:", ""]
        lines += [f"* {row['kind']}, {row.get('file', '')} {row['damage']}: {row['verdict']}" for row in faults]
    return "\n".join(lines)


def main() -> None:
    """Read the cases, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, nargs="+", required=True)
    parser.add_argument("--commit", required=True, help="that the cases were tried on")
    parser.add_argument("--write", type=Path, help="the page; without it the table is printed")
    options = parser.parse_args()
    rows = [json.loads(line) for path in options.cases for line in path.read_text().splitlines()]
    text = f"{textwrap.fill(f'Tried {date.today()} on commit {options.commit}.', 100)}\n\n{table(rows)}"
    if options.write is None:
        print(text)
        return
    page = options.write.read_text(encoding="utf-8")
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    options.write.write_text(re.sub(pattern, lambda _: f"{BEGIN}\n{text}\n{END}", page, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main()
