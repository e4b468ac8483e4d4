"""Stage 2 for feats_type=fbank: data directories of offline copies, SET_noise, SET_music, SET_babble, SET_reverb."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.corpora import copies


def get_parser() -> argparse.ArgumentParser:
    defaults = copies.CopyConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="data directory of the training set; copies lie beside"
    )
    parser.add_argument(
        "--clips", type=Path, required=True, help="folder with musan_noise, musan_music, musan_speech and rirs; data"
    )
    parser.add_argument("--kinds", nargs="+", choices=copies.KINDS, default=copies.KINDS, help="which copies to make")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of all draws; the same seed, the same copies")
    for kind in ("noise", "music", "babble"):
        parser.add_argument(
            f"--{kind}-db",
            type=float,
            nargs=2,
            default=defaults.snr_range(kind),
            metavar=("LOW", "HIGH"),
            help=f"range of the SNR of {kind} in dB; lower is harder",
        )
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make anew what is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = get_parser().parse_args(arguments)
    ranges = {f"{kind}_db": tuple(getattr(options, f"{kind}_db")) for kind in ("noise", "music", "babble")}
    config = copies.CopyConfig(options.seed, **ranges)
    copies.prepare_copies(options.data, options.clips, config, options.kinds, force=options.force == "true")


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
