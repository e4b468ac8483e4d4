"""What all preparation of data directories shares: unreadable files set aside, and each directory made once."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs, records
from sslsv_tk.artifacts import RECORD, StaleArtifact
from sslsv_tk.audio import headers
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.corpora import left_out
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.records import Made
from sslsv_tk.stamps import Stamps

log = logs.logger("preparation")
_MOST_NAMED = 20
_OUTPUTS = (*directories.TABLES, directories.FEATURES, directories.FRAMES, "augmentation", "features.index")
_REPLACING = ".replacing"
"""A mark in a directory whose tables are being replaced."""


@dataclass(frozen=True)
class Headers:
    """What the headers of some files say, one row per file: `rates_hz`, `channels`, and `samples` per channel."""

    rates_hz: NDArray[np.int64]
    channels: NDArray[np.int64]
    samples: NDArray[np.int64]

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.samples / self.rates_hz


def check_tolerance(tolerance: float) -> None:
    """ValueError unless the tolerance is a share of the files."""
    if not 0 <= tolerance < 1:
        raise ValueError(f"--tolerance is a share of the files in [0, 1), found {tolerance:g}.")


def check_rejected(
    rejected: Mapping[str, str], total: int, tolerance: float, listed_in: Path, files: Mapping[str, str]
) -> None:
    """Name what cannot be used, write it to `listed_in`, and stop where its share is above the tolerance.

    `files` are those of the rejected keys, whose contents are written down: see left_out.py.
    """
    left_out.note(listed_in, files.values())
    if not rejected:
        listed_in.unlink(missing_ok=True)
        return
    keys = sorted(rejected, key=str.encode)
    tables.write_table(listed_in, keys, [" ".join(rejected[key].split()) for key in keys])
    for key in keys[:_MOST_NAMED]:
        log.warning("left out: %s", rejected[key])
    share = len(rejected) / total
    if share > tolerance:
        raise ValueError(
            f"{len(rejected)} of {total} audio files cannot be used (first: {rejected[keys[0]]}; all: {listed_in}),"
            f" a share of {share:.2g} where the tolerance is {tolerance:g}. Repair them, or raise --tolerance."
        )
    log.warning("left out %d of %d audio files; all are listed in %s", len(rejected), total, listed_in)


def files_of(keys: Words, paths: Words, rejected: Mapping[str, str]) -> dict[str, str]:
    """The file of each rejected key, of columns (N,)."""
    if not rejected:
        return {}
    rows = np.flatnonzero(np.isin(keys, np.array([os.fsencode(key) for key in rejected])))
    return {text(keys[row]): os.fsdecode(paths[row]) for row in rows.tolist()}


def read_headers(keys: Words, paths: Words, tolerance: float, listed_in: Path) -> tuple[NDArray[np.int64], Headers]:
    """The rows of the usable files and what their headers say; see check_rejected for the others."""
    rates_hz, channels, samples = np.zeros((3, len(paths)), dtype=np.int64)
    rejected: dict[str, str] = {}
    for row, found in enumerate(headers.read_headers(paths)):
        if isinstance(found, UnreadableAudio):
            rejected[text(keys[row])] = str(found)
        else:
            rates_hz[row], channels[row], samples[row] = found.rate_hz, found.channels, found.samples
    check_rejected(rejected, len(paths), tolerance, listed_in, files_of(keys, paths, rejected))
    usable = np.flatnonzero(samples)
    return usable, Headers(rates_hz[usable], channels[usable], samples[usable])


def make_once(out: Path, made: Made, force: bool, make: Callable[[Path], None], places: Any = None) -> None:
    """Let `make` write the data directory `out`, into a folder that it is given, unless it is there, made just so.

    One made otherwise raises StaleArtifact, unless `force`, and so does one without a record, which somebody else made.
    One whose tables are damaged, whose audio was moved since (`places` is where it lies), or of which a file that was
    left out holds something else now, is made anew. The old tables stay until the new ones are complete.
    """
    if not force and _is_complete(out, made, places):
        return
    new = out.with_name(f".{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        make(new)
        found = directories.validate(new, speaker_prefix=False)
        _replace_tables(new, out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    outputs = records.of_files(out, _OUTPUTS)
    record = records.write(out, made, outputs, places=places, utterances=len(found.keys))
    record.stamp(out, Stamps(out / RECORD))
    (out / _REPLACING).unlink(missing_ok=True)


def _is_complete(out: Path, made: Made, places: Any) -> bool:
    """Is the directory there, whole, made just so, of audio that lies where it lay?"""
    found = records.made_as(out, made.options, made.inputs)
    if found is None:
        _refuse_without_record(out)
        return False
    faults = found.faults(out, stamps=Stamps(out / RECORD))
    if not faults and (repaired := left_out.changed(out / "rejected")):
        log.warning("%s, which was left out, has other contents now: %s is made anew", repaired[0], out)
        return False
    if not faults and found.facts["places"] != places:
        log.info("%s: the same audio lies at another place now; its tables are written anew", out)
        return False
    for fault in faults:
        log.warning("%s; %s is made anew", fault, out)
    if not faults:
        log.info("%s is complete: %d utterances; nothing to do", out, found.facts["utterances"])
    return not faults


def require_whole(data: Path) -> None:
    """ValueError where tables of a data directory are not as stages 1 and 2 wrote them.

    One without a record was made by somebody else, and is taken as it is.
    """
    found = records.read(data)
    if found is not None and (faults := found.faults(data, stamps=Stamps(data / RECORD))):
        raise ValueError(f"{'; '.join(faults)}. Run stages 1 and 2 again.")


def _refuse_without_record(out: Path) -> None:
    """StaleArtifact for tables that nobody says the making of, unless a killed run of ours was replacing them."""
    if directories.listing(out) is not None and not (out / _REPLACING).exists():
        raise StaleArtifact(
            f"{out} holds {directories.listing(out)} but no {RECORD}, so what made it is not known, and it is not"
            " written over. Use another folder, or --force true to make it anew."
        )


def _replace_tables(new: Path, out: Path) -> None:
    """Move the tables of `new` to `out` and remove those of an earlier content that it lacks."""
    out.mkdir(parents=True, exist_ok=True)
    directories.remove_temporaries(out)
    (out / _REPLACING).touch()
    (out / RECORD).unlink(missing_ok=True)
    names = {path.name for path in new.iterdir()}
    for name in _OUTPUTS:
        if name not in names:
            (out / name).unlink(missing_ok=True)
    for name in sorted(names):
        os.replace(new / name, out / name)
