"""Stage 3: one part of a data directory's audio as a 16-bit ark, OUT/split/wav.JOB.ark."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.audio.resampling import Channel
from sslsv_tk.packing import pack, parts


def channel(word: str) -> Channel:
    """mix, or the number of a channel."""
    if word == "mix" or word.isdecimal():
        return "mix" if word == "mix" else int(word)
    raise argparse.ArgumentTypeError(f"expected mix or a number from 1, found {word!r}")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data directory, data/SET")
    parser.add_argument("--out", type=Path, required=True, help="folder of packed audio, dump/raw/SET")
    parser.add_argument(
        "--num-jobs", type=int, required=True, metavar="N", help="in how many parts; the number of CPU cores is typical"
    )
    parser.add_argument("--job", type=int, required=True, metavar="J", help="which part, from 1 to N")
    parser.add_argument(
        "--channel",
        type=channel,
        default="mix",
        metavar="mix|N",
        help="of files with several channels: their mean, or one by its number from 1 (utt2channel goes before it)",
    )
    parser.add_argument(
        "--copy",
        choices=["true", "false"],
        default="true",
        help="false: leave wav files (16 kHz mono 16-bit PCM) where they are and write down where their samples stand;"
        " saves the disk space, but a million small files are slower to read than arks",
    )
    parser.add_argument(
        "--allow-pipes",
        choices=["true", "false"],
        default="false",
        help="true: run the commands in wav.scp (values that end with |) by sh; only for tables that you trust",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the part's utterances that may be left out when unreadable; they are listed in rejected",
    )
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make anew what is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    part = parts.Part(options.out, options.job, options.num_jobs)
    wanted = parts.Wanted(options.channel, options.copy == "true", options.allow_pipes == "true")
    pack.pack_part(options.data, part, wanted, options.tolerance, force=options.force == "true")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
