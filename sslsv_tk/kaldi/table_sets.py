"""A data directory as all the tables that it has: what combine, subset, split, copy and fix carry along.

Tables are by utterance (utt2spk, feats.scp, text ...), by file where there are segments (wav.scp), or by speaker
(spk2gender); spk2utt follows from utt2spk. Files with other names are not tables of utterances and stay behind.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.directories import find_rows, spk2utt_lines
from sslsv_tk.kaldi.tables import Words, text

log = logs.logger("data_directories")
Table = tuple[Words, Words]
BY_UTTERANCE = (
    *("segments", "utt2spk", "utt2rec", "utt2dur", "utt2category", "utt2channel", "utt2samples", "utt2num_samples"),
    *("utt2num_frames", "utt2lang", "utt2uniq", "feats.scp", "vad.scp", "text"),
)
BY_FILE = ("wav.scp", "reco2file_and_channel", "reco2dur")
BY_SPEAKER = ("spk2gender", "cmvn.scp")
KNOWN = (*BY_UTTERANCE, *BY_FILE, *BY_SPEAKER)


@dataclass(frozen=True)
class TableSet:
    """Utterances (N,) and tables by name, each with sorted keys and values; wav.scp or feats.scp is there."""

    keys: Words
    tables: dict[str, Table]

    @classmethod
    def load(cls, path: str | Path) -> "TableSet":
        """All tables of a data directory, which must be well formed (see directories.DataDirectory.load)."""
        folder, found = Path(path), directories.DataDirectory.load(path)
        names = [name for name in KNOWN if (folder / name).is_file()]
        left = sorted(
            entry.name for entry in folder.iterdir() if entry.is_file() and entry.name not in (*KNOWN, "spk2utt")
        )
        if left:
            log.info("%s: not carried along: %s", folder, ", ".join(left))
        return cls(found.keys, {name: _read_sorted(folder / name) for name in names})

    @property
    def has_segments(self) -> bool:
        return "segments" in self.tables

    def is_by_utterance(self, name: str) -> bool:
        """Are the keys of this table utterances?"""
        return name in BY_UTTERANCE or (name == "wav.scp" and not self.has_segments)

    def files(self) -> Words:
        """The file id of each utterance (N,), with segments."""
        return np.char.partition(self.column("segments"), b" ")[:, 0]

    def speakers(self) -> Words:
        """The speaker of each utterance (N,): itself where there is no utt2spk."""
        return self.column("utt2spk") if "utt2spk" in self.tables else self.keys

    def column(self, name: str) -> Words:
        """The values of a table by utterance that lists all of them, (N,)."""
        keys, values = self.tables[name]
        rows = find_rows(keys, self.keys)
        if (rows < 0).any():
            raise ValueError(
                f"{name} lacks {text(self.keys[(rows < 0).argmax()])}. utils/fix_data_dir.sh repairs that."
            )
        return values[rows]

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "TableSet":
        """All tables for some utterances, in the order of their names; ValueError where there are none."""
        keys = np.sort(self.keys[rows])
        if len(keys) == 0:
            raise ValueError(f"none of {len(self.keys)} utterances is left: expected at least one.")
        chosen = TableSet(keys, self.tables)
        of_file = np.unique(chosen.files()) if self.has_segments else keys
        of_speaker = np.unique(chosen.speakers())
        kept = {}
        for name, table in self.tables.items():
            wanted = keys if self.is_by_utterance(name) else of_speaker if name in BY_SPEAKER else of_file
            kept[name] = _restrict(table, wanted)
        return TableSet(keys, kept)

    def rename(self, utterances: tuple[bytes, bytes], speakers: tuple[bytes, bytes]) -> "TableSet":
        """Utterances and speakers with a prefix and a suffix; files of segments keep their ids.

        Unknown speakers (utt2spk maps each utterance to itself) go with their utterances.
        """
        if np.array_equal(self.speakers(), self.keys):
            speakers = utterances
        changed = {}
        for name, (keys, values) in self.tables.items():
            if self.is_by_utterance(name):
                keys = tables.joined(utterances[0], keys, utterances[1])
            elif name in BY_SPEAKER:
                keys = tables.joined(speakers[0], keys, speakers[1])
            if name == "utt2spk":
                values = tables.joined(speakers[0], values, speakers[1])
            changed[name] = _sorted((keys, values))
        return TableSet(np.sort(tables.joined(utterances[0], self.keys, utterances[1])), changed)

    def has_speaker_prefixes(self) -> bool:
        """Does each utterance begin with its speaker, as Kaldi wants it?"""
        return bool(np.char.startswith(self.keys, self.speakers()).all())

    def write(self, path: str | Path, force: bool = False, speaker_prefix: bool = False) -> None:
        """Write the data directory, checked by validate before its files take their names; wav.scp comes last.

        ValueError where a data directory is there already, unless `force`, which replaces its tables.
        """
        folder = Path(path)
        old = [name for name in (*KNOWN, "spk2utt") if (folder / name).exists()]
        if old and not force:
            raise ValueError(f"{folder}: a data directory is there already. Use another folder, or --force true.")
        made = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
        try:
            self._write_tables(made)
            directories.validate(made, speaker_prefix)
            folder.mkdir(parents=True, exist_ok=True)
            for name in old:
                (folder / name).unlink()
            (folder / artifacts.RECORD).unlink(missing_ok=True)
            for name in sorted((entry.name for entry in made.iterdir()), key=lambda name: name == "wav.scp"):
                os.replace(made / name, folder / name)
        except ValueError as error:
            raise ValueError(str(error).replace(str(made), str(folder))) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _write_tables(self, folder: Path) -> None:
        for name, (keys, values) in self.tables.items():
            if len(keys):
                tables.write_table(folder / name, keys, values)
        if "utt2spk" in self.tables:
            with artifacts.replacing(folder / "spk2utt", "wb") as stream:
                stream.writelines(spk2utt_lines(self.keys, self.speakers()))


def _read_sorted(path: Path) -> Table:
    return _sorted(tables.read_table(path))


def _sorted(table: Table) -> Table:
    keys, values = table
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order]


def _restrict(table: Table, keys: Words) -> Table:
    """The lines of some sorted keys; those that the table lacks are passed over."""
    rows = find_rows(table[0], keys)
    rows = rows[rows >= 0]
    return table[0][rows], table[1][rows]


def combine(sets: Sequence[TableSet]) -> TableSet:
    """The utterances of all; a table that one of them lacks is left out, and said.

    Where some have segments, the others get some: whole files, whose lengths utt2dur tells.
    """
    if any(one.has_segments for one in sets):
        sets = [one if one.has_segments else _with_segments(one) for one in sets]
    names = [name for name in KNOWN if all(name in one.tables for one in sets)]
    for name in sorted({name for one in sets for name in one.tables} - set(names)):
        log.warning("%s is left out: not all of the directories have it", name)
    keys = np.sort(np.concatenate([one.keys for one in sets]))
    again = keys[1:] == keys[:-1]
    if again.any():
        raise ValueError(
            f"{int(again.sum())} utterance(s) are in several of the directories, the first is"
            f" {text(keys[1:][again][0])}. Rename those of one: utils/copy_data_dir.sh --utt-prefix X --spk-prefix X."
        )
    joined = {name: _join(name, [one.tables[name] for one in sets]) for name in names}
    return TableSet(keys, joined)


def _with_segments(one: TableSet) -> TableSet:
    if "utt2dur" not in one.tables:
        raise ValueError(
            "some of the directories have segments: the others need utt2dur, which tells how long files are."
        )
    segments = tables.joined(one.keys, b" 0.000000 ", one.column("utt2dur"))
    return TableSet(one.keys, {**one.tables, "segments": (one.keys, segments)})


def _join(name: str, parts: Sequence[Table]) -> Table:
    """The lines of all, equal ones once; ValueError where a key has two values."""
    keys, values = _sorted((np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])))
    again = np.concatenate([[False], keys[1:] == keys[:-1]])
    differ = again & np.concatenate([[False], values[1:] != values[:-1]])
    if differ.any():
        row = int(differ.argmax())
        raise ValueError(
            f"{name}: {text(keys[row])} is {text(values[row - 1])!r} in one directory and {text(values[row])!r} in"
            " another. Rename it in one of them, or remove the table."
        )
    return keys[~again], values[~again]
