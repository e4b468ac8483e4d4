"""Does what stage 3 is going to write fit on the disk? An estimate from the durations of utterances."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sslsv_tk import logs, records
from sslsv_tk.artifacts import RECORD
from sslsv_tk.corpora import cuts
from sslsv_tk.kaldi import directories, segments, tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.records import Record
from sslsv_tk.segments import SAMPLE_RATE_HZ

log = logs.logger("disk_space")
_TABLES_BYTES = 256  # per utterance: header of its entry, text tables and index besides the key and the path
_FRAMES_PER_SECOND = 100
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Encoding:
    """What is written: raw samples, or log-mel features of so many bands and bytes per value."""

    feats_type: Literal["raw", "fbank"] = "raw"
    bands: int = 80
    bytes_per_value: int = 4

    @property
    def bytes_per_second(self) -> int:
        if self.feats_type == "raw":
            return 2 * SAMPLE_RATE_HZ
        return _FRAMES_PER_SECOND * self.bands * self.bytes_per_value


@dataclass(frozen=True)
class Writing:
    """Data directories of which `kind` is written below `out`; of those `in_place` tables alone, their audio stays."""

    data: Sequence[Path]
    out: Path
    kind: Encoding
    in_place: Sequence[Path] = ()

    def __post_init__(self) -> None:
        names = [path.name for path in (*self.data, *self.in_place)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two data directories are called {twice}: both would be written to {self.out / twice}.")

    def missing(self) -> dict[Path, float]:
        """Bytes that are still to be written, by folder."""
        sizes = [(path, self.kind.bytes_per_second) for path in self.data] + [(path, 0) for path in self.in_place]
        return {self.out / path.name: _missing_bytes(path, self.out / path.name, size) for path, size in sizes}


def check(*writings: Writing) -> None:
    """ValueError with both numbers where all writings to one disk together need more than it has free.

    What is there already is not counted again. Resampled, mixed or cut audio is known by its duration all the same;
    where vad.scp leaves speech out, the estimate is too high.
    """
    of_disk: dict[int, list[Writing]] = {}
    for writing in writings:
        of_disk.setdefault(_device(writing.out), []).append(writing)
    for together in of_disk.values():
        _check_disk(together)


def _check_disk(writings: Sequence[Writing]) -> None:
    """The check of what goes to one disk."""
    missing = {writing.out: writing.missing() for writing in writings}
    sums = {out: sum(sizes.values()) for out, sizes in missing.items()}
    needed, free = sum(sums.values()), shutil.disk_usage(_nearest_folder(writings[0].out)).free
    where = " and ".join(map(str, sums))
    if needed == 0:
        log.info("%s: complete; nothing to write", where)
        return
    for name, size in ((name, size) for sizes in missing.values() for name, size in sizes.items()):
        log.info("%s: %s GB to write", name, _gigabytes(size))
    if needed > free:
        each = "".join(f", {_gigabytes(size)} in {out}" for out, size in sums.items()) if len(sums) > 1 else ""
        raise ValueError(
            f"{where}: stage 3 needs about {_gigabytes(needed)} GB more (estimated from the durations{each}), but the"
            f" disk has {_gigabytes(free)} GB free. Make room, or put the dump on another disk (run.sh: --dumpdir)."
        )
    log.info("%s GB to write in all, %s GB free", _gigabytes(needed), _gigabytes(free))


def _gigabytes(size: float) -> str:
    return f"{size / _GIGABYTE:.{1 if size >= _GIGABYTE else 6}f}"


def _nearest_folder(path: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _device(path: Path) -> int:
    """A number for the disk that a path is on or would be."""
    return os.stat(_nearest_folder(path)).st_dev


def _missing_bytes(data: Path, out: Path, bytes_per_second: int) -> float:
    """Estimated bytes of a set in `out`, less those of the arks that are there; 0 where the set is complete."""
    if Record.read(out / RECORD) is not None and directories.listing(out) is not None:
        return 0.0
    records.require_tables(data)
    keys, seconds = _durations(data)
    estimated = len(keys) * (_TABLES_BYTES + 3 * keys.dtype.itemsize) + bytes_per_second * seconds
    there = sum(os.path.getsize(ark) for ark in out.rglob("*.ark") if not ark.name.startswith("."))
    return max(0.0, estimated - there)


def _durations(data: Path) -> tuple[Words, float]:
    """The utterances of a data directory and how many seconds they last together."""
    if (data / "utt2dur").is_file():
        keys, words = tables.read_table(data / "utt2dur")
        return keys, float(tables.numbers(words, data / "utt2dur").sum())
    if (data / "segments").is_file():
        found = segments.read(data / "segments")
        seconds = found.cuts.ends - found.cuts.starts
        if np.isinf(seconds).any():
            return found.keys, _seconds_by_headers(data)
        return found.keys, float(seconds.sum())
    keys, _ = tables.read_table(data / directories.table_of(data))
    log.warning("%s has neither utt2dur nor segments: how much its audio takes is not known, and not counted", data)
    return keys, 0.0


def _seconds_by_headers(data: Path) -> float:
    """How long segments last together some of which end with their file; those of unreadable files do not count."""
    _, seconds, _ = cuts.fit(DataDirectory.load(data))
    unknown = int(np.isnan(seconds).sum())
    if unknown:
        log.warning("%s: the lengths of %d segments are not known, and not counted", data, unknown)
    return float(np.nansum(seconds))
