"""Every byte of a recipe's folders beside what the records say: what is damaged, and which stage makes it anew.

Stamps count for nothing here, and a damaged file loses its own: the stage that makes it anew does not skip it. Torch is
not loaded.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk import artifacts, digests
from sslsv_tk.arks import sources
from sslsv_tk.kaldi import directories
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.records import Record
from sslsv_tk.stamps import distrust
from sslsv_tk.systems import checkpoints, listed

_RETRAIN = "restore it, or train anew with --force true"


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written, and what makes it anew."""

    fault: str
    remedy: str


def verify(folders: Sequence[Path], with_sources: bool = False) -> tuple[int, list[Damage]]:
    """How many records, checkpoints and rows were looked at, and the damage; ValueError where there are none.

    `with_sources`: also the audio files of the user, beside what they were when stage 3 packed them.
    """
    looked_at, damage = 0, list[Damage]()
    for file in _files(folders):
        check = _check_of(file)
        if check is not None:
            looked_at += 1
            damage += check(file)
    if not looked_at:
        raise ValueError(f"{', '.join(map(str, folders))}: no record at any depth: nothing here was made by a recipe.")
    return looked_at, damage + (_changed_sources(folders) if with_sources else [])


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder.")
        for above, _, names in os.walk(folder):
            yield from (Path(above) / name for name in sorted(names))


def _check_of(file: Path) -> Callable[[Path], list[Damage]] | None:
    """How a file is looked at by itself; None for those that a record speaks of, and for logs."""
    if file.parent.name == "scores" and file.suffix == ".json":
        return _of_row
    if file.parent.name == "checkpoints" and file.suffix == ".pt":
        return _of_checkpoint
    if file.parent.name == "checkpoints" and file.name == listed.NAME:
        return _of_list
    names = (artifacts.RECORD, *(name for name in (file.name,) if name.startswith((".trials_", "part."))))
    return _of_record if file.name in names and file.suffix == ".json" else None


def _of_record(file: Path) -> list[Damage]:
    try:
        found = Record.read(file)
    except artifacts.StaleArtifact as error:
        return [Damage(str(error), "the stage that made it, with --force true")]
    if found is None:
        return [
            Damage(f"{file} has other contents than were written", "the stage that made it; of 4 and 5: restore it")
        ]
    folder = _folder_of(file)
    if folder != file.parent and (folder / artifacts.RECORD).is_file():  # a part, of which the whole's record speaks
        return []
    return [Damage(fault, _remedy(found, folder, fault)) for fault in found.faults(folder)]


def _remedy(found: Record, folder: Path, fault: str) -> str:
    """Which stage makes a file anew; arks that others made, and that are kept, none does."""
    if found.options.get("features") == "kept" and not fault.startswith(f"{folder}/"):
        return "restore it, or take it as it is now: stage 3 with --force true"
    return _stage(found)


def _folder_of(record: Path) -> Path:
    """The folder below which the files of a record lie: of parts the one around `split` or `parts`."""
    if record.parent.name == "split":
        return record.parent.parent
    return record.parent.parent.parent if record.parent.parent.name == "parts" else record.parent


def _stage(found: Record) -> str:
    """Which stage made what a record speaks of."""
    options = found.options
    if "checkpoint" in options:
        return "stage 6"
    if "training.seed" in options:
        return "stage 5" if "epochs of stage 4" in found.inputs else "stage 4"
    if "feats_type" in options or "samples" in options:
        return "stage 3"
    return "stage 2" if "kind" in options or "category" in options else "stage 1"


def _of_checkpoint(file: Path) -> list[Damage]:
    try:
        checkpoints.refuse_damage(file)
    except checkpoints.DamagedCheckpoint as error:
        return [Damage(str(error).rstrip("."), _remedy_of_checkpoint(file))]
    return []


def _of_list(file: Path) -> list[Damage]:
    """Checkpoints that were deleted."""
    try:
        return [Damage(f"{path} is missing", _remedy_of_missing(path)) for path in listed.missing(file.parent)]
    except ValueError as error:
        return [Damage(str(error), "stage 4 or 5 of one epoch more; what was listed is not known")]


def _remedy_of_missing(path: Path) -> str:
    return _remedy_of_checkpoint(path) if path.name in ("averaged.pt", "latest.pt") else _RETRAIN


def _remedy_of_checkpoint(file: Path) -> str:
    if file.name == "averaged.pt":
        return "stage 4 or 5"
    if file.name in ("latest.pt", "previous.pt") or file.name.startswith("sampler-"):
        return "stage 4 or 5, which go on from the checkpoint before"
    return f"of the last epoch: stage 4 or 5; else {_RETRAIN}"


def _of_row(file: Path) -> list[Damage]:
    """A row of results and the scores that it is of."""
    try:
        row = digests.unsealed(artifacts.from_json(file.read_text(encoding="utf-8")))
        if row is None:
            distrust(file)
            return [Damage(f"{file} has other contents than were written", "stage 7")]
        if digests.of_file(file.with_suffix(".score")) != row["scores_fingerprint"]:
            distrust(file.with_suffix(".score"))
            return [Damage(f"{file.with_suffix('.score')} has other contents than were written", "stage 7")]
    except FileNotFoundError:
        return [Damage(f"{file.with_suffix('.score')} is missing", "stage 7")]
    except (ValueError, KeyError, TypeError):
        distrust(file)
        return [Damage(f"{file} is no row of results", "stage 7")]
    return []


def _changed_sources(folders: Sequence[Path]) -> list[Damage]:
    """Audio files that are not what was packed; of each packed set by the data directory of its name."""
    packed = [file.parent for file in _files(folders) if file.name == sources.SOURCES and file.parent.name != "split"]
    tables = [file.parent for file in _files(folders) if file.name == directories.AUDIO]
    data = {folder.name: folder for folder in tables if _is_of_stage_1_or_2(folder)}
    damage = []
    for folder in packed:
        if folder.name not in data:
            fault = f"{folder}: no data directory of its name below {', '.join(map(str, folders))}"
            damage.append(Damage(fault, "stage 1 or 2, or name its folder here"))
            continue
        whole, there = DataDirectory.load(data[folder.name]), DataDirectory.load(folder)
        values = whole.values[directories.find_rows(whole.keys, there.keys)]
        for path in sources.changed(folder, values, every=True):
            damage.append(Damage(f"{path} has other contents than were packed", "stage 3 with --force true"))
    return damage


def _is_of_stage_1_or_2(folder: Path) -> bool:
    found = Record.read(folder / artifacts.RECORD)
    return found is not None and _stage(found) in ("stage 1", "stage 2")
