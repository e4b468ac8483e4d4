"""Checks of what a data directory holds besides the tables that are used here: others' tools rely on it."""

from pathlib import Path

import numpy as np

from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.tables import Words, text

_COUNTS = ("utt2num_frames", "utt2samples", "utt2num_samples")
_GENDERS = (b"m", b"f")


def check(folder: Path, speakers: Words | None) -> None:
    """ValueError names the first line of a table of counts or genders that cannot be one."""
    for name in _COUNTS:
        if (folder / name).is_file():
            _, words = tables.read_table(folder / name)
            counts = tables.integers(words, folder / name)
            if not counts.all():
                raise ValueError(f"{folder / name}:{int(counts.argmin()) + 1}: expected at least 1, found 0.")
    if (folder / "reco2dur").is_file():
        seconds = tables.numbers(tables.read_table(folder / "reco2dur")[1], folder / "reco2dur")
        if (seconds <= 0).any():
            line = int((seconds <= 0).argmax())
            raise ValueError(f"{folder}/reco2dur:{line + 1}: expected more than 0 s, found {seconds[line]:g}.")
    if (folder / "spk2gender").is_file():
        _check_genders(folder / "spk2gender", speakers)


def check_no_home(path: Path, values: Words) -> None:
    """ValueError where a path begins with ~, which only a shell understands."""
    wrong = np.char.startswith(values, b"~")
    if wrong.any():
        line = int(wrong.argmax())
        value = text(values[line])
        raise ValueError(f"{path}:{line + 1}: {value}: ~ is the home folder to a shell alone; write the whole path.")


def _check_genders(path: Path, speakers: Words | None) -> None:
    """Each line is a speaker of utt2spk and m or f."""
    keys, genders = tables.read_table(path)
    known = np.ones(len(keys), dtype=np.bool_) if speakers is None else np.isin(keys, speakers)
    for right, what in ((np.isin(genders, _GENDERS), "expected m or f"), (known, "no speaker of utt2spk")):
        if not right.all():
            line = int(right.argmin())
            raise ValueError(f"{path}:{line + 1}: {text(keys[line])} {text(genders[line])}: {what}.")
