#!/usr/bin/env python3
"""A tree of speech written again by ffmpeg as another kind of file, in the layout in which VoxCeleb is delivered.

    python3 local/encoded_speech.py --source BED/real/eval --trials BED/real/trials.txt --kind m4a --rate-hz 44100 \\
        --channels 2 --out OUT/m4a
    ./run.sh --test-audio OUT/m4a

SOURCE/<speaker>/<recording>/<utterance>.wav  ->  OUT/test/aac/id10001/x6uYqmx31kE/00001.m4a
    OUT/ids.tsv    both paths of every file
    OUT/trials     the trial list, lines of `1|0 id10001/x6uYqmx31kE/00001.wav id...`, as the official lists name files

Speakers are numbered in the order of their names, utterances within their recording; the eleven characters of a
recording follow from its name, so that every kind of file of one source has the same ids.
"""

import argparse
import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sslsv_tk import artifacts, logs
from sslsv_tk.audio import ffmpeg
from sslsv_tk.corpora import audio_files
from sslsv_tk.corpora.audio_files import AudioListing
from sslsv_tk.kaldi import tables, trials, utterance_ids
from sslsv_tk.kaldi.tables import Words, text

log = logs.logger("encoded_speech")
FOLDERS = {"m4a": "aac", "mp3": "mp3", "wav": "wav"}
CODECS = {"m4a": "aac", "mp3": "libmp3lame", "wav": "pcm_s16le"}
RATES_HZ = (8000, 16000, 22050, 32000, 44100, 48000)
_FILES_PER_PROCESS = 32


@dataclass(frozen=True)
class Kind:
    """What is written; `kilobits` per second and channel (None: 64, below 16 kHz 32, which every coder can)."""

    suffix: str
    rate_hz: int
    channels: int
    kilobits: int | None = None

    def arguments(self) -> list[str]:
        """ffmpeg's options of one output."""
        words = ["-ar", str(self.rate_hz), "-ac", str(self.channels), "-c:a", CODECS[self.suffix]]
        if self.suffix == "wav":
            return words
        kilobits = self.kilobits or (64 if self.rate_hz >= 16000 else 32)
        return [*words, "-b:a", f"{kilobits * self.channels}k"]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="tree <speaker>/<recording>/<utterance>.wav")
    parser.add_argument("--out", type=Path, required=True, help="folder to make; it must not be there")
    parser.add_argument("--kind", choices=sorted(CODECS), default="m4a", help="default: %(default)s")
    parser.add_argument("--rate-hz", type=int, choices=RATES_HZ, default=16000, help="default: %(default)s")
    parser.add_argument("--channels", type=int, choices=(1, 2), default=1, help="default: %(default)s")
    parser.add_argument("--kilobits", type=int, help="per second and channel; default: 64, below 16 kHz 32")
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--first-speaker", type=int, default=10001, metavar="N", help="default: %(default)s")
    parser.add_argument("--trials", type=Path, metavar="FILE", help="list of the source, to be written with new names")
    return parser


def check(listing: AudioListing) -> None:
    """ValueError names the first file that does not lie where it should."""
    wrong = np.char.count(listing.relative, b"/") != 2
    if wrong.any():
        raise ValueError(
            f"{text(listing.paths()[wrong.argmax()])}: expected <speaker>/<recording>/<utterance> below"
            f" {listing.folder}. Give the folder that holds the speakers."
        )


def delivered_stems(listing: AudioListing, first_speaker: int) -> Words:
    """id10001/x6uYqmx31kE/00001 for each file of a sorted listing."""
    parts = np.char.rpartition(listing.stems(), b"/")
    recordings, speakers = parts[:, 0], np.char.partition(parts[:, 0], b"/")[:, 0]
    numbers = np.unique(speakers, return_inverse=True)[1] + first_speaker
    names, recording = np.unique(recordings, return_inverse=True)
    order = np.argsort(recording, kind="stable")
    within = np.empty(len(order), dtype=np.int64)
    within[order] = np.arange(len(order)) - np.searchsorted(recording[order], recording[order])
    videos = np.array([video(name) for name in names.tolist()])
    rows = zip(numbers.tolist(), videos[recording].tolist(), (within + 1).tolist(), strict=True)
    return np.array([b"id%05d/%b/%05d" % row for row in rows])


def video(recording: bytes) -> bytes:
    """Eleven characters like those that name a video, also - and _, out of the recording's name."""
    return base64.urlsafe_b64encode(hashlib.sha256(recording).digest())[:11]


def encode(sources: Words, targets: Words, kind: Kind) -> None:
    """Write all files, many by one process; ValueError with ffmpeg's words where it fails."""
    for first in range(0, len(sources), _FILES_PER_PROCESS):
        block = slice(first, first + _FILES_PER_PROCESS)
        pairs = [(os.fsdecode(a), os.fsdecode(b)) for a, b in zip(sources[block], targets[block], strict=True)]
        command = [ffmpeg.require(pairs[0][0]), "-nostdin", "-hide_banner", "-v", "error"]
        command += [word for source, _ in pairs for word in ("-i", f"file:{source}")]
        for number, (_, target) in enumerate(pairs):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            command += ["-map", f"{number}:a:0", *kind.arguments(), f"file:{target}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise ValueError(f"ffmpeg could not write {pairs[0][1]} and those after it: {done.stderr.strip()[-500:]}")


def write_trials(source: Path, listing: AudioListing, stems: Words, target: Path) -> None:
    """The same trials in the same order under the new names."""
    keys = utterance_ids.utterance_ids(listing.relative)
    order = np.argsort(keys, kind="stable")
    found, names = trials.read_trials(source, keys[order]), stems[order]
    rows = zip(found.target.tolist(), names[found.enrol].tolist(), names[found.test].tolist(), strict=True)
    with artifacts.replacing(target, "wb") as stream:
        stream.writelines(b"%d %b.wav %b.wav\n" % row for row in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, list, encode; the folder takes its name when everything is in it."""
    options = get_parser().parse_args(arguments)
    if options.out.exists():
        raise ValueError(f"{options.out} is there already. Remove it, or give another --out.")
    kind = Kind(options.kind, options.rate_hz, options.channels, options.kilobits)
    listing = audio_files.find(options.source)
    check(listing)
    stems = delivered_stems(listing, options.first_speaker)
    partial = options.out.with_name(f".{options.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    below = f"{options.part}/{FOLDERS[kind.suffix]}/".encode()
    files = tables.joined(below, stems, f".{kind.suffix}".encode())
    if options.trials:
        write_trials(options.trials, listing, stems, partial / "trials")
    with artifacts.replacing(partial / "ids.tsv", "wb") as stream:
        stream.writelines(b"%b\t%b\n" % pair for pair in zip(listing.relative.tolist(), files.tolist(), strict=True))
    encode(listing.paths(), tables.joined(os.fsencode(partial) + b"/", files), kind)
    partial.rename(options.out)
    log.info("%s: %d files, %s", options.out, len(listing), " ".join(kind.arguments()))


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
