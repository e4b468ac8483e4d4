"""Repair of a data directory: sort its tables and keep the utterances that all of them have."""

import shutil
from pathlib import Path

import numpy as np

from sslsv_tk import artifacts
from sslsv_tk.data import tables
from sslsv_tk.data.directories import TABLES, find_rows, spk2utt_lines
from sslsv_tk.data.tables import Words, text


def fix(path: str | Path) -> tuple[int, int]:
    """Sort every table and keep the utterances that all of them have; returns (kept, total in wav.scp or segments).

    Tables that change are first copied to .backup below the directory. Lines that stand twice are kept once; a key
    with two different values is an error, and so is an outcome without utterances.
    """
    folder = Path(path)
    present = [name for name in TABLES if name != "spk2utt" and (folder / name).is_file()]
    if "wav.scp" not in present:
        raise ValueError(f"{folder}: no wav.scp, so not a data directory. Stages 1 and 2 make them.")
    rows = {name: _sorted_once(folder / name) for name in present}
    main = "segments" if "segments" in rows else "wav.scp"
    total, keep = len(rows[main][0]), rows[main][0]
    if main == "segments":
        files = np.array([value.split()[0] for value in rows["segments"][1].tolist()])
        keep = keep[find_rows(rows["wav.scp"][0], files) >= 0]
    for name in present:
        if name not in ("wav.scp", "segments"):
            keep = np.intersect1d(keep, rows[name][0], assume_unique=True)
    if "utt2dur" in rows:
        keys, seconds = rows["utt2dur"]
        keep = np.intersect1d(keep, keys[tables.numbers(seconds, folder / "utt2dur") > 0], assume_unique=True)
    if len(keep) == 0:
        raise ValueError(
            f"{folder}: no utterance is in all of {', '.join(present)}: kept 0 of {total}. Nothing was changed."
        )
    _write_fixed(folder, rows, keep)
    return len(keep), total


def _sorted_once(path: Path) -> tuple[Words, Words]:
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


def _write_fixed(folder: Path, rows: dict[str, tuple[Words, Words]], keep: Words) -> None:
    used = keep
    if "segments" in rows:
        keys, values = rows["segments"]
        cuts = values[find_rows(keys, keep)].tolist()
        used = np.unique(np.array([cut.split()[0] for cut in cuts]))
    for name, (keys, values) in rows.items():
        chosen = used if name == "wav.scp" else keep
        _replace_table(
            folder,
            name,
            [b"%b %b\n" % row for row in zip(chosen.tolist(), values[find_rows(keys, chosen)].tolist(), strict=True)],
        )
    if "utt2spk" in rows:
        keys, speakers = rows["utt2spk"]
        _replace_table(folder, "spk2utt", list(spk2utt_lines(keep, speakers[find_rows(keys, keep)])))


def _replace_table(folder: Path, name: str, lines: list[bytes]) -> None:
    """Write the lines, the file as it was kept in .backup; a file that would not change is left alone."""
    path, contents = folder / name, b"".join(lines)
    if path.is_file():
        if path.read_bytes() == contents:
            return
        (folder / ".backup").mkdir(exist_ok=True)
        shutil.copy2(path, folder / ".backup" / name)
    with artifacts.replacing(path, "wb") as stream:
        stream.write(contents)
