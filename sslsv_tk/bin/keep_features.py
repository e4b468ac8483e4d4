"""Stage 3 for --features keep: one set whose features are used as they came, in DIR of dump/fbank."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import config, logs
from sslsv_tk.bin.compute_features import add_configuration_options
from sslsv_tk.corpora import kept_features
from sslsv_tk.systems.configuration import SystemConfig


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_configuration_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="data directory with feats.scp of stage 1, data/SET")
    parser.add_argument("--out", type=Path, required=True, help="folder of features, dump/fbank/SET")
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make anew what is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    front_end = config.load(SystemConfig, *options.config, overrides=options.set).frontend
    kept_features.take(options.data, options.out, front_end.of_frames(), force=options.force == "true")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
