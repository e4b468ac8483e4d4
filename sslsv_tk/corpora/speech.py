"""Speech corpora on disk to data directories: trees of audio files, or data directories that others made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests, logs
from sslsv_tk.corpora import audio_files, data_directories, kept_features, rejected, trees
from sslsv_tk.corpora.data_directories import Features
from sslsv_tk.corpora.trees import TREES, Part, Utterances
from sslsv_tk.kaldi import directories, trials
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.records import Made

log = logs.logger("corpora")
Layout = Literal["auto", "voxceleb", "folder", "any", "kaldi"]
LAYOUTS: dict[str, str] = {
    **TREES,
    "kaldi": "a data directory with wav.scp or feats.scp, made by Kaldi, ESPnet or WeSpeaker",
    "auto": "kaldi where the folder holds wav.scp or feats.scp, else voxceleb, folder or (without labels) any",
}


@dataclass(frozen=True)
class Corpus:
    """What to prepare.

    `sources` are folders of one layout; `labels` says whether the speakers may be known to later stages (None: where
    the layout tells them); `only` are trial lists whose utterances alone are taken (no list: all utterances);
    `tolerance` is the share of unusable files that may be left out; `prefer` are suffixes, of which the first decides
    where an utterance is there in several files; `part` takes dev or test of VoxCeleb where both are below a source;
    `features` says whether features that a data directory came with are kept.
    """

    sources: Sequence[str]
    layout: Layout = "auto"
    labels: bool | None = True
    only: Sequence[str] = ()
    tolerance: float = 0.0
    prefer: Sequence[str] = ()
    part: Part = "all"
    features: Features = "auto"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout {self.layout!r} is not one of {', '.join(LAYOUTS)}.")
        unknown = [suffix for suffix in self.prefer if suffix not in audio_files.SUFFIXES]
        if unknown:
            raise ValueError(f"--prefer {unknown[0]}: expected one of {', '.join(audio_files.SUFFIXES)}.")
        if self.layout == "any" and self.labels:
            raise ValueError("layout any has no speakers. Say --labels false, or arrange the files by speaker.")
        rejected.check_tolerance(self.tolerance)

    @property
    def trees(self) -> list[str]:
        """The layouts of trees that are looked for, in this order."""
        if self.layout in TREES:
            return [tree for tree in TREES if tree == self.layout]
        return [tree for tree in TREES if tree != "any" or not self.labels]

    def options(self, layout: str, labels: bool) -> dict[str, Any]:
        """What a data directory records of how it was made; what is not asked for is not mentioned."""
        found: dict[str, Any] = {
            "layout": layout,
            "labels": labels,
            "tolerance": self.tolerance,
        }
        if self.prefer:
            found["prefer"] = list(self.prefer)
        if self.part != "all":
            found["part"] = self.part
        return found

    def lists(self) -> dict[str, str]:
        """The trial lists as inputs of a record, in any order and wherever they lie."""
        found = sorted(digests.of_file(path) for path in self.only)
        return {"trial lists": digests.of_value(found)} if found else {}

    def named(self, keys: Words, files: Words | None) -> NDArray[np.bool_]:
        """Which of the sorted keys (N,) are taken: those that any of the lists names, all where there is no list."""
        named = np.full(len(keys), not self.only)
        for path in self.only:
            named |= trials.named_rows(path, keys, files)
        return named


def prepare(corpus: Corpus, out: str | Path, force: bool = False) -> None:
    """Write the data directory `out`: wav.scp, utt2spk, spk2utt, utt2rec, utt2dur, and rejected where files are.

    Where features are kept, feats.scp and utt2num_frames stand in place of wav.scp.
    """
    _refuse_own_source(corpus, Path(out))
    holding = [directories.listing(source) is not None for source in corpus.sources]
    if corpus.features == "keep" and not all(holding):
        source = corpus.sources[holding.index(False)]
        raise ValueError(f"{source}: no feats.scp, so no features to keep. Say --features compute for all sets.")
    if corpus.layout == "kaldi" or (corpus.layout == "auto" and any(holding)):
        _prepare_tables(corpus, Path(out), force)
    else:
        _prepare_tree(corpus, Path(out), force)


def _refuse_own_source(corpus: Corpus, out: Path) -> None:
    """ValueError where the data directory would be written over what it is made of, such as a data/train of Kaldi."""
    if out.resolve() in [Path(source).resolve() for source in corpus.sources]:
        raise ValueError(
            f"{out} is the folder to read, and would be written over. Write to another folder (run.sh: --datadir DIR)."
        )


def _prepare_tree(corpus: Corpus, out: Path, force: bool) -> None:
    listings = [trees.of_part(audio_files.find(source), corpus.part) for source in corpus.sources]
    utterances = trees.identify(listings, tuple(corpus.prefer))
    utterances = utterances.select(corpus.named(utterances.keys, utterances.paths))
    try:
        tree = trees.tree_of(utterances, corpus.trees, corpus.layout)
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, corpus.sources))}: {error}") from None
    labels = tree != "any" if corpus.labels is None else corpus.labels
    inputs = {"audio files (paths and sizes)": audio_files.digest(listings), **corpus.lists()}

    def make(new: Path) -> None:
        rows, headers = rejected.read_headers(utterances.keys, utterances.paths, corpus.tolerance, out / "rejected")
        found = _directory(utterances.select(rows), tree, headers.seconds)
        (found if labels else replace(found, speakers=found.keys)).write(new)
        kinds = {"recording": found.recordings, "speaker folder": found.speakers}
        _describe(out, len(rows), headers.seconds, kinds)

    places = [listing.folder for listing in listings]
    rejected.make_once(out, Made(corpus.options(tree, labels), inputs), force, make, places)


def _directory(utterances: Utterances, tree: str, seconds: NDArray[np.float64]) -> DataDirectory:
    """The tables of a tree, with speakers and recordings where its folders are that."""
    speakers, recordings = (None, None) if tree == "any" else utterances.speakers_and_recordings()
    return DataDirectory(utterances.keys, utterances.paths, speakers, recordings, durations=seconds)


def _prepare_tables(corpus: Corpus, out: Path, force: bool) -> None:
    if corpus.prefer or corpus.part != "all":
        log.info("a data directory says which files there are: --prefer and --part change nothing")
    if len(corpus.sources) > 1:
        raise ValueError(
            f"{', '.join(map(str, corpus.sources))}: several folders, but a data directory stands alone. Make one of"
            " them first: utils/combine_data.sh."
        )
    source = Path(corpus.sources[0])
    found = data_directories.read(source, corpus.features)
    found = found.select(corpus.named(found.keys, found.values if found.cuts is None else None))
    labels = found.speakers is not None if corpus.labels is None else corpus.labels
    kept = found.table == directories.FEATURES
    inputs = {**directories.fingerprints(source, kept), **corpus.lists()}
    if not kept:
        inputs["wav.scp"] = data_directories.digest_of_files(found)
    options = corpus.options("kaldi", labels) | ({"features": "kept"} if kept else {})

    def make(new: Path) -> None:
        made = data_directories.with_durations(found, corpus.tolerance, out / "rejected")
        known = made.speakers if labels else None
        replace(made, speakers=made.keys if known is None else known).write(new)
        if kept:
            made = kept_features.complete(new)
        _describe(out, len(made.keys), made.durations, {"recording": made.recordings, "speaker": known})

    rejected.make_once(out, Made(options, inputs), force, make, digests.of_columns([found.values]))


def _describe(out: Path, utterances: int, seconds: NDArray[np.float64] | None, kinds: dict[str, Words | None]) -> None:
    """Say how much there is, and warn where there is one of a kind."""
    counts = {"utterance": utterances}
    counts |= {what: len(np.unique(column)) for what, column in kinds.items() if column is not None}
    hours = "length unknown" if seconds is None else f"{seconds.sum() / 3600:.2f} h"
    log.info("%s: %s, %s", out, ", ".join(f"{count} {what}s" for what, count in counts.items()), hours)
    for what, count in counts.items():
        if count == 1:
            log.warning("%s has one %s only: training and target/nontarget trials need several", out, what)
