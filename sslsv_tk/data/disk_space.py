"""Does what stage 3 is going to write fit on the disk? An estimate from the durations of utterances."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sslsv_tk import artifacts, logs
from sslsv_tk.data import tables
from sslsv_tk.data.tables import Words
from sslsv_tk.segments import SAMPLE_RATE_HZ

log = logs.logger("disk_space")
_TABLES_BYTES = 256  # per utterance: header of its entry, text tables and index besides the key and the path
_FRAMES_PER_SECOND = 100
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Kind:
    """What is written: raw samples, or log-mel features of so many bands and bytes per value."""

    feats_type: Literal["raw", "fbank"] = "raw"
    bands: int = 80
    bytes_per_value: int = 4

    @property
    def bytes_per_second(self) -> int:
        if self.feats_type == "raw":
            return 2 * SAMPLE_RATE_HZ
        return _FRAMES_PER_SECOND * self.bands * self.bytes_per_value


def check(data: Sequence[Path], out: Path, kind: Kind, in_place: Sequence[Path] = ()) -> None:
    """ValueError with both numbers where the sets `data` and `in_place` need more below `out` than its disk has free.

    Of the sets `in_place` only tables are written, their audio stays where it is. What is there already is not
    counted again. Resampled, mixed or cut audio is known by its duration all the same; where vad.scp leaves speech
    out, the estimate is too high.
    """
    names = [path.name for path in (*data, *in_place)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two data directories are called {twice}: both would be written to {out / twice}.")
    missing = {path.name: _missing_bytes(path, out / path.name, kind.bytes_per_second) for path in data}
    missing |= {path.name: _missing_bytes(path, out / path.name, 0) for path in in_place}
    needed, free = sum(missing.values()), shutil.disk_usage(_nearest_folder(out)).free
    if needed == 0:
        log.info("%s is complete; nothing to write", out)
        return
    for name, size in missing.items():
        log.info("%s: %s GB to write", out / name, _gigabytes(size))
    if needed > free:
        raise ValueError(
            f"{out}: stage 3 needs about {_gigabytes(needed)} GB more (estimated from the durations), but the disk has"
            f" {_gigabytes(free)} GB free. Make room, or put the dump on another disk (run.sh: --dumpdir)."
        )
    log.info("%s GB to write in all, %s GB free", _gigabytes(needed), _gigabytes(free))


def _gigabytes(size: float) -> str:
    return f"{size / _GIGABYTE:.{1 if size >= _GIGABYTE else 6}f}"


def _nearest_folder(path: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _missing_bytes(data: Path, out: Path, bytes_per_second: int) -> float:
    """Estimated bytes of a set, less those of the arks that are there; 0 where the set is complete."""
    if artifacts.read_record(out) is not None and (out / "wav.scp").is_file():
        return 0.0
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
        keys, _, starts, ends = tables.read_columns(data / "segments", 4)
        return keys, float((tables.numbers(ends, data / "segments") - tables.numbers(starts, data / "segments")).sum())
    if not (data / "wav.scp").is_file():
        raise ValueError(f"{data}: no wav.scp, so not a data directory. Stages 1 and 2 make them.")
    log.warning("%s has neither utt2dur nor segments: how much its audio takes is not known, and not counted", data)
    return tables.read_table(data / "wav.scp")[0], 0.0
