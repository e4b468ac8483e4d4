"""Segments against the files that they are cut from: do they lie in them, and where does the file end?"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs
from sslsv_tk.audio import headers, sound
from sslsv_tk.audio.sound import MOST_OVERSHOOT_SECONDS, UnreadableAudio
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words, text

log = logs.logger("corpora")


def fit(found: DataDirectory) -> tuple[DataDirectory, NDArray[np.float64], dict[str, str]]:
    """The same with ends that are in the files, (N,) seconds of each utterance, and why which cannot be used.

    An end up to 0.5 s behind that of the file, as rounding leaves it, becomes the file's, which is said. Output of
    commands is not looked at: of a segment that ends with it the seconds are not known (NaN).
    """
    assert found.cuts is not None
    lengths, faults = _lengths(found.values)
    starts, ends = found.cuts.starts, found.cuts.ends
    to_end = np.isinf(ends)
    late = ~to_end & (ends > lengths) & (ends <= lengths + MOST_OVERSHOOT_SECONDS)
    fitted = np.where((to_end & ~np.isnan(lengths)) | late, lengths, ends)
    if late.any():
        first = int(late.argmax())
        log.warning(
            "%d of %d segments end behind their file, by up to %.3f s, and were cut there; the first is %s",
            *(int(late.sum()), len(late), float((ends - lengths)[late].max()), text(found.keys[first])),
        )
    wrong = (fitted > lengths) | (starts >= fitted)
    unusable = {text(found.keys[row]): fault for row, fault in faults.items()}
    for row in np.flatnonzero(wrong).tolist():
        cut = f"{starts[row]:g} s to {'its end' if to_end[row] else f'{ends[row]:g} s'}"
        file = f"{text(found.values[row])}: a segment from {cut} is not in the file of {lengths[row]:g} s"
        unusable[text(found.keys[row])] = file
    seconds = np.where(np.isfinite(fitted), fitted - starts, np.nan)
    return replace(found, cuts=replace(found.cuts, ends=np.where(late, fitted, ends))), seconds, unusable


def _lengths(values: Words) -> tuple[NDArray[np.float64], dict[int, str]]:
    """(N,) seconds of the file of each segment, NaN of commands and of what cannot be read; the faults by row."""
    rows = np.flatnonzero(~sound.are_commands(values))
    paths, path_of_row = np.unique(values[rows], return_inverse=True)
    seconds, lengths = np.full(len(paths), np.nan), np.full(len(values), np.nan)
    unreadable: dict[int, str] = {}
    for number, header in enumerate(headers.read_headers(paths)):
        if isinstance(header, UnreadableAudio):
            unreadable[number] = str(header)
        else:
            seconds[number] = header.seconds
    lengths[rows] = seconds[path_of_row]
    faulty = np.isin(path_of_row, list(unreadable))
    return lengths, {int(rows[place]): unreadable[int(path_of_row[place])] for place in np.flatnonzero(faulty).tolist()}
