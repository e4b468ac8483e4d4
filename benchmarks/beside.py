"""The option --beside DIR of benchmarks: time this checkout and another one in turn, in one run.

Each side is a process of its own, which imports the package of its checkout and runs that checkout's copy of the
script (turns.py). Then the figures of rows that both have are compared.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
RENAMED = {  # a row here -> the row of the same work at 9f379b3d3
    "kmeans": {"ours": "ours, fp32"},
    "training_step": {"fp32, together": "fp32", "bf16, together": "bf16"},
    "extraction": {"ours, bf16": "ours", "ours, fp32": "ours"},
}
NUMBER = re.compile(r"[\d.,]*\d")


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the options that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--smoke", action="store_true", help="sizes that only show that it runs")
    made.add_argument(
        "--beside", type=Path, metavar="DIR", help="another checkout: both are timed in turn, with their quotients"
    )
    return made


def parsed(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given; with --beside both sides run instead, and the script ends."""
    found = made.parse_args()
    if found.beside is None:
        return found
    given = sys.argv[1:]
    at = next(place for place, word in enumerate(given) if word.startswith("--beside"))
    rest = given[:at] + given[at + (1 if "=" in given[at] else 2) :]
    sys.exit(compare(Path(sys.argv[0]).stem, found.beside.resolve(), rest))


def compare(script: str, other: Path, given: list[str]) -> int:
    """Run both sides and print their tables and quotients; the exit status of the first that failed."""
    to_other, to_us = os.pipe(), os.pipe()
    sides = [side(HERE, script, given, to_us[0], to_other[1]), side(other, script, given, to_other[0], to_us[1])]
    os.write(to_us[1], b"t")
    for end in (*to_other, *to_us):
        os.close(end)
    outputs = [process.communicate()[0] for process in sides]
    for folder, output in zip((HERE, other), outputs, strict=True):
        print(f"## {folder}\n\n{output}")
    print(f"## {HERE} / {other}\n")
    print("| row | figures here | figures there | here / there |\n| --- | --- | --- | --- |")
    here, there = map(rows_of, outputs)
    for label, figures in here.items():
        for known in dict.fromkeys((label, RENAMED.get(script, {}).get(label, label))):
            if known in there:
                print(quotients(label if label == known else f"{label}; there: {known}", figures, there[known]))
    return next((process.returncode for process in sides if process.returncode), 0)


def side(checkout: Path, script: str, given: list[str], read: int, write: int) -> subprocess.Popen[str]:
    command = [sys.executable, HERE / "benchmarks/turns.py", checkout, script, str(read), str(write), *given]
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, pass_fds=(read, write))


def rows_of(output: str) -> dict[str, list[float]]:
    """Label and figures of every line of a table that has figures; a cell without one counts as 0."""
    found = {}
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        numbers = [NUMBER.search(cell) for cell in cells[1:]]
        if line.startswith("| ") and any(numbers):
            found[cells[0]] = [float(number[0].replace(",", "")) if number else 0.0 for number in numbers]
    return found


def quotients(label: str, here: list[float], there: list[float]) -> str:
    """A row of the table; figures that only one side has are left out."""
    pairs = list(zip(here, there, strict=False))
    cells = [
        " ".join(f"{ours:g}" for ours, _ in pairs),
        " ".join(f"{theirs:g}" for _, theirs in pairs),
        " ".join(f"{ours / theirs:.3f}" if theirs else "-" for ours, theirs in pairs),
    ]
    return f"| {' | '.join([label, *cells])} |"


if __name__ == "__main__":
    raise SystemExit("This is a part of the other benchmarks: give one of them --beside DIR.")
