#!/usr/bin/env python3
"""A table of systems after stage 4: EER untrained, of the last and of the averaged weights, seconds, health.

    python3 local/method_table.py --exp exp --list test --systems simclr_fast_resnet34 dino_fast_resnet34

The systems must have been scored with --checkpoint 0, latest and averaged.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import artifacts, layout, logs
from sslsv_tk.report.comparison import epochs_of

_LEFT_OUT = {"step", "epoch", "loss", "seconds", "learning_rate", "coverage", "collapsed", "negative_cosine"}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="folder of the systems")
    parser.add_argument("--list", required=True, metavar="NAME", help="trial list, as in the results")
    parser.add_argument("--systems", nargs="+", required=True, metavar="SYSTEM")
    return parser


def error_rate(system: Path, name: str, checkpoint: str, interval: bool = False) -> str:
    """EER in per cent of one checkpoint, with its 95 % interval where asked for."""
    path = layout.score_file(system, f"trials_{name}", checkpoint).with_suffix(".json")
    if not path.is_file():
        raise ValueError(f"{path} is missing: run stages 6 and 7 of {system.name} with --checkpoint {checkpoint}.")
    row = artifacts.from_json(path.read_text(encoding="utf-8"))
    text = f"{row['eer_percent']:.2f}"
    if interval and row["eer_interval_percent"]:
        low, high = row["eer_interval_percent"]
        text += f" [{low:.1f}, {high:.1f}]"
    return text


def cells(system: Path, name: str) -> list[str]:
    """One line of the table; seconds are those of the fastest epoch, since others may have shared the machine."""
    epochs = epochs_of(system)
    if not epochs:
        raise ValueError(f"{system}: metrics.jsonl tells of no epoch. Run stage 4 first.")
    last = epochs[-1]
    health = " ".join(f"{key} {value:.3g}" for key, value in last.items() if key not in _LEFT_OUT)
    collapsed = sum(bool(epoch.get("collapsed")) for epoch in epochs)
    return [
        system.name,
        error_rate(system, name, "0"),
        error_rate(system, name, "latest", interval=True),
        error_rate(system, name, layout.DEFAULT_CHECKPOINT),
        str(int(last["epoch"])),
        f"{min(epoch['seconds'] for epoch in epochs):.0f}",
        health + (f" (collapse told in {collapsed} epochs)" if collapsed else ""),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    titles = ["system", "untrained", "EER %", "averaged", "epochs", "s/epoch", "in the last epoch"]
    lines = [titles, ["---"] * len(titles), *(cells(options.exp / name, options.list) for name in options.systems)]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
