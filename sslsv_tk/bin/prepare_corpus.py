"""Stage 1: the data directory of a speech corpus, from a folder of audio or from a data directory that others made."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.data import corpora


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--layout",
        choices=list(corpora.LAYOUTS),
        default="auto",
        help="; ".join(f"{name}: {layout}" for name, layout in corpora.LAYOUTS.items()),
    )
    parser.add_argument(
        "--source", nargs="+", required=True, metavar="DIR", help="folders of the corpus, such as its dev and test"
    )
    parser.add_argument("--out", type=Path, required=True, help="data directory to write, data/SET")
    parser.add_argument(
        "--labels",
        choices=["true", "false", "auto"],
        default="true",
        help="false: utt2spk maps each utterance to itself, so that no later stage knows a speaker; auto: true where"
        " the layout tells the speakers",
    )
    parser.add_argument(
        "--prefer",
        nargs="+",
        default=[],
        metavar="KIND",
        help="where an utterance is there in several files, the first of these kinds is taken, as in wav m4a",
    )
    parser.add_argument(
        "--part",
        choices=["all", "dev", "test"],
        default="all",
        help="of a VoxCeleb folder that holds dev and test: which to take",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="FILE",
        help="trial lists: take the utterances that they name alone (a test set)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the files that may be left out when unreadable; they are listed in OUT/rejected",
    )
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make anew what is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, prepare."""
    options = get_parser().parse_args(arguments)
    corpus = corpora.Corpus(
        options.source,
        options.layout,
        labels={"true": True, "false": False, "auto": None}[options.labels],
        only=options.only,
        tolerance=options.tolerance,
        prefer=[f".{kind.lstrip('.').lower()}" for kind in options.prefer],
        part=options.part,
    )
    corpora.prepare(corpus, options.out, force=options.force == "true")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
