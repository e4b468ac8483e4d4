"""Stage 3 for feats_type=fbank: one job's share of the log-mel features of a set, or of one of its offline copies."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sslsv_tk import config, logs
from sslsv_tk.distributed import devices
from sslsv_tk.packing.feature_folder import FeatureFolder, FeatureSource, Frames
from sslsv_tk.systems.configuration import SystemConfig

log = logs.logger("compute_features")


def add_configuration_options(parser: argparse.ArgumentParser) -> None:
    """The configuration of the features, which all three commands about features take."""
    parser.add_argument(
        "--config", nargs="+", action="extend", required=True, metavar="FILE", help="as for training; later ones win"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="overrides, such as frontend.bands=80",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that this command shares with finish_features."""
    add_configuration_options(parser)
    parser.add_argument("--audio", type=Path, required=True, help="packed audio of the clean set, dump/raw/SET")
    parser.add_argument("--copy", type=Path, help="an offline copy, data/SET_noise; none: the clean set")
    parser.add_argument("--clips", type=Path, help="packed noises and responses, dump/raw; none: the folder of --audio")
    parser.add_argument("--out", type=Path, required=True, help="folder of features, dump/fbank/SET or .../SET_noise")
    parser.add_argument("--num-jobs", type=int, required=True, metavar="N", help="jobs that share the work")
    parser.add_argument("--compress", choices=["none", "cm2"], default="none", help="cm2: 16 bits, half the size")
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make anew what is there")


def feature_folder(options: argparse.Namespace) -> tuple[FeatureFolder, SystemConfig]:
    """What the shared options name, and the configuration that they give."""
    system = config.load(SystemConfig, *options.config, overrides=options.set)
    settings = {f"frontend.{name}": value for name, value in system.frontend.of_frames().items()}
    settings |= {"augmentation.power_floor": system.augmentation.power_floor} if options.copy else {}
    source = FeatureSource(options.audio, options.copy, options.clips or options.audio.parent)
    settings |= {"feats_type": "fbank", "compress": options.compress}
    return FeatureFolder(options.out, source, options.num_jobs, settings), system


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_options(parser)
    parser.add_argument("--job", type=int, required=True, metavar="J", help="which of them, from 1")
    parser.add_argument("--device", choices=devices.CHOICES, default="auto", help="auto: the GPU if there is one")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the share unless it is there."""
    options = get_parser().parse_args(arguments)
    folder, system = feature_folder(options)
    part = folder.part(options.job)
    if options.force == "false" and (folder.is_complete() or folder.has_part(options.job)):
        log.info("%s: complete", part)
        return

    def make() -> Callable[[int], Frames]:
        from sslsv_tk.packing.log_mel import FeatureMaker

        device, floor = devices.choose(options.device), system.augmentation.power_floor
        return FeatureMaker(folder.source, system.frontend, device, floor).block

    log.info("%s: %d utterances", part, folder.write_part(options.job, make, options.compress))


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
