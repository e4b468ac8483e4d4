"""Train one system: stage 4, or with --continue-from stage 5. Made again after a crash, it goes on exactly."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import config, logs
from sslsv_tk.distributed import devices
from sslsv_tk.launch.base import RUN_AGAIN
from sslsv_tk.training.stopping import Stopped, StopRequest, leave

TIME_TO_SPEAK = 3.0
"""Seconds that a process leaves the one that found a mistake: srun ends all as soon as one has ended."""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    option = parser.add_argument
    option("--config", nargs="+", action="extend", required=True, metavar="FILE", help="YAML files; later ones win")
    given = "overrides, such as optimisation.learning_rate=0.0005 or training.batch_size=128"
    option("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=given)
    kinds = "packed audio, dump/raw/SET, or features, dump/fbank/SET, as frontend.feats_type says"
    option("--train-set", type=Path, required=True, help=kinds)
    clips = "folder with musan_noise, musan_music, musan_speech and rirs, dump/raw; features are augmented already"
    option("--augmentation", type=Path, required=True, help=clips)
    option("--out", type=Path, required=True, help="folder of the system, exp/SYSTEM")
    begin = "begin with the weights of this checkpoint as far as they fit; what was taken is listed in the log"
    option("--init-from", type=Path, metavar="CHECKPOINT", help=begin)
    option("--continue-from", type=Path, help="system of stage 4 whose last checkpoint to go on from")
    option("--positives", type=Path, help="YAML file with the positives of stage 5; wins over --config")
    validation = "packed audio or features of a set whose EER to watch"
    option("--validation-data", type=Path, metavar="DIR", help=validation)
    trials = "its trials, data/SET/trials_LIST, some thousands; scored every training.validation_epochs epochs"
    option("--validation-trials", type=Path, metavar="LIST", help=trials)
    option("--device", choices=devices.CHOICES, default="auto", help="auto: the GPU if there is one")
    option("--force", choices=["true", "false"], default="false", help="remove what is there, train anew")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train to the last epoch; status RUN_AGAIN where training was asked to stop and has saved its state."""
    parser = get_parser()
    options = parser.parse_args(arguments)
    if (options.validation_data is None) != (options.validation_trials is None):
        parser.error("--validation-data and --validation-trials belong together")
    with StopRequest() as stop:  # noted from now on, also while torch is loaded
        return _train(options, stop)


def _train(options: argparse.Namespace, stop: StopRequest) -> int:
    from sslsv_tk.distributed import processes
    from sslsv_tk.runs.training_run import RunOptions, train
    from sslsv_tk.systems.configuration import SystemConfig
    from sslsv_tk.systems.on_disk import System

    files = [*options.config, *([options.positives] if options.positives else [])]
    begin = [f"training.init_from={json.dumps(str(options.init_from.absolute()))}"] if options.init_from else []
    system = config.load(SystemConfig, *files, overrides=[*options.set, *begin])
    base = System(options.continue_from) if options.continue_from else None
    validation = (options.validation_data, options.validation_trials)
    run = RunOptions(options.train_set, options.augmentation, System(options.out), base, *validation)
    device = devices.choose(options.device)
    try:
        with processes.together(device):
            train(system, run, device, options.force == "true", stop)
    except processes.EndedElsewhere:
        time.sleep(TIME_TO_SPEAK)
        return 1
    except Stopped:
        return RUN_AGAIN
    return 0


if __name__ == "__main__":
    leave(logs.run_command(main))
