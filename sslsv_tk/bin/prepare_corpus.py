"""Stage 1: the data directory of a speech corpus, from a folder of audio or from a data directory that others made."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.corpora import speech


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    option = parser.add_argument
    option(
        "--layout",
        choices=list(speech.LAYOUTS),
        default="auto",
        help="; ".join(f"{name}: {layout}" for name, layout in speech.LAYOUTS.items()),
    )
    option("--source", nargs="+", required=True, metavar="DIR", help="folders of the corpus, such as its dev and test")
    option("--out", type=Path, required=True, help="data directory to write, data/SET")
    option(
        "--labels",
        choices=["true", "false", "auto"],
        default="true",
        help="false: utt2spk maps each utterance to itself, no later stage knows a speaker; auto: as the layout tells",
    )
    option(
        "--prefer",
        nargs="+",
        default=[],
        metavar="KIND",
        help="where an utterance is there in several files, the first of these kinds is taken, as in wav m4a",
    )
    part = "of a VoxCeleb folder that holds dev and test: which to take"
    option("--part", choices=["all", "dev", "test"], default="all", help=part)
    option(
        "--features",
        choices=["auto", "keep", "compute"],
        default="auto",
        help="keep: take the features of feats.scp and no audio; compute: the audio; auto: what is there, audio first",
    )
    option(
        "--only",
        nargs="+",
        default=[],
        metavar="FILE",
        help="trial lists: take the utterances that they name alone (a test set)",
    )
    option(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the files that may be left out when unreadable; they are listed in OUT/rejected",
    )
    option("--force", choices=["true", "false"], default="false", help="make anew what is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    corpus = speech.Corpus(
        options.source,
        options.layout,
        labels={"true": True, "false": False, "auto": None}[options.labels],
        only=options.only,
        tolerance=options.tolerance,
        prefer=[f".{kind.lstrip('.').lower()}" for kind in options.prefer],
        part=options.part,
        features=options.features,
    )
    speech.prepare(corpus, options.out, force=options.force == "true")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
