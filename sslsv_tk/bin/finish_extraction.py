"""Join the jobs of an extraction (stage 6): check that every utterance has its embedding, write xvector.scp."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.arks.feature_archive import open_archive
from sslsv_tk.runs.extractor import ExtractionOptions, embedding_folder

log = logs.logger("finish_extraction")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--system", type=Path, required=True, help="folder of the system, exp/SYSTEM")
    parser.add_argument("--checkpoint", default="averaged", help="averaged, latest, best, or the number of an epoch")
    parser.add_argument(
        "--data", type=Path, required=True, help="packed audio, dump/raw/SET, or features, dump/fbank/SET"
    )
    parser.add_argument("--num-jobs", type=int, required=True, metavar="N", help="jobs that shared the work")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="of the encoder; auto: as the system was trained. Give all jobs and finish_extraction the same",
    )
    parser.add_argument("--force", choices=["true", "false"], default="false", help="join what is joined again")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Check and join unless that is done."""
    options = get_parser().parse_args(arguments)
    wanted = ExtractionOptions(options.system, options.checkpoint, options.data, options.num_jobs, options.precision)
    folder = embedding_folder(wanted)
    if options.force == "false" and folder.is_complete():
        log.info("%s: complete", folder.folder)
        return
    folder.join(open_archive(options.data))
    log.info("%s: complete", folder.folder)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
