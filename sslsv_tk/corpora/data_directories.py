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
from sslsv_tk.audio import headers, sound
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.corpora import rejected
from sslsv_tk.kaldi import directories, tables
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
    cut, files, starts, ends = tables.read_columns(source / "segments", 4)
    order = np.argsort(cut, kind="stable")
    rows = directories.find_rows(cut[order], found.keys)
    if (rows < 0).any():
        lacking = text(found.keys[(rows < 0).argmax()])
        raise ValueError(f"{source}/segments lacks {lacking} of feats.scp. utils/fix_data_dir.sh keeps what both have.")
    rows = order[rows]
    seconds = directories.read_ends(ends, source / "segments") - tables.numbers(starts, source / "segments")
    known = found.durations is not None or not np.isfinite(seconds[rows]).all()
    return replace(
        found,
        recordings=files[rows] if found.recordings is None else found.recordings,
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
    """The same with durations: those of segments, else those in the headers of the files.

    Files that cannot be used are left out (see preparation.check_rejected). Where there are pipes, whose output nobody
    has heard yet, there are no durations.
    """
    if found.durations is not None or found.table == FEATURES:
        return found
    to_read = True if found.cuts is None else np.isinf(found.cuts.ends)
    pipes = int((sound.are_commands(found.values) & to_read).sum())
    if pipes:
        log.info("%d of %d utterances are output of commands, so no durations are known yet", pipes, len(found.keys))
        return found
    if found.cuts is None:
        rows, headers = rejected.read_headers(found.keys, found.values, tolerance, listed_in)
        return replace(found.select(rows), durations=headers.seconds)
    seconds, unusable = seconds_of_cuts(found)
    rejected.check_rejected(unusable, len(found.keys), tolerance, listed_in)
    usable = ~np.isnan(seconds)
    return replace(found.select(usable), durations=seconds[usable])


def seconds_of_cuts(found: DataDirectory) -> tuple[NDArray[np.float64], dict[str, str]]:
    """(N,) how long each cut lasts, where it ends with its file by the header; NaN and the reason if unknown."""
    assert found.cuts is not None
    starts, ends = found.cuts.starts, found.cuts.ends.copy()
    rows = np.flatnonzero(np.isinf(ends))
    paths, path_of_row = np.unique(found.values[rows], return_inverse=True)
    lengths, faults = np.full(len(paths), np.nan), {}
    for number, header in enumerate(headers.read_headers(paths)):
        if isinstance(header, UnreadableAudio):
            faults[number] = str(header)
        else:
            lengths[number] = header.seconds
    ends[rows] = lengths[path_of_row]
    unusable: dict[str, str] = {}
    for place in np.flatnonzero(~(ends[rows] > starts[rows])).tolist():
        row, path = rows[place], int(path_of_row[place])
        late = f"{text(paths[path])}: a cut begins at {starts[row]:g} s, where the file of {lengths[path]:g} s ended"
        unusable[text(found.keys[row])], ends[row] = faults.get(path, late), np.nan
    return ends - starts, unusable
