"""Data directories that Kaldi, ESPnet or WeSpeaker made, taken over as a corpus.

Taken: wav.scp, segments, utt2spk, utt2rec, utt2dur, utt2channel and vad.scp, or, where features are kept, feats.scp and
utt2num_frames in place of the audio. Nothing there is changed. Speakers may be unknown or no prefix of their
utterances; paths may be relative, and pipes stay what they are.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests, logs
from sslsv_tk.audio import sound
from sslsv_tk.corpora import cuts, rejected
from sslsv_tk.kaldi import carried, directories, segments, tables
from sslsv_tk.kaldi.directories import FEATURES, DataDirectory
from sslsv_tk.kaldi.tables import Words, text

log = logs.logger("corpora")
Features = Literal["auto", "keep", "compute"]


def takes_features(source: Path, features: Features) -> bool:
    """Are the features of a directory taken as they are? `auto`: where it has no audio."""
    alone = directories.listing(source) == FEATURES
    if features == "compute" and alone:
        raise ValueError(
            f"{source}: expected wav.scp, found feats.scp alone: there is no audio to compute anything from. Take the"
            " features as they are: run.sh --feats-type fbank (--features auto or keep)."
        )
    return features == "keep" or (features == "auto" and alone)


def read(source: Path, features: Features = "auto") -> DataDirectory:
    """The tables, paths made absolute; with segments and without utt2rec the file is the recording."""
    if takes_features(source, features):
        return _read_features(source)
    found = DataDirectory.load(source)
    if (source / FEATURES).is_file():
        log.info("%s: feats.scp is not used: features are computed from the audio (--features keep takes them)", source)
    _say_prefixes(source, found)
    recordings = found.recordings
    if recordings is None and found.cuts is not None:
        recordings = found.cuts.files
    return replace(
        found,
        values=_absolute(source, found.values, sound.are_commands(found.values)),
        recordings=recordings,
        vad=None if found.vad is None else _absolute(source, found.vad, np.zeros(len(found.keys), dtype=np.bool_)),
    )


def _say_prefixes(source: Path, found: DataDirectory) -> None:
    if found.speakers is not None and not np.char.startswith(found.keys, found.speakers).all():
        log.info("%s: speakers are no prefix of their utterances; nothing here needs that", source)


def _read_features(source: Path) -> DataDirectory:
    """The tables of a directory whose features are kept; of segments the durations and the recordings."""
    found = DataDirectory.load(source, features=True)
    _check_places(source / FEATURES, found.values)
    _say_prefixes(source, found)
    if found.vad is not None:
        log.warning("%s: vad.scp is not applied to features that are kept: all their frames are used", source)
    nowhere = np.zeros(len(found.keys), dtype=np.bool_)
    found = replace(found, values=_absolute(source, found.values, nowhere), channels=None, vad=None)
    if not (source / "segments").is_file():
        return found
    table = segments.read(source / "segments")
    order = np.argsort(table.keys, kind="stable")
    rows = directories.find_rows(table.keys[order], found.keys)
    if (rows < 0).any():
        lacking = text(found.keys[(rows < 0).argmax()])
        raise ValueError(f"{source}/segments lacks {lacking} of feats.scp. utils/fix_data_dir.sh keeps what both have.")
    rows = order[rows]
    seconds = table.cuts.ends - table.cuts.starts
    known = found.durations is not None or not np.isfinite(seconds[rows]).all()
    return replace(
        found,
        recordings=table.cuts.files[rows] if found.recordings is None else found.recordings,
        durations=found.durations if known else seconds[rows],
    )


def _check_places(path: Path, values: Words) -> None:
    """ValueError unless every value of feats.scp is `file.ark:offset`: no command, no range of frames."""
    for wrong, what in (
        (sound.are_commands(values), "a command"),
        (np.char.endswith(values, b"]"), "a range of frames"),
    ):
        if wrong.any():
            line = int(wrong.argmax())
            raise ValueError(
                f"{path}:{line + 1}: expected file.ark:offset, found {what}, {text(values[line])!r}. Write such"
                f" features once: copy-feats scp:{path} ark,scp:feats.ark,feats.scp."
            )


def _absolute(source: Path, values: Words, is_command: NDArray[np.bool_]) -> Words:
    """Relative paths start at the current folder, at the data directory, or at the recipe around it (data/SET)."""
    relative = ~is_command & ~np.char.startswith(values, b"/")
    if not relative.any():
        return values
    carried.check_no_home(source / directories.AUDIO, values)
    first = text(values[int(relative.argmax())])
    name = first.rpartition(":")[0] if ".ark:" in first else first
    starts = [Path.cwd(), source.absolute(), source.absolute().parent, source.absolute().parent.parent]
    existing = [start for start in starts if (start / name).is_file()]
    if not existing:
        raise ValueError(
            f"{source}: the relative path {first} is no file below {', '.join(map(str, starts))}. Run from the folder"
            " at which the paths start, or make them absolute."
        )
    start = os.fsencode(existing[0])
    return np.where(relative, tables.joined(start + b"/", values), values)


def digest_of_files(found: DataDirectory) -> str:
    """A digest of the sizes of audio files, row by row, and of commands: a moved corpus has the same."""
    sizes, path, size = np.full(len(found.values), -1, dtype=np.int64), b"", -1
    are_commands = sound.are_commands(found.values)
    for row in np.flatnonzero(~are_commands).tolist():
        if path != (path := found.values[row]):
            size = _size(path)
        sizes[row] = size
    commands = found.values[are_commands].tolist()
    return digests.of_columns([found.keys, sizes, np.array(commands) if commands else None])


def _size(path: bytes) -> int:
    """Bytes; -1 for a file that is not there, which is named as unreadable when it is read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def with_durations(found: DataDirectory, tolerance: float, listed_in: Path) -> DataDirectory:
    """The same with durations: those of segments, fitted to their files, else those in the headers of the files.

    Files that cannot be used, and segments that do not lie in their file, are left out (see rejected.check_rejected).
    Where there are pipes, whose output nobody has heard yet, there are no durations.
    """
    if found.table == FEATURES or (found.durations is not None and found.cuts is None):
        return found
    if found.cuts is not None:
        found, seconds, unusable = cuts.fit(found)
        files = rejected.files_of(found.keys, found.values, unusable)
        rejected.check_rejected(unusable, len(found.keys), tolerance, listed_in, files)
        usable = ~np.isin(found.keys, np.array([key.encode() for key in unusable] or [b""]))
        found, seconds = found.select(usable), seconds[usable]
        unknown = int(np.isnan(seconds).sum())
    else:
        unknown = int(sound.are_commands(found.values).sum())
    if unknown:
        log.info("%d of %d utterances are output of commands, so no durations are known yet", unknown, len(found.keys))
        return found
    if found.cuts is not None:
        return replace(found, durations=seconds)
    rows, headers = rejected.read_headers(found.keys, found.values, tolerance, listed_in)
    return replace(found.select(rows), durations=headers.seconds)
