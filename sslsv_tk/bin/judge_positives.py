"""How many positives would a choice of positives replace, and how many rightly, for a trained system? Trains nothing.

Accuracies need labels: the shares of replaced positives of the right speaker, and of the anchor's very recording.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.distributed import devices
from sslsv_tk.recipes.names import Places
from sslsv_tk.recipes.positives import Choice, find
from sslsv_tk.systems.on_disk import System

_COLUMNS = ("coverage", "speaker_accuracy", "recording_accuracy", "nmi_speaker", "nmi_recording")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="judge_positives", description=__doc__)
    parser.add_argument("--system", type=Path, required=True, help="exp/SYSTEM, of stage 4")
    parser.add_argument("--checkpoint", default="latest", help="latest, averaged, best or an epoch")
    parser.add_argument("--train-set", type=Path, required=True, help="as of training: dump/raw/SET or dump/fbank/SET")
    parser.add_argument("--augmentation", type=Path, required=True, help="as of training: dump/raw")
    words = "as of run.sh: names of conf/positives or conf/aliases.yaml, SAMPLER:NAME=VALUE,..., or paths"
    parser.add_argument("--positives", nargs="+", required=True, metavar="NAME", help=words)
    parser.add_argument("--device", choices=devices.CHOICES, default="auto", help="auto: the GPU if there is one")
    return parser


def row(options: argparse.Namespace, positives: Choice) -> list[str]:
    """One line of the table."""
    from sslsv_tk.runs import training_run  # with torch, seconds to load, which --help does not need
    from sslsv_tk.runs.judgement import judge
    from sslsv_tk.systems import assembly

    system = System(options.system)
    config = system.config(positives.file, settings=positives.settings)
    run = training_run.RunOptions(options.train_set, options.augmentation, system)
    parts = training_run.make_parts(config, run, devices.choose(options.device))
    assembly.load_weights(parts.step.method, system, options.checkpoint)
    numbers = judge(parts, config.training.loader_workers)
    rest = " ".join(f"{name} {value:.3g}" for name, value in numbers.items() if name not in _COLUMNS)
    return [positives.name, *(f"{numbers[name]:.3f}" if name in numbers else "-" for name in _COLUMNS), rest]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table in Markdown."""
    options = get_parser().parse_args(arguments)
    here = Places(os.getcwd(), os.getcwd())
    choices = [choice for word in options.positives for choice in find([word], here)]
    titles = ["positives", *(name.replace("_", " ") for name in _COLUMNS), "other numbers"]
    for line in itertools.chain([titles, ["---"] * len(titles)], (row(options, choice) for choice in choices)):
        print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
