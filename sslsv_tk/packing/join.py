"""Stage 3, raw, after all parts: every utterance is there once, and the tables of dump/raw/SET are written.

OUT/wav.scp, utt2samples, utt2spk, ...   all parts together (utt2offset and segments too where wav files are indexed)
OUT/audio.index                          the same in binary, mapped by readers; see arks/indexes.py
OUT/made.json                            what made the folder, written last
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs, records
from sslsv_tk.arks import audio_archive, indexes, sources
from sslsv_tk.arks.audio_archive import AUDIO, OFFSETS
from sslsv_tk.arks.parted_folder import JOBS, PartedFolder, require_all
from sslsv_tk.audio.tally import Tally
from sslsv_tk.corpora import left_out
from sslsv_tk.corpora.rejected import require_whole
from sslsv_tk.kaldi import directories, tables, trials
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.packing import parts
from sslsv_tk.packing.parts import LAYOUT, Part, Wanted
from sslsv_tk.records import Record
from sslsv_tk.segments import SAMPLE_RATE_HZ

log = logs.logger("joining")


@dataclass(frozen=True)
class _Tables:
    """The rows of all parts: `values` are places in arks, or wav files with the byte of their first sample.

    `order` sorts the rows as the parts have them; None where they are sorted.
    """

    keys: Words
    values: Words
    samples: NDArray[np.int64]
    offsets: NDArray[np.int64] | None
    order: NDArray[np.intp] | None = None


def is_complete(data: Path, whole: DataDirectory, out: Path, samples: str | None = None) -> bool:
    """Is `out` finished, of the tables `whole` of `data`, with every file whole? StaleArtifact when made otherwise.

    `samples` is what the samples shall be; None takes what is there.
    """
    found = Record.read(out / artifacts.RECORD)
    if found is None:
        return False
    wanted = samples or str(found.options.get("samples"))
    if not PartedFolder(out, 1, LAYOUT).is_complete(parts.made_of_all(data, whole, wanted)):
        return False
    folder = PartedFolder(out, _jobs_of(out), LAYOUT)
    return not any(left_out.changed(folder.path(parts.REJECTED, job)) for job in range(1, folder.jobs + 1))


def finish(data: Path, out: Path, num_jobs: int, force: bool = False) -> None:
    """Join the parts of `num_jobs` jobs: every utterance there once, packed or rejected.

    Writes the tables of `out`, removes what earlier or killed runs left there, and made.json last.
    """
    require_whole(data)
    whole = DataDirectory.load(data)
    if not force and is_complete(data, whole, out):
        _refuse_changed(out, whole, DataDirectory.load(out).keys)
        if not _is_moved(out, whole):
            indexes.load(out, AUDIO)  # makes it where it is not there
            log.info("%s is complete; nothing to do", out)
            return
        log.info("%s: its wav files lie at another place now; its tables are written anew", out)
        num_jobs = _jobs_of(out)
    folder = PartedFolder(out, num_jobs, LAYOUT)
    made = _require(folder, whole, data)
    samples = str(made[0].options["samples"])
    found = _read(folder, whole, parts.is_in_place(samples))
    rejected = _rejected(folder)
    require_all(
        folder.folder, whole.keys, tables.concatenate([found.keys, rejected[0]]), "Run pack_audio with --force true."
    )
    rejected = _with_those_of_stage_1(data, *rejected)
    _check_lists(data, found.keys, rejected[0])
    with folder.joining(parts.made_of_all(data, whole, samples), made, {}):
        _set_aside(*rejected, len(found.keys), out)
        files = [path for job in range(1, num_jobs + 1) if (path := folder.path(parts.SOURCES, job)).is_file()]
        sources.join(files, out / sources.SOURCES, found.order)
        _refuse_changed(out, whole, found.keys)
        _write(out, whole, found)
    _describe(out, made, found)


def _jobs_of(out: Path) -> int:
    """How many jobs wrote a finished folder."""
    found = records.read(out)
    assert found is not None
    return int(found.facts[JOBS])


def _is_moved(out: Path, whole: DataDirectory) -> bool:
    """Do wav files that were indexed in place lie elsewhere than the tables say?"""
    if not audio_archive.is_in_place(out):
        return False
    there = DataDirectory.load(out)
    return not np.array_equal(there.values, whole.values[directories.find_rows(whole.keys, there.keys)])


def _refuse_changed(out: Path, whole: DataDirectory, keys: Words) -> None:
    """StaleArtifact where the audio of `keys` is not what was packed."""
    files = sources.changed(out, whole.values[directories.find_rows(whole.keys, keys)])
    if files:
        raise artifacts.StaleArtifact(
            f"{out} was made of other audio: {len(files)} files have other contents than were packed, the first is"
            f" {files[0]}. Use another folder, or --force true to make it anew."
        )


def _require(folder: PartedFolder, whole: DataDirectory, data: Path) -> list[Record]:
    """The records of all parts, of the same kind of samples as the first; ValueError says which command makes one."""
    first = Record.read(folder.path(LAYOUT.record, 1))
    samples = str(first.options.get("samples")) if first else Wanted().samples
    found = []
    for job in range(1, folder.jobs + 1):
        remedy = f"Run pack_audio --data {data} --out {folder.folder} --num-jobs {folder.jobs} --job {job}."
        share = parts.take(whole, Part(folder.folder, job, folder.jobs))
        if repaired := left_out.changed(folder.path(parts.REJECTED, job)):
            raise ValueError(f"{repaired[0]}, which was left out, has other contents now. {remedy}")
        found.append(folder.require(job, parts.made(share, samples), remedy))
    return found


def _read(folder: PartedFolder, whole: DataDirectory, in_place: bool) -> _Tables:
    """The rows of all parts; wav files are where the data directory says today."""
    keys, values, columns = folder.read_tables(parts.SCP, parts.SAMPLES, *([parts.PLACES] if in_place else []))
    if in_place:
        values = whole.values[directories.find_rows(whole.keys, keys)]
    if tables.is_sorted(keys):
        return _Tables(keys, values, columns[0], columns[1] if in_place else None)
    order = np.argsort(keys, kind="stable")  # utterances of one command are in one part, wherever they stand
    keys, values, columns = keys[order], values[order], [column[order] for column in columns]
    return _Tables(keys, values, columns[0], columns[1] if in_place else None, order)


def _rejected(folder: PartedFolder) -> tuple[Words, Words]:
    """The utterances that the parts left out, and why."""
    lists = [path for job in range(1, folder.jobs + 1) if (path := folder.path(parts.REJECTED, job)).is_file()]
    columns = [tables.read_table(path) for path in lists]
    keys, reasons = (tables.concatenate([column[side] for column in columns]) for side in (0, 1))
    order = np.argsort(keys, kind="stable")
    return keys[order], reasons[order]


def _with_those_of_stage_1(data: Path, rejected: Words, reasons: Words) -> tuple[Words, Words]:
    """What was left out by both stages, sorted, so that dump/raw/SET tells all that a trial list may name."""
    if not (data / "rejected").is_file():
        return rejected, reasons
    columns = zip((rejected, reasons), tables.read_rows(data / "rejected"), strict=True)
    keys, values = (np.concatenate(column) for column in columns)
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order]


def _check_lists(data: Path, keys: Words, rejected: Words) -> None:
    """Say now, before training, how many trials name utterances that are left out; ValueError where too few remain."""
    for path in sorted(data.glob("trials_*")) if len(rejected) else []:
        found = trials.read_trials(path, keys, np.sort(rejected))
        found.require_both_kinds(path)
        if found.left_out:
            total = len(found) + found.left_out
            log.warning("%s: %d of %d trials name utterances left out and will not count", path, found.left_out, total)


def _set_aside(rejected: Words, reasons: Words, others: int, out: Path) -> None:
    """Write OUT/rejected, where there are any."""
    if not len(rejected):
        (out / "rejected").unlink(missing_ok=True)
        return
    tables.write_table(out / "rejected", rejected, reasons)
    log.warning("%d of %d utterances were left out; see %s", len(rejected), len(rejected) + others, out / "rejected")


def _write(out: Path, whole: DataDirectory, found: _Tables) -> None:
    """Write all tables of the finished folder."""
    kept = whole.select(directories.find_rows(whole.keys, found.keys))
    tables.write_table(out / "utt2samples", found.keys, found.samples)
    if found.offsets is None:
        (out / OFFSETS).unlink(missing_ok=True)
    else:
        tables.write_table(out / OFFSETS, found.keys, found.offsets)
    DataDirectory(
        found.keys,
        found.values,
        kept.speakers,
        kept.recordings,
        found.samples / SAMPLE_RATE_HZ,
        kept.categories,
        cuts=None if found.offsets is None else kept.cuts,
    ).write(out)
    indexes.load(out, AUDIO)


def _describe(out: Path, records: list[Record], found: _Tables) -> None:
    """Say what was resampled and mixed, and how much there is."""
    tally = Tally()
    for record in records:
        tally.add(record.facts)
    tally.say()
    filled = sum(1 for record in records if record.facts["utterances"])
    hours = found.samples.sum() / SAMPLE_RATE_HZ / 3600
    log.info("%s: %d utterances in %d parts, %.1f h", out, len(found.keys), filled, hours)
