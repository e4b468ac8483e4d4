"""Could stage 5 begin with these positives? Asked before stage 4, so that it is not known only hours later."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import config, logs


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="check_positives", description=__doc__)
    parser.add_argument("--config", nargs="+", required=True, metavar="FILE", help="as of training")
    parser.add_argument("--train-set", type=Path, required=True, help="as of training: dump/raw/SET or dump/fbank/SET")
    parser.add_argument(
        "--positives", type=Path, nargs="+", required=True, metavar="FILE", help="conf/positives/*.yaml to check"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Make each sampler as training does; the first mistake is one line that names its file."""
    options = get_parser().parse_args(arguments)
    import torch

    from sslsv_tk.runs import training_data
    from sslsv_tk.systems import assembly
    from sslsv_tk.systems.configuration import SystemConfig

    system = config.load(SystemConfig, *options.config)
    archive = training_data.open_checked(system.frontend, options.train_set)
    method = assembly.build_method(system)
    for file in options.positives:
        try:
            with_positives = config.load(SystemConfig, *options.config, file)
            assembly.make_sampler(with_positives, archive, method, torch.device("cpu"))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
