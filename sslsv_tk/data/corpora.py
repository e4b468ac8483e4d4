"""Speech corpora on disk to data directories.

A corpus is a tree of speakers, recordings and utterances, which give the ids `<speaker>-<recording>-<utterance>`:

    wav/id10270/x6uYqmx31kE/00001.wav        VoxCeleb (also below dev/ or test/)
    <speaker>/<recording>/<utterance>.flac   any other, wav or flac
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sslsv_tk import artifacts, logs
from sslsv_tk.data import audio_files, preparation, tables, trials
from sslsv_tk.data.audio_files import AudioFile
from sslsv_tk.data.directories import DataDirectory

log = logs.logger("corpora")
Layout = Literal["voxceleb", "folder"]
LAYOUTS: dict[str, str] = {
    "voxceleb": "wav/id10270/x6uYqmx31kE/00001.wav",
    "folder": "<speaker>/<recording>/<utterance>.wav or .flac",
}
_ABOVE_SPEAKERS = ("dev", "test", "wav")
_VOXCELEB_SPEAKER = re.compile(r"id\d+")


@dataclass(frozen=True)
class Corpus:
    """What to prepare.

    `sources` are folders of one layout; `labels` says whether the speakers may be known to later stages; `only` are
    trial lists whose utterances alone are taken (no list: all utterances); `tolerance` is the share of unusable files
    that may be left out.
    """

    sources: Sequence[str]
    layout: Layout
    labels: bool = True
    only: Sequence[str] = ()
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout {self.layout!r} is not one of {', '.join(LAYOUTS)}.")
        preparation.check_tolerance(self.tolerance)


def speaker_and_recording(file: AudioFile, layout: Layout) -> tuple[str, str]:
    """The speaker and the recording (unique within the speaker) of a file, from its path below the corpus folder."""
    parts = file.relative.split("/")
    if layout == "voxceleb":
        while len(parts) > 3 and parts[0] in _ABOVE_SPEAKERS:
            parts.pop(0)
    if len(parts) != 3 or (layout == "voxceleb" and not _VOXCELEB_SPEAKER.fullmatch(parts[0])):
        raise ValueError(
            f"{file.folder}: not the layout {layout}: expected {LAYOUTS[layout]} below it, found {file.relative}."
            " Give the folder in which the speakers are, or the other --layout."
        )
    return parts[0], parts[1]


def prepare(corpus: Corpus, out: str | Path, force: bool = False) -> None:
    """Write the data directory `out`: wav.scp, utt2spk, spk2utt, utt2rec, utt2dur, and rejected where files are."""
    out = Path(out)
    files = [file for source in corpus.sources for file in audio_files.find(source)]
    options = {
        "sources": [str(Path(source).absolute()) for source in corpus.sources],
        "layout": corpus.layout,
        "labels": corpus.labels,
        "tolerance": corpus.tolerance,
    }
    inputs = {"audio files (paths and sizes)": audio_files.listing(files)}
    for trial_list in corpus.only:
        inputs[f"trial list {trial_list}"] = artifacts.fingerprint(trial_list)
    preparation.make_once(out, options, inputs, force, lambda: _write(corpus, files, out))


def _write(corpus: Corpus, files: Sequence[AudioFile], out: Path) -> None:
    by_key = preparation.unique_keys(
        files, lambda file: "-".join([*speaker_and_recording(file, corpus.layout), Path(file.stem).name])
    )
    if corpus.only:
        by_key = _restrict(by_key, corpus.only)
    headers = preparation.read_headers(by_key, corpus.tolerance, out / "rejected")
    keys = tables.as_words(list(headers))
    places = [speaker_and_recording(by_key[key], corpus.layout) for key in headers]
    recordings = tables.as_words(["-".join(place) for place in places])
    seconds = np.array([header.seconds for header in headers.values()])
    DataDirectory(
        keys=keys,
        values=tables.as_words([by_key[key].path for key in headers]),
        speakers=tables.as_words([speaker for speaker, _ in places]) if corpus.labels else keys,
        recordings=recordings,
        durations=seconds,
    ).write(out)
    _describe(out, seconds.sum() / 3600, (len(keys), len(np.unique(recordings)), len({place[0] for place in places})))


def _restrict(by_key: dict[str, AudioFile], trial_lists: Sequence[str]) -> dict[str, AudioFile]:
    """The files whose utterances a trial list names; all of them must be there."""
    wanted: set[str] = set()
    for trial_list in trial_lists:
        named = {tables.text(name) for name in trials.named_utterances(trial_list).tolist()}
        missing = sorted(named - by_key.keys())
        if missing:
            raise ValueError(
                f"{trial_list}: {len(missing)} of {len(named)} utterances are not in the corpus:"
                f" {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. Is it the list of this corpus?"
            )
        wanted |= named
    return {key: file for key, file in by_key.items() if key in wanted}


def _describe(out: Path, hours: float, counts: tuple[int, int, int]) -> None:
    log.info("%s: %d utterances, %d recordings, %d speaker folders, %.2f h", out, *counts, hours)
    for count, what in zip(counts, ("utterance", "recording", "speaker folder"), strict=True):
        if count == 1:
            log.warning("%s has one %s only: training and target/nontarget trials need several", out, what)
