"""Train one system: stage 4, or with --continue-from stage 5. Made again after a crash, it goes on exactly."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import config, devices, logs, processes
from sslsv_tk.launch.base import RUN_AGAIN
from sslsv_tk.training.configuration import SystemConfig
from sslsv_tk.training.runs import RunOptions, train
from sslsv_tk.training.stopping import Stopped, StopRequest

TIME_TO_SPEAK = 3.0
"""Seconds that a process leaves the one that found a mistake: srun ends all as soon as one has ended."""


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--config", nargs="+", required=True, metavar="FILE", help="YAML files; later ones win")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="overrides, such as optimisation.learning_rate=0.0005 or training.batch_size=128",
    )
    parser.add_argument(
        "--train-set",
        type=Path,
        required=True,
        help="packed audio, dump/raw/SET, or features, dump/fbank/SET, as frontend.feats_type says",
    )
    parser.add_argument(
        "--augmentation",
        type=Path,
        required=True,
        help="folder with musan_noise, musan_music, musan_speech and rirs, dump/raw; features are augmented already",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the system, exp/SYSTEM")
    parser.add_argument("--continue-from", type=Path, help="system of stage 4 whose last checkpoint to go on from")
    parser.add_argument("--positives", type=Path, help="YAML file with the positives of stage 5; wins over --config")
    parser.add_argument(
        "--validation-data", type=Path, metavar="DIR", help="packed audio or features of a set whose EER to watch"
    )
    parser.add_argument(
        "--validation-trials",
        type=Path,
        metavar="LIST",
        help="its trials, data/SET/trials_LIST, some thousands; scored every training.validation_epochs epochs",
    )
    parser.add_argument("--device", choices=devices.CHOICES, default="auto", help="auto: the GPU if there is one")
    parser.add_argument("--force", choices=["true", "false"], default="false", help="remove what is there, train anew")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, load, train; status RUN_AGAIN where training was asked to stop and has saved its state."""
    parser = get_parser()
    options = parser.parse_args(arguments)
    if (options.validation_data is None) != (options.validation_trials is None):
        parser.error("--validation-data and --validation-trials belong together")
    files = [*options.config, *([options.positives] if options.positives else [])]
    system = config.load(SystemConfig, *files, overrides=options.set)
    names = ("train_set", "augmentation", "out", "continue_from", "validation_data", "validation_trials")
    run = RunOptions(*(getattr(options, name) for name in names))
    device = devices.choose(options.device)
    try:
        with StopRequest() as stop, processes.together(device):
            train(system, run, device, options.force == "true", stop)
    except processes.EndedElsewhere:
        time.sleep(TIME_TO_SPEAK)
        return 1
    except Stopped:
        return RUN_AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
