"""What training augments with: noises, music and speech cut into pieces, and room responses.

A MUSAN-like tree has the folders noise, music and speech on top and audio at any depth below. Long files are cut,
so that training reads seconds of a file of minutes.
"""

from pathlib import Path

import numpy as np

from sslsv_tk import logs
from sslsv_tk.data import audio_files, preparation, tables
from sslsv_tk.data.audio_files import AudioFile
from sslsv_tk.data.decoding import Header
from sslsv_tk.data.directories import Cuts, DataDirectory

log = logs.logger("noises")
CATEGORIES = ("noise", "music", "speech")
_OF_RIRS_NOISES = ("simulated_rirs", "real_rirs_isotropic_noises", "pointsource_noises")
_NOISES_AMONG_RESPONSES = "pointsource_noises"


def key_of(file: AudioFile) -> str:
    """An id from the path below the folder: music-fma-music-fma-0000."""
    return file.stem.replace("/", "-")


def by_category(source: str) -> dict[str, list[AudioFile]]:
    """The files of a MUSAN-like tree by the folder on top; any other folder with audio is an error."""
    found: dict[str, list[AudioFile]] = {category: [] for category in CATEGORIES}
    for file in audio_files.find(source):
        top, slash, _ = file.relative.partition("/")
        if not slash or top not in found:
            raise ValueError(
                f"{file.path}: the category of noise is the folder on top, one of {', '.join(CATEGORIES)};"
                f" found {top if slash else 'a file there'!r}. Move it, or give a tree with these folders on top."
            )
        found[top].append(file)
    empty = [category for category in CATEGORIES if not found[category]]
    if empty:
        raise ValueError(f"{source}: no .wav or .flac file below {', '.join(empty)}; expected {', '.join(CATEGORIES)}.")
    return found


def cut_bounds(samples: int, cut: int) -> list[tuple[int, int]]:
    """Pieces [start, end) of `cut` samples; a shorter last piece is joined to the one before it."""
    pieces = max(1, samples // cut)
    return [(i * cut, (i + 1) * cut if i < pieces - 1 else samples) for i in range(pieces)]


def prepare_noises(
    source: str, out: str | Path, cut_seconds: float = 10.0, tolerance: float = 0.0, force: bool = False
) -> None:
    """Write musan_noise, musan_music and musan_speech below `out`: wav.scp, segments, utt2dur, utt2category."""
    if not cut_seconds >= 0.1:
        raise ValueError(f"cuts need at least 0.1 seconds, found {cut_seconds:g}.")
    preparation.check_tolerance(tolerance)
    for category, files in by_category(source).items():
        folder = Path(out) / f"musan_{category}"
        options = {"source": str(Path(source).absolute()), "cut_seconds": cut_seconds, "tolerance": tolerance}
        inputs = {"audio files (paths and sizes)": audio_files.listing(files)}

        def make(category: str = category, files: list[AudioFile] = files, folder: Path = folder) -> None:
            by_key = preparation.unique_keys(files, key_of)
            headers = preparation.read_headers(by_key, tolerance, folder / "rejected")
            _cut(by_key, headers, category, cut_seconds).write(folder)

        preparation.make_once(folder, options, inputs, force, make)


def _cut(by_key: dict[str, AudioFile], headers: dict[str, Header], category: str, cut_seconds: float) -> DataDirectory:
    rows = [
        (f"{key}-{number:05d}", key, by_key[key].path, start / header.rate_hz, end / header.rate_hz)
        for key, header in headers.items()
        for number, (start, end) in enumerate(cut_bounds(header.samples, round(cut_seconds * header.rate_hz)))
    ]
    rows.sort(key=lambda row: row[0].encode())
    keys, files, paths, starts, ends = zip(*rows, strict=True)
    log.info("%s: %d files, %d cuts", category, len(headers), len(rows))
    return DataDirectory(
        keys=tables.as_words(keys),
        values=tables.as_words(paths),
        durations=np.subtract(ends, starts),
        categories=tables.as_words([category] * len(rows)),
        cuts=Cuts(tables.as_words(files), np.array(starts), np.array(ends)),
    )


def response_files(source: str) -> list[AudioFile]:
    """Room responses of any tree; of RIRS_NOISES all but its point-source noises, which are no responses."""
    files = audio_files.find(source)
    if {file.relative.split("/")[0] for file in files} & set(_OF_RIRS_NOISES[:2]):
        files = [file for file in files if file.relative.split("/")[0] != _NOISES_AMONG_RESPONSES]
    return files


def prepare_responses(source: str, out: str | Path, tolerance: float = 0.0, force: bool = False) -> None:
    """Write the data directory `out` of room responses: wav.scp, utt2dur, and utt2channel where files have several."""
    preparation.check_tolerance(tolerance)
    out, files = Path(out), response_files(source)
    options = {"source": str(Path(source).absolute()), "tolerance": tolerance}
    inputs = {"audio files (paths and sizes)": audio_files.listing(files)}

    def make() -> None:
        by_key = preparation.unique_keys(files, key_of)
        headers = preparation.read_headers(by_key, tolerance, out / "rejected")
        several = sum(header.channels > 1 for header in headers.values())
        if several:
            log.info("%s: %d of %d responses have several channels; the first is taken", out, several, len(headers))
        DataDirectory(
            keys=tables.as_words(list(headers)),
            values=tables.as_words([by_key[key].path for key in headers]),
            durations=np.array([header.seconds for header in headers.values()]),
            channels=np.ones(len(headers), dtype=np.int64) if several else None,
        ).write(out)

    preparation.make_once(out, options, inputs, force, make)
