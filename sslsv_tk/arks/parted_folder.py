"""A folder of arks that the jobs of an array write in parts, and one command joins: audio, features, embeddings.

A part has arks, tables and a record, written last; so has the folder, with tables over all parts. A record says what
made the files, and describes each of them by size and digest. A file that is missing or is not what was written is
named, and just the part that it belongs to is made anew. What is made anew stays as it was until its new files are
complete.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests, logs, records
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.records import CONTENTS, Made, Record
from sslsv_tk.stamps import Stamps

log = logs.logger("parts")
_NOT_MADE = "has not been made"
JOBS = "num_jobs"


@dataclass(frozen=True)
class Layout:
    """The files below a folder; J in a path stands for the number of a job.

    `arks` and `tables` are those of a part (any of them may be absent) and `record` is its record; `scp` is the table
    of the whole that points into the arks, and `joined` are the others.
    """

    arks: tuple[str, ...]
    tables: tuple[str, ...]
    record: str
    scp: str
    joined: tuple[str, ...]


@dataclass
class PartWriter:
    """What a job is writing.

    It leaves the digest of its entries in `contents`, by the path in the layout of the ark that they are in; where they
    are in files of others, by that of the table that lists them.
    """

    folder: "PartedFolder"
    job: int
    contents: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def path(self, pattern: str) -> Path:
        """Where a file of the part lies."""
        return self.folder.path(pattern, self.job)

    def begin_replacing(self) -> None:
        """All is computed, and the files of an earlier part are replaced from now on: its record goes, and the whole's.

        Whoever is killed before has lost nothing.
        """
        for path in (self.folder.folder / artifacts.RECORD, self.path(self.folder.layout.record)):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the files of an earlier part, of which an empty one has none."""
        self.begin_replacing()
        for pattern in (*self.folder.layout.arks, *self.folder.layout.tables):
            self.path(pattern).unlink(missing_ok=True)

    def outputs(self) -> dict[str, dict[str, Any]]:
        """The files that are there, as a record describes them."""
        layout = self.folder.layout
        found = {
            numbered(pattern, self.job): {"bytes": self.path(pattern).stat().st_size, CONTENTS: self.contents[pattern]}
            for pattern in layout.arks
            if self.path(pattern).is_file()
        }
        for pattern in layout.tables:
            if self.path(pattern).is_file():
                about = records.of_table(self.path(pattern))
                found[numbered(pattern, self.job)] = about | (
                    {CONTENTS: self.contents[pattern]} if pattern in self.contents else {}
                )
        return found


def numbered(pattern: str, job: int) -> str:
    """A path of the layout for one job."""
    return pattern.replace("J", str(job))


@dataclass(frozen=True)
class PartedFolder:
    """The parts of `jobs` jobs in `folder`, and what joins them.

    A folder of other options or inputs is refused, so that nothing is lost to a slip of the pen; one of which nothing
    but the inputs `follows` are others is older than what is asked for, and made anew.
    """

    folder: Path
    jobs: int
    layout: Layout
    follows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--num-jobs {self.jobs}: expected at least 1.")

    def path(self, pattern: str, job: int) -> Path:
        """The path of a file of a part."""
        if not 1 <= job <= self.jobs:
            raise ValueError(f"--job {job} of --num-jobs {self.jobs}: expected 1 to {self.jobs}.")
        return self.folder / numbered(pattern, job)

    def is_complete(self, made: Made) -> bool:
        """Is everything joined and whole, by however many jobs? StaleArtifact where it was made otherwise."""
        found = Record.read(self.folder / artifacts.RECORD)
        if found is None:
            return False
        if differences := found.differences(made):
            if not all(difference.startswith(self._followed) for difference in differences):
                records.refuse_other(self.folder, found, made)
            log.info("%s was made otherwise (%s)", self.folder, "; ".join(differences))
            return False
        faults = found.faults(self.folder, stamps=Stamps(self.folder / artifacts.RECORD))
        if not faults and (misplaced := misplaced_arks(self.folder, self.layout.scp, found)):
            faults = [f"{misplaced}. It is joined anew"]
        for fault in faults:
            log.warning("%s", fault)
        return not faults

    @property
    def _followed(self) -> tuple[str, ...]:
        """How differences begin that are followed."""
        return tuple(f"input {name}:" for name in self.follows)

    def part(self, job: int, made: Made) -> Record | None:
        """The record of a part that is whole and made so; None, and the reason in the log, where there is none."""
        found = self._part(job, made)
        if isinstance(found, str):
            if found != _NOT_MADE:
                log.warning("part %d of %d %s", job, self.jobs, found)
            return None
        return found

    def require(self, job: int, made: Made, remedy: str) -> Record:
        """The record of a part; ValueError with the reason and the remedy where it is not whole or made otherwise."""
        found = self._part(job, made)
        if isinstance(found, str):
            raise ValueError(f"{self.folder}: part {job} of {self.jobs} {found}. {remedy}")
        return found

    def _part(self, job: int, made: Made) -> Record | str:
        """The record of a part, or what is wrong with the part."""
        found = Record.read(self.path(self.layout.record, job))
        if found is None:
            return _NOT_MADE
        wanted = Made({**made.options, JOBS: self.jobs}, made.inputs)
        if differences := found.differences(wanted):
            return f"was made otherwise ({'; '.join(differences)})"
        if faults := found.faults(self.folder, stamps=Stamps(self.path(self.layout.record, job))):
            return f"is damaged ({'; '.join(faults)})"
        return found

    @contextlib.contextmanager
    def writing(self, job: int, made: Made) -> Iterator[PartWriter]:
        """A block that writes the files of a part; its record is written when the block ends without an error."""
        writer = PartWriter(self, job)
        for pattern in (*self.layout.arks, *self.layout.tables, self.layout.record):
            directories.remove_temporaries(self.path(pattern, job).parent, self.path(pattern, job).name)
        yield writer
        writer.begin_replacing()
        record = Record({**made.options, JOBS: self.jobs}, made.inputs, writer.outputs(), writer.facts)
        record.stamp(self.folder, Stamps(self.path(self.layout.record, job)))
        record.write(self.path(self.layout.record, job))

    @contextlib.contextmanager
    def joining(self, made: Made, parts: Sequence[Record], facts: Mapping[str, Any]) -> Iterator[None]:
        """A block that writes the joined tables of all `parts`.

        What earlier or killed runs left is removed, and the record is written, when it ends without an error.
        """
        (self.folder / artifacts.RECORD).unlink(missing_ok=True)
        directories.remove_temporaries(self.folder)
        yield
        self._sweep()
        outputs = {name: value for part in parts for name, value in part.outputs.items()}
        contents = digests.joined(value[CONTENTS] for value in outputs.values() if CONTENTS in value)
        for name in (self.layout.scp, *self.layout.joined):
            if (path := self.folder / name).is_file():
                outputs[name] = records.of_table(path)
        record = Record(made.options, made.inputs, outputs, {**facts, JOBS: self.jobs, CONTENTS: contents})
        record.stamp(self.folder, Stamps(self.folder / artifacts.RECORD))
        record.write(self.folder / artifacts.RECORD)

    def _sweep(self) -> None:
        """Remove temporary files of killed runs and the parts of more jobs than there are."""
        named = (*self.layout.arks, *self.layout.tables, self.layout.record)
        for pattern in (*named, *(str(Stamps(Path(name)).path) for name in named)):
            above, name = pattern[: pattern.index("J")], pattern[pattern.index("J") + 1 :].partition("/")[0]
            directories.remove_temporaries(self.path(pattern, 1).parent)
            for stray in self.folder.glob(f"{above}*{name}"):
                number = re.fullmatch(rf"{re.escape(above)}(\d+){re.escape(name)}", str(stray.relative_to(self.folder)))
                if number and int(number[1]) > self.jobs:
                    shutil.rmtree(stray) if stray.is_dir() else stray.unlink()

    def read_tables(self, scp: str, *counts: str) -> tuple[Words, Words, list[NDArray[np.int64]]]:
        """Keys and values of the scp over all parts, and columns of whole numbers beside them."""
        rows: list[tuple[Words, Words]] = []
        columns: list[list[NDArray[np.int64]]] = [[] for _ in counts]
        for job in range(1, self.jobs + 1):
            if not self.path(scp, job).is_file():  # an empty part
                continue
            rows.append(self._read_scp(scp, job))
            for column, pattern in zip(columns, counts, strict=True):
                path = self.path(pattern, job)
                keys, words = tables.read_table(path)
                if len(keys) != len(rows[-1][0]) or (keys != rows[-1][0]).any():
                    raise ValueError(f"{path} does not list the utterances of {self.path(scp, job)}. Remove both.")
                column.append(tables.integers(words, path))
        if not rows:
            raise ValueError(f"{self.folder}: no part has any utterance: nothing to join.")
        keys, values = (tables.concatenate(side) for side in zip(*rows, strict=True))
        return keys, values, [np.concatenate(column) for column in columns]

    def _read_scp(self, scp: str, job: int) -> tuple[Words, Words]:
        """Keys and values of the scp of a part; of an ark that was moved where it is now."""
        keys, values = tables.read_table(self.path(scp, job))
        ark = self.path(self.layout.arks[0], job)
        if ark.is_file() and values[0].rpartition(b":")[0] != os.fsencode(ark):
            values = tables.joined(os.fsencode(ark), b":", np.char.rpartition(values, b":")[:, 2])
        return keys, values


def misplaced_arks(folder: Path, scp: str, found: Record) -> str | None:
    """What is wrong, in words, where the scp of a folder names an ark that is not its own: the folder was moved."""
    arks = found.arks()
    if not arks:
        return None
    with open(folder / scp, "rb") as stream:
        ark = os.fsdecode(stream.readline().partition(b" ")[2].rpartition(b":")[0])
    if os.path.isfile(ark) and any(os.path.samefile(ark, folder / name) for name in arks):
        return None
    return f"{folder / scp} points to {ark}, which is none of its arks, as after a move"


def require_all(folder: Path, wanted: Words, found: Words, remedy: str) -> None:
    """ValueError unless the keys `found` are those of `wanted`, which are sorted, each of them once."""
    ordered = found if tables.is_sorted(found) else np.sort(found)
    if len(ordered) == len(wanted) and (ordered == wanted).all():
        return
    missing, extra = np.setdiff1d(wanted, found), np.setdiff1d(found, wanted)
    names = [tables.first_words(words) or "none" for words in (missing, extra)]
    raise ValueError(
        f"{folder}: expected {len(wanted)} utterances, found {len(found)}; missing: {names[0]}; not of the"
        f" list: {names[1]}. {remedy}"
    )
