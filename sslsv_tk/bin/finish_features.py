"""Stage 3 for feats_type=fbank, after all jobs: check that every utterance is there, write the tables of the set."""

import argparse
import sys
from collections.abc import Sequence

from sslsv_tk import logs
from sslsv_tk.arks import indexes
from sslsv_tk.arks.feature_archive import FEATURES
from sslsv_tk.bin.compute_features import add_options, feature_folder

log = logs.logger("finish_features")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Check and join unless that is done."""
    options = get_parser().parse_args(arguments)
    folder, _ = feature_folder(options)
    if options.force == "false" and folder.is_complete():
        indexes.load(folder.out, FEATURES)  # makes it where it is not there
        log.info("%s: complete", folder.out)
        return
    folder.join()


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
