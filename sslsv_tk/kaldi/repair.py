"""Repair of a data directory: sort its tables and keep the utterances that all of them have."""

import shutil
from pathlib import Path

import numpy as np

from sslsv_tk import artifacts
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.directories import find_rows, spk2utt_lines, table_of
from sslsv_tk.kaldi.table_sets import BY_UTTERANCE, KNOWN, Table, TableSet
from sslsv_tk.kaldi.tables import Words, text


def fix(path: str | Path) -> tuple[int, int]:
    """Sort every table and keep the utterances that all of them have; returns how many are kept, of how many.

    Tables that change are first copied to .backup below the directory. Lines that stand twice are kept once; a key
    with two different values is an error, and so is an outcome without utterances.
    """
    folder = Path(path)
    present = [name for name in KNOWN if (folder / name).is_file()]
    listing = table_of(folder)
    found = {name: _sorted_once(folder / name) for name in present}
    keys = found["segments" if "segments" in found and listing == "wav.scp" else listing][0]
    keep = _in_all(folder, TableSet(keys, found))
    if len(keep) == 0:
        raise ValueError(
            f"{folder}: no utterance is in all of {', '.join(present)}: kept 0 of {len(keys)}. Nothing was changed."
        )
    _write_fixed(folder, TableSet(keys, found).select(find_rows(keys, keep)))
    return len(keep), len(keys)


def _in_all(folder: Path, found: TableSet) -> Words:
    """The utterances that all tables have and that last longer than 0 s."""
    keep = found.keys
    if found.has_segments and "wav.scp" in found.tables:
        keep = keep[find_rows(found.tables["wav.scp"][0], found.files()) >= 0]
    for name in BY_UTTERANCE:
        if name in found.tables:
            keep = np.intersect1d(keep, found.tables[name][0], assume_unique=True)
    if "utt2dur" in found.tables:
        keys, seconds = found.tables["utt2dur"]
        keep = np.intersect1d(keep, keys[tables.numbers(seconds, folder / "utt2dur") > 0], assume_unique=True)
    return keep


def _sorted_once(path: Path) -> Table:
    """The rows of a table sorted, equal lines once."""
    keys, values = tables.read_rows(path)
    if tables.is_sorted(keys):
        return keys, values
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    differ = same & (values[order][1:] != values[order][:-1])
    if differ.any():
        place = int(differ.argmax())
        first, second = order[place], order[place + 1]
        raise ValueError(
            f"{path}:{second + 1}: {text(keys[second])} has the value {text(values[second])!r} here and"
            f" {text(values[first])!r} on line {first + 1}. Remove one of the lines."
        )
    once = order[np.concatenate([[True], ~same])]
    return keys[once], values[once]


def _write_fixed(folder: Path, fixed: TableSet) -> None:
    for name, (keys, values) in fixed.tables.items():
        _replace_table(folder, name, b"".join(tables.written_lines(keys, values)))
    if "utt2spk" in fixed.tables:
        _replace_table(folder, "spk2utt", b"".join(spk2utt_lines(fixed.keys, fixed.speakers())))


def _replace_table(folder: Path, name: str, contents: bytes) -> None:
    """Write a table, the file as it was kept in .backup; one that would not change is left alone, an empty one goes."""
    path = folder / name
    if path.is_file():
        if path.read_bytes() == contents:
            return
        (folder / ".backup").mkdir(exist_ok=True)
        shutil.copy2(path, folder / ".backup" / name)
    if not contents:
        path.unlink()
        return
    with artifacts.replacing(path, "wb") as stream:
        stream.write(contents)
