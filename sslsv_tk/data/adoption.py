"""Data directories that Kaldi, ESPnet or WeSpeaker made, taken over as a corpus.

Taken: wav.scp, segments, utt2spk, utt2rec, utt2dur, utt2channel and vad.scp. Nothing there is changed. Speakers may be
unknown or no prefix of their utterances; audio paths may be relative, and pipes stay what they are.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs
from sslsv_tk.data import preparation, tables
from sslsv_tk.data.directories import DataDirectory
from sslsv_tk.data.tables import Words, text

log = logs.logger("corpora")


def is_pipe(values: Words) -> NDArray[np.bool_]:
    """Which values of wav.scp are commands, whose output is the audio."""
    return np.char.endswith(np.char.rstrip(values), b"|")


def read(source: Path) -> DataDirectory:
    """The tables, audio paths made absolute; with segments and without utt2rec the file is the recording."""
    found = DataDirectory.load(source)
    if (source / "feats.scp").is_file():
        log.info("%s: feats.scp is not used: features are computed from the audio", source)
    if found.speakers is not None and not np.char.startswith(found.keys, found.speakers).all():
        log.info("%s: speakers are no prefix of their utterances; nothing here needs that", source)
    recordings = found.recordings
    if recordings is None and found.cuts is not None:
        recordings = found.cuts.files
    return replace(
        found,
        values=_absolute(source, found.values, is_pipe(found.values)),
        recordings=recordings,
        vad=None if found.vad is None else _absolute(source, found.vad, np.zeros(len(found.keys), dtype=np.bool_)),
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


def with_durations(found: DataDirectory, tolerance: float, listed_in: Path) -> DataDirectory:
    """The same with durations: those of segments, else those in the headers of the files.

    Files that cannot be used are left out (see preparation.check_rejected). Where there are pipes, whose output nobody
    has heard yet, there are no durations.
    """
    if found.durations is not None:
        return found
    if found.cuts is not None:
        return replace(found, durations=found.cuts.ends - found.cuts.starts)
    pipes = int(is_pipe(found.values).sum())
    if pipes:
        log.info("%d of %d utterances are output of commands, so no durations are known yet", pipes, len(found.keys))
        return found
    rows, headers = preparation.read_headers(found.keys, found.values, tolerance, listed_in)
    return replace(found.select(rows), durations=headers.seconds)
