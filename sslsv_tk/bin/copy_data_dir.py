"""Copy a data directory, its utterances and speakers renamed by a prefix or a suffix where that is asked for."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.kaldi.table_sets import TableSet

log = logs.logger("copy_data_dir")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", type=Path, help="data directory; it stays as it is")
    parser.add_argument("dest", type=Path, help="data directory to write")
    for what, name in (("utt", "utterance"), ("spk", "speaker")):
        for place, where in (("prefix", "before"), ("suffix", "after")):
            parser.add_argument(
                f"--{what}-{place}",
                default="",
                metavar="TEXT",
                help=f"put {where} each {name} id, as in sp0.9- (what begins with - after =: --{what}-{place}=-b)",
            )
    parser.add_argument(
        "--force", choices=["true", "false"], default="false", help="replace the data directory that is there"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    if options.dest.resolve() == options.data.resolve():
        raise ValueError(f"{options.dest} is the directory to copy. Write to another folder.")
    found = TableSet.load(options.data)
    made = found.rename(
        (options.utt_prefix.encode(), options.utt_suffix.encode()),
        (options.spk_prefix.encode(), options.spk_suffix.encode()),
    )
    made.write(options.dest, options.force == "true", found.has_speaker_prefixes())
    log.info("%s: %d utterances of %s", options.dest, len(made.keys), options.data)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
