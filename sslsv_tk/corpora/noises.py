"""What training augments with: noises, music and speech cut into pieces, and room responses.

A MUSAN-like tree has the folders noise, music and speech on top and audio at any depth below. Long files are cut,
so that training reads seconds of a file of minutes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs
from sslsv_tk.corpora import audio_files, rejected
from sslsv_tk.corpora.audio_files import AudioListing
from sslsv_tk.corpora.rejected import Headers
from sslsv_tk.kaldi import tables, utterance_ids
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.segments import Cuts
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.records import Made

log = logs.logger("noises")
CATEGORIES = ("noise", "music", "speech")
RESPONSE = b"response"
"""The category of room responses in utt2category, by which stage 3 knows them."""
_WITH_NOISES, _NOISES = b"real_rirs_isotropic_noises", b"pointsource_noises"
_NOISE_LIST, _NAMED_NOISE = "noise_list", b"noise"


def keys_and_paths(listing: AudioListing) -> tuple[Words, Words]:
    """Ids from the paths below the folder (music-fma-music-fma-0000), sorted, and the files."""
    keys = listing.stems().copy()
    characters = tables.characters(keys)
    characters[characters == ord("/")] = ord("-")
    paths = listing.paths()
    utterance_ids.check(keys, paths)
    rows = utterance_ids.sorted_once(keys, paths)
    return keys[rows], paths[rows]


def by_category(source: str) -> dict[str, AudioListing]:
    """The files of a MUSAN-like tree by the folder on top; any other folder with audio is an error."""
    listing = audio_files.find(source)
    parts = np.char.partition(listing.relative, b"/")
    tops = np.where(parts[:, 1] == b"/", parts[:, 0], b"")
    wrong = ~np.isin(tops, [category.encode() for category in CATEGORIES])
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{text(listing.paths()[row])}: the category of noise is the folder on top, one of {', '.join(CATEGORIES)};"
            f" found {text(tops[row]) or 'a file there'!r}. Move it, or give a tree with these folders on top."
        )
    found = {category: listing.select(tops == category.encode()) for category in CATEGORIES}
    empty = [category for category in CATEGORIES if not len(found[category])]
    if empty:
        raise ValueError(f"{source}: no audio file below {', '.join(empty)}; expected {', '.join(CATEGORIES)}.")
    return found


def cut_bounds(
    samples: NDArray[np.int64], cut: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pieces [start, end) of `cut` samples of each file; a shorter last piece is joined to the one before it.

    Returns for each piece its file (row of `samples`), its number within the file, its start and its end.
    """
    pieces = np.maximum(1, samples // cut)
    files = np.repeat(np.arange(len(samples)), pieces)
    numbers = np.arange(len(files)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = numbers * cut[files]
    ends = np.where(numbers == pieces[files] - 1, samples[files], starts + cut[files])
    return files, numbers, starts, ends


def prepare_noises(
    source: str, out: str | Path, cut_seconds: float = 10.0, tolerance: float = 0.0, force: bool = False
) -> None:
    """Write musan_noise, musan_music and musan_speech below `out`: wav.scp, segments, utt2dur, utt2category."""
    if not cut_seconds >= 0.1:
        raise ValueError(f"cuts need at least 0.1 seconds, found {cut_seconds:g}.")
    rejected.check_tolerance(tolerance)
    for category, listing in by_category(source).items():
        folder = Path(out) / f"musan_{category}"
        options = {"category": category, "cut_seconds": cut_seconds, "tolerance": tolerance}
        inputs = {"audio files (paths and sizes)": listing.digest()}

        def make(new: Path, category: str = category, listing: AudioListing = listing, folder: Path = folder) -> None:
            keys, paths = keys_and_paths(listing)
            rows, headers = rejected.read_headers(keys, paths, tolerance, folder / "rejected")
            made = _cut(keys[rows], paths[rows], headers, category, cut_seconds)
            made.write(new)
            log.info("%s: %d files, %d cuts", category, len(rows), len(made.keys))

        rejected.make_once(folder, Made(options, inputs), force, make, listing.folder)


def _cut(keys: Words, paths: Words, headers: Headers, category: str, cut_seconds: float) -> DataDirectory:
    cuts = np.rint(cut_seconds * headers.rates_hz).astype(np.int64)
    files, numbers, starts, ends = cut_bounds(headers.samples, cuts)
    names = tables.formatted(len(numbers), lambda block: [b"-%05d" % number for number in numbers[block].tolist()])
    begins, stops = starts / headers.rates_hz[files], ends / headers.rates_hz[files]
    made = DataDirectory(
        keys=tables.joined(keys[files], names),
        values=paths[files],
        durations=stops - begins,
        categories=np.full(len(files), category.encode()),
        cuts=Cuts(keys[files], begins, stops),
    )
    return made.select(np.argsort(made.keys, kind="stable"))


def response_files(source: str) -> AudioListing:
    """Room responses of any tree; of RIRS_NOISES, or of a folder in it or around it, none of its noises.

    Those are its point-source noises, and in real_rirs_isotropic_noises the recordings of isotropic noise, minutes
    long, which its noise_list names and whose own names have the word noise.
    """
    listing = audio_files.find(source)
    paths = listing.paths()
    names, real = np.char.lower(np.char.rpartition(paths, b"/")[:, 2]), _is_below(paths, _WITH_NOISES)
    is_noise = (np.char.find(names, _NAMED_NOISE) >= 0) | np.isin(names, _listed_noises(paths[real]))
    left_out = _is_below(paths, _NOISES) | (real & is_noise)
    if left_out.any():
        first = text(listing.relative[left_out.argmax()])
        log.info("%s: %d noises, such as %s, are no responses and left out", source, left_out.sum(), first)
    if left_out.all():
        raise ValueError(f"{source}: only noises of RIRS_NOISES, no room response. Give the folder above.")
    return listing.select(~left_out)


def _is_below(paths: Words, folder: bytes) -> NDArray[np.bool_]:
    """Which files are below a folder of this name."""
    return np.char.find(paths, b"/" + folder + b"/") >= 0


def _listed_noises(paths: Words) -> Words:
    """The names of files, in small letters, that the noise_list beside responses of RIRS_NOISES gives."""
    folders = {Path(text(path)).parent for path in paths.tolist()}
    lines = [line for folder in folders if (file := folder / _NOISE_LIST).is_file() for line in file.open("rb")]
    return np.array([line.split()[-1].rpartition(b"/")[2].lower() for line in lines if line.split()], dtype=np.bytes_)


def prepare_responses(source: str, out: str | Path, tolerance: float = 0.0, force: bool = False) -> None:
    """Write the data directory `out` of room responses: wav.scp, utt2dur, and utt2channel where files have several."""
    rejected.check_tolerance(tolerance)
    out, listing = Path(out), response_files(source)
    options = {"category": "responses", "tolerance": tolerance}
    inputs = {"audio files (paths and sizes)": listing.digest()}

    def make(new: Path) -> None:
        keys, paths = keys_and_paths(listing)
        rows, headers = rejected.read_headers(keys, paths, tolerance, out / "rejected")
        several = int((headers.channels > 1).sum())
        if several:
            log.info("%s: %d of %d responses have several channels; the first is taken", out, several, len(rows))
        DataDirectory(
            keys=keys[rows],
            values=paths[rows],
            durations=headers.seconds,
            categories=np.full(len(rows), RESPONSE),
            channels=np.ones(len(rows), dtype=np.int64) if several else None,
        ).write(new)

    rejected.make_once(out, Made(options, inputs), force, make, listing.folder)
