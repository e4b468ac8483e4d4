"""Embeddings of full-length utterances (stage 6): one job's share."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.arks.feature_archive import open_archive
from sslsv_tk.distributed import devices
from sslsv_tk.runs.extractor import ExtractionOptions, embedding_folder, load_extractor

log = logs.logger("extract_embeddings")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--system", type=Path, required=True, help="folder of the system, exp/SYSTEM")
    parser.add_argument("--checkpoint", default="averaged", help="averaged, latest, best, or the number of an epoch")
    parser.add_argument(
        "--data", type=Path, required=True, help="packed audio, dump/raw/SET, or features, dump/fbank/SET"
    )
    parser.add_argument("--num-jobs", type=int, required=True, metavar="N", help="jobs that share the work")
    parser.add_argument("--job", type=int, required=True, metavar="J", help="which of them, from 1")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="of the encoder; auto: as the system was trained. Give all jobs and finish_extraction the same",
    )
    parser.add_argument("--device", choices=devices.CHOICES, default="auto", help="auto: the GPU if there is one")
    parser.add_argument("--force", choices=["true", "false"], default="false", help="compute what is there again")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the share unless it is there."""
    options = get_parser().parse_args(arguments)
    wanted = ExtractionOptions(options.system, options.checkpoint, options.data, options.num_jobs, options.precision)
    folder = embedding_folder(wanted)
    part = folder.part(options.job)
    if options.force == "false" and (folder.is_complete() or folder.has_part(options.job)):
        log.info("%s: complete", part)
        return
    archive = open_archive(options.data)
    archive.compares = True  # read whole anyway
    count = folder.write_part(options.job, lambda: load_extractor(wanted, options.device), archive)
    log.info("%s: %d embeddings in %s", part, count, wanted.decided_precision)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
