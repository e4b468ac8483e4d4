"""Stage 3, raw, after all parts: every utterance is there once, and the tables of dump/raw/SET are written.

OUT/wav.scp, utt2samples, utt2spk, ...   all parts together (utt2offset and segments too where wav files are indexed)
OUT/audio.index                          the same in binary, mapped by readers; see arks/indexes.py
OUT/made.json                            what made the folder, written last
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.arks import indexes
from sslsv_tk.arks.audio_archive import AUDIO, OFFSETS
from sslsv_tk.audio import wav
from sslsv_tk.audio.decoding import Tally
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.packing import parts
from sslsv_tk.packing.parts import Part, PartRecord
from sslsv_tk.segments import SAMPLE_RATE_HZ

log = logs.logger("joining")
_OF_A_PART = re.compile(r"(?:wav|utt2samples|utt2offset|rejected|part)\.(\d+)(?:\.ark|\.scp|\.json)?")


@dataclass(frozen=True)
class _Tables:
    """The rows of all parts: `values` are places in arks, or wav files with the byte of their first sample."""

    keys: Words
    values: Words
    samples: NDArray[np.int64]
    offsets: NDArray[np.int64] | None


def is_complete(data: Path, out: Path, samples: str | None = None) -> bool:
    """Is `out` finished, of these tables, with every part whole? Raises StaleArtifact when made otherwise.

    `samples` is what the samples shall be; None takes what is there.
    """
    if artifacts.read_record(out) is None:
        return False
    first = Part(out, 1, 1).record()
    wanted = samples or (first.samples if first else parts.Wanted().samples)
    if not artifacts.made_as(out, parts.made_as(wanted), directories.fingerprints(data)):
        return False
    if first is None or not all((out / name).is_file() for name in ("wav.scp", "utt2samples")):
        return False
    return all(Part(out, job, first.num_jobs).record() for job in range(1, first.num_jobs + 1))


def finish(data: Path, out: Path, num_jobs: int, force: bool = False) -> None:
    """Join the parts of `num_jobs` jobs: every utterance there once, every ark as long as its tables say.

    Writes the tables of `out`, removes what earlier or killed runs left there, and made.json last.
    """
    if not force and is_complete(data, out):
        indexes.load(out, AUDIO)  # makes it where it is not there
        log.info("%s is complete; nothing to do", out)
        return
    if num_jobs < 1:
        raise ValueError(f"expected at least 1 job, found {num_jobs}.")
    whole = DataDirectory.load(data)
    array = [Part(out, job, num_jobs) for job in range(1, num_jobs + 1)]
    records = [_require(part, whole, data) for part in array]
    samples = _require_same(records, out)
    filled = [part for part, found in zip(array, records, strict=True) if found.utterances]
    found = _join(filled, parts.is_in_place(samples))
    _set_aside(array, records, whole, found, out)
    (out / artifacts.RECORD).unlink(missing_ok=True)
    _write(out, whole, found)
    _remove_strays(out, num_jobs)
    artifacts.record(out, parts.made_as(samples), directories.fingerprints(data))
    tally = Tally()
    for record in records:
        tally.add(record.rates_hz, record.mixed)
    tally.say()
    hours = found.samples.sum() / SAMPLE_RATE_HZ / 3600
    log.info("%s: %d utterances in %d parts, %.1f h", out, len(found.keys), len(filled), hours)


def _require(part: Part, whole: DataDirectory, data: Path) -> PartRecord:
    """The record of a part, or a ValueError that says which command makes it."""
    found = part.record()
    if found is None or (found.num_jobs, found.inputs) != (part.num_jobs, parts.digest(parts.take(whole, part))):
        state = "missing or broken" if found is None else "of other utterances or of another number of jobs"
        raise ValueError(
            f"{part.file('part.J.json')}: part {part.job} of {part.num_jobs} is {state}. Run pack_audio --data {data}"
            f" --out {part.out} --num-jobs {part.num_jobs} --job {part.job}."
        )
    return found


def _require_same(records: list[PartRecord], out: Path) -> str:
    """What the samples of all parts are."""
    for job, found in enumerate(records, start=1):
        if found.samples != records[0].samples:
            raise ValueError(
                f"{out}: part 1 holds {records[0].samples}, part {job} {found.samples}. Run pack_audio with the same"
                " options for all."
            )
    return records[0].samples


def _join(filled: list[Part], in_place: bool) -> _Tables:
    """The rows of all parts; ValueError where tables and arks do not agree."""
    if not filled:
        raise ValueError("no part has any utterance: nothing to finish.")
    each = [_indexed(part) if in_place else _packed(part) for part in filled]
    keys = tables.concatenate([keys for keys, _, _, _ in each])
    values = tables.concatenate([values for _, values, _, _ in each])
    samples = np.concatenate([samples for _, _, samples, _ in each])
    offsets = np.concatenate([offsets for _, _, _, offsets in each]) if in_place else None
    return _Tables(keys, values, samples, offsets)


def _numbers(part: Part, name: str, keys: Words) -> NDArray[np.int64]:
    """The whole numbers of a table of a part, whose keys must be `keys`."""
    counted, words = tables.read_table(part.file(name))
    if len(keys) != len(counted) or (keys != counted).any():
        raise ValueError(
            f"{part.file(name)} does not list the utterances of {part.file('wav.J.scp')}. Run pack_audio with --job"
            f" {part.job} --force true."
        )
    return tables.integers(words, part.file(name))


def _packed(part: Part) -> tuple[Words, Words, NDArray[np.int64], NDArray[np.int64]]:
    keys, values = tables.read_table(part.file("wav.J.scp"))
    samples = _numbers(part, "utt2samples.J", keys)
    _, _, offsets = indexes.read_scp(part.file("wav.J.scp"))
    implied = int(offsets[-1]) + wav.HEADER_BYTES + 2 * int(samples[-1])
    size = part.file("wav.J.ark").stat().st_size
    if implied != size:
        raise ValueError(
            f"{part.file('wav.J.ark')}: {size} bytes, but its tables imply {implied}. Run pack_audio with --job"
            f" {part.job} --force true."
        )
    return keys, values, samples, offsets


def _indexed(part: Part) -> tuple[Words, Words, NDArray[np.int64], NDArray[np.int64]]:
    keys, values = tables.read_table(part.file("wav.J.scp"))
    return keys, values, _numbers(part, "utt2samples.J", keys), _numbers(part, "utt2offset.J", keys)


def _set_aside(array: list[Part], records: list[PartRecord], whole: DataDirectory, found: _Tables, out: Path) -> None:
    """Write OUT/rejected; ValueError unless every utterance of the data directory is packed or rejected, once."""
    made = [part for part, record in zip(array, records, strict=True) if record.rejected]
    lists = [tables.read_table(part.file("rejected.J")) for part in made]
    rejected, reasons = (tables.concatenate([columns[column] for columns in lists]) for column in (0, 1))
    _require_all(whole.keys, found.keys, rejected, out)
    if not lists:
        (out / "rejected").unlink(missing_ok=True)
        return
    tables.write_table(out / "rejected", rejected, reasons)
    log.warning("%d of %d utterances were left out; see %s", len(rejected), len(whole.keys), out / "rejected")


def _require_all(wanted: Words, packed: Words, rejected: Words, out: Path) -> None:
    found = np.sort(np.concatenate([packed, rejected]))
    missing, extra = np.setdiff1d(wanted, found), np.setdiff1d(found, wanted)
    if len(missing) or len(extra) or len(found) != len(wanted):
        raise ValueError(
            f"{out}: {len(missing)} utterance(s) are missing ({tables.first_words(missing)}), {len(extra)} are not of"
            f" the data directory ({tables.first_words(extra)}), {len(found)} packed where {len(wanted)} are wanted."
            " Run pack_audio with --force true."
        )


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


def _remove_strays(out: Path, num_jobs: int) -> None:
    """Remove temporary files of killed runs and the parts of a run with more jobs."""
    for folder in (out, out / "split"):
        directories.remove_temporaries(folder)
    for file in (out / "split").iterdir():
        match = _OF_A_PART.fullmatch(file.name)
        if match and int(match[1]) > num_jobs:
            file.unlink()
