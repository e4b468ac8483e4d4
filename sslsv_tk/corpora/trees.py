"""Trees of audio files: the utterance, the recording and the speaker of each file from its path.

voxceleb   dev/aac/id10270/x6uYqmx31kE/00001.m4a     VoxCeleb1 and 2, wav or m4a, below whatever folders
folder     <speaker>/<recording>/<utterance>.flac    any suffix of kaldi/utterance_ids.py
any        <whatever>/<name>.mp3                     speakers and recordings unknown
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs
from sslsv_tk.corpora.audio_files import AudioListing
from sslsv_tk.kaldi import tables, utterance_ids
from sslsv_tk.kaldi.tables import Words, text

log = logs.logger("corpora")
Part = Literal["all", "dev", "test"]
TREES: dict[str, str] = {
    "voxceleb": "wav/id10270/x6uYqmx31kE/00001.wav",
    "folder": "<speaker>/<recording>/<utterance>.wav or .flac",
    "any": "audio at any depth, speakers unknown",
}
_PART = re.compile(rb"(?:^|[/_-])(dev|test)(?=[/_-])")


@dataclass(frozen=True)
class Utterances:
    """Files of a corpus with the ids that their paths give; rows are sorted by id.

    `places` is what gave the id: the path below the folder without suffix, of VoxCeleb the last three parts.
    """

    keys: Words
    paths: Words
    places: Words
    is_voxceleb: NDArray[np.bool_]

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Utterances":
        """Some of the utterances."""
        return Utterances(self.keys[rows], self.paths[rows], self.places[rows], self.is_voxceleb[rows])

    def speakers_and_recordings(self) -> tuple[Words, Words]:
        """The first part of each place, and the first two as in id10270-x6uYqmx31kE: unique within the corpus."""
        parts = np.char.partition(self.places, b"/")
        return parts[:, 0], tables.joined(parts[:, 0], b"-", np.char.partition(parts[:, 2], b"/")[:, 0])


def of_part(listing: AudioListing, part: Part) -> AudioListing:
    """The files of VoxCeleb's dev or test where the folders above the speakers name both; else all."""
    if part == "all":
        return listing
    folders, of_row = np.unique(utterance_ids.split_voxceleb(listing.stems())[1], return_inverse=True)
    parts = np.array([(_PART.findall(folder) or [b""])[-1] for folder in folders.tolist()])
    if not {b"dev", b"test"} <= set(parts.tolist()):
        return listing
    taken = (parts == part.encode())[of_row]
    log.info("%s: %d files of %s, %d others are left out", listing.folder, int(taken.sum()), part, int((~taken).sum()))
    return listing.select(taken)


def identify(listings: Sequence[AudioListing], prefer: tuple[str, ...]) -> Utterances:
    """All files with their ids, sorted; ValueError where two have the same or a path gives none."""
    paths = tables.concatenate([listing.paths() for listing in listings])
    keys = utterance_ids.utterance_ids(tables.concatenate([listing.relative for listing in listings]))
    utterance_ids.check(keys, paths)
    stems = tables.concatenate([listing.stems() for listing in listings])
    is_voxceleb, _, places = utterance_ids.split_voxceleb(stems)
    found = Utterances(keys, paths, places, is_voxceleb)
    return found.select(utterance_ids.sorted_once(keys, paths, prefer))


def tree_of(utterances: Utterances, tried: Sequence[str], asked: str) -> str:
    """The first of the layouts `tried` that all paths have; ValueError names the first path that has not the last."""
    fits = {
        "voxceleb": utterances.is_voxceleb,
        "folder": np.char.count(utterances.places, b"/") == 2,
        "any": np.ones(len(utterances.keys), dtype=np.bool_),
    }
    for tree in tried:
        if fits[tree].all():
            return tree
    path = text(utterances.paths[int((~fits[tried[-1]]).argmax())])
    expected = " or ".join(TREES[tree] for tree in tried)
    raise ValueError(
        f"not the layout {asked}: expected {expected} below the folder, found {path}. Give the folder in which the"
        " speakers are. Audio at any depth, its speakers unknown: --labels false (prepare_corpus: --layout any, too)."
    )
