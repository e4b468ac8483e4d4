"""Stage 3, raw: the audio of a data directory as 16-bit arks, made in parts by a job array.

OUT/split/wav.J.ark, wav.J.scp, utt2samples.J      part J of N: a contiguous share of the sorted utterances
OUT/split/rejected.J, part.J.json                  what was left out; what made the part, written last
OUT/wav.scp, utt2samples, utt2spk, ..., made.json  all parts together, made.json last
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.data import arks, decoding, directories, tables
from sslsv_tk.data.decoding import UnreadableAudio
from sslsv_tk.data.directories import DataDirectory
from sslsv_tk.data.preparation import check_rejected, check_tolerance
from sslsv_tk.data.tables import Words, text
from sslsv_tk.segments import SAMPLE_RATE_HZ

log = logs.logger("packing")
OPTIONS = {"feats_type": "raw", "samples": "16 kHz mono 16-bit"}
_SECONDS_BETWEEN_LINES = 60.0
_OF_A_PART = re.compile(r"(?:wav|utt2samples|rejected|part)\.(\d+)(?:\.ark|\.scp|\.json)?")


@dataclass(frozen=True)
class PartRecord:
    """What made a part, and what came out: enough to see whether it is whole and still wanted."""

    num_jobs: int
    inputs: str
    utterances: int
    rejected: int
    ark_bytes: int


@dataclass(frozen=True)
class Part:
    """Job `job` (from 1) of `num_jobs` and the files that it writes below `out`/split."""

    out: Path
    job: int
    num_jobs: int

    def __post_init__(self) -> None:
        if not 1 <= self.job <= self.num_jobs:
            raise ValueError(f"job {self.job} of {self.num_jobs}: jobs count from 1 to the number of jobs.")

    def file(self, pattern: str) -> Path:
        """The path of a file such as "wav.J.ark"."""
        return self.out / "split" / pattern.replace("J", str(self.job))

    def share(self, utterances: int) -> slice:
        """The rows that this part takes of all utterances."""
        return slice((self.job - 1) * utterances // self.num_jobs, self.job * utterances // self.num_jobs)

    def record(self) -> PartRecord | None:
        """The record of the part on disk; None unless it is there and its ark has the recorded size."""
        try:
            found = PartRecord(**json.loads(self.file("part.J.json").read_text()))
            whole = found.utterances == 0 or self.file("wav.J.ark").stat().st_size == found.ark_bytes
        except (OSError, ValueError, TypeError):
            return None
        return found if whole else None


def _digest(share: DataDirectory) -> str:
    """A digest of what decides the contents of a part: keys, files, cuts and channels."""
    digest = hashlib.sha256()
    cuts = (share.cuts.starts, share.cuts.ends) if share.cuts else (None, None)
    for column in (share.keys, share.values, *cuts, share.channels):
        digest.update(b"-" if column is None else f"{column.dtype}{len(column)}".encode() + column.tobytes())
    return digest.hexdigest()[:16]


def _complete(data: Path, out: Path) -> bool:
    """Is `out` finished, of these tables, with every part whole? Raises StaleArtifact when made of others."""
    if not artifacts.made_as(out, OPTIONS, directories.fingerprints(data)):
        return False
    first = Part(out, 1, 1).record()
    if first is None or not all((out / name).is_file() for name in ("wav.scp", "utt2samples")):
        return False
    return all(Part(out, job, first.num_jobs).record() for job in range(1, first.num_jobs + 1))


def pack_part(data: Path, part: Part, tolerance: float = 0.0, force: bool = False) -> None:
    """Decode the audio of one share of the utterances into the part's ark.

    Nothing is done where the part is there already, made of the same utterances. Files that cannot be used are
    listed in rejected.J; more than the share `tolerance` of them and no ark appears.
    """
    check_tolerance(tolerance)
    if not force and _complete(data, part.out):
        log.info("%s is complete; nothing to do", part.out)
        return
    whole = directories.DataDirectory.load(data)
    share = whole.select(np.arange(len(whole.keys))[part.share(len(whole.keys))])
    found, inputs = part.record(), _digest(share)
    allowed = tolerance * len(share.keys)
    if not force and found and (found.num_jobs, found.inputs) == (part.num_jobs, inputs) and found.rejected <= allowed:
        log.info("part %d of %d is there: %d utterances; nothing to do", part.job, part.num_jobs, found.utterances)
        return
    (part.out / artifacts.RECORD).unlink(missing_ok=True)
    part.file("part.J.json").unlink(missing_ok=True)
    for stray in (part.out / "split").glob(f".*.{part.job}.*.tmp"):
        stray.unlink(missing_ok=True)
    made = _pack(share, part, tolerance, inputs)
    with artifacts.replacing(part.file("part.J.json")) as stream:
        json.dump(asdict(made), stream)


def _pack(share: DataDirectory, part: Part, tolerance: float, inputs: str) -> PartRecord:
    if len(share.keys) == 0:
        log.warning("part %d of %d is empty: fewer utterances than jobs", part.job, part.num_jobs)
        return PartRecord(part.num_jobs, inputs, 0, 0, 0)
    rejected: dict[str, str] = {}
    ark = part.file("wav.J.ark")

    def usable() -> Iterator[tuple[str, NDArray[np.int16]]]:
        yield from _decode(share, rejected)
        # Still inside the temporary file of the ark: raising here leaves no ark behind.
        check_rejected(rejected, len(share.keys), tolerance, part.file("rejected.J"))

    count = arks.write_pcm_ark(usable(), ark, part.file("wav.J.scp"), part.file("utt2samples.J"))
    return PartRecord(part.num_jobs, inputs, count, len(rejected), ark.stat().st_size)


def _decode(share: DataDirectory, rejected: dict[str, str]) -> Iterator[tuple[str, NDArray[np.int16]]]:
    """The key and the samples of every usable utterance; the others go to `rejected` with the reason."""
    began = said = time.monotonic()
    for row, key in enumerate(share.keys):
        path = text(share.values[row])
        if path.endswith("|"):
            raise ValueError(f"{text(key)}: {path!r} in wav.scp is a command; only audio files are read.")
        channel = None if share.channels is None else int(share.channels[row])
        seconds = None if share.cuts is None else (float(share.cuts.starts[row]), float(share.cuts.ends[row]))
        try:
            yield text(key), decoding.read_pcm16(path, channel, seconds)
        except UnreadableAudio as fault:
            rejected[text(key)] = str(fault)
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            log.info("%d of %d utterances, %.0f per second", row + 1, len(share.keys), (row + 1) / (said - began))


def finish(data: Path, out: Path, num_jobs: int, force: bool = False) -> None:
    """Join the parts of `num_jobs` jobs: every utterance there once, every ark as long as its tables say.

    Writes the tables of `out`, removes what earlier or killed runs left there, and made.json last.
    """
    if not force and _complete(data, out):
        log.info("%s is complete; nothing to do", out)
        return
    whole = DataDirectory.load(data)
    parts = [Part(out, job, num_jobs) for job in range(1, num_jobs + 1)]
    if not parts:
        raise ValueError(f"expected at least 1 job, found {num_jobs}.")
    records = [_require(part, whole, data) for part in parts]
    filled = [part for part, found in zip(parts, records, strict=True) if found.utterances]
    keys, values, samples = _join(filled)
    rejected = {
        key: reason
        for part, found in zip(parts, records, strict=True)
        if found.rejected
        for key, reason in zip(*tables.read_table(part.file("rejected.J")), strict=True)
    }
    _require_all(whole.keys, keys, np.array(list(rejected), dtype=np.bytes_), out)
    (out / artifacts.RECORD).unlink(missing_ok=True)
    kept = whole.select(directories.find_rows(whole.keys, keys))
    tables.write_table(out / "utt2samples", keys, samples)
    if rejected:
        tables.write_table(out / "rejected", list(rejected), list(rejected.values()))
        log.warning("%d of %d utterances were left out; see %s", len(rejected), len(whole.keys), out / "rejected")
    else:
        (out / "rejected").unlink(missing_ok=True)
    DataDirectory(keys, values, kept.speakers, kept.recordings, kept.durations, kept.categories).write(out)
    _remove_strays(out, num_jobs)
    artifacts.record(out, OPTIONS, directories.fingerprints(data))
    log.info("%s: %d utterances in %d arks, %.1f h", out, len(keys), len(filled), samples.sum() / SAMPLE_RATE_HZ / 3600)


def _require(part: Part, whole: DataDirectory, data: Path) -> PartRecord:
    """The record of a part, or a ValueError that says which command makes it."""
    found = part.record()
    share = whole.select(np.arange(len(whole.keys))[part.share(len(whole.keys))])
    if found is None or (found.num_jobs, found.inputs) != (part.num_jobs, _digest(share)):
        state = "missing or broken" if found is None else "of other utterances or of another number of jobs"
        raise ValueError(
            f"{part.file('part.J.json')}: part {part.job} of {part.num_jobs} is {state}. Run pack_audio --data {data}"
            f" --out {part.out} --num-jobs {part.num_jobs} --job {part.job}."
        )
    return found


def _join(parts: list[Part]) -> tuple[Words, Words, NDArray[np.int64]]:
    """Keys, ark places and lengths of all parts; ValueError where tables and arks do not agree."""
    columns: list[tuple[Words, Words, NDArray[np.int64]]] = []
    for part in parts:
        keys, values = tables.read_table(part.file("wav.J.scp"))
        counted, words = tables.read_table(part.file("utt2samples.J"))
        samples = tables.integers(words, part.file("utt2samples.J"))
        _, _, offsets = arks.read_scp(part.file("wav.J.scp"))
        implied = int(offsets[-1]) + arks.HEADER_BYTES + 2 * int(samples[-1])
        size = part.file("wav.J.ark").stat().st_size
        if len(keys) != len(counted) or (keys != counted).any() or implied != size:
            raise ValueError(
                f"{part.file('wav.J.ark')}: {size} bytes, but its tables imply {implied}. Run pack_audio with --job"
                f" {part.job} --force true."
            )
        columns.append((keys, values, samples))
    if not columns:
        raise ValueError("no part has any utterance: nothing to finish.")
    keys, values, samples = (np.concatenate(column) for column in zip(*columns, strict=True))
    return keys, values, samples


def _require_all(wanted: Words, packed: Words, rejected: Words, out: Path) -> None:
    """Every utterance of the data directory is packed or listed as rejected, once."""
    found = np.sort(np.concatenate([packed, rejected]))
    missing, extra = np.setdiff1d(wanted, found), np.setdiff1d(found, wanted)
    if len(missing) or len(extra) or len(found) != len(wanted):
        raise ValueError(
            f"{out}: {len(missing)} utterance(s) are missing ({tables.first_words(missing)}), {len(extra)} are not of"
            f" the data directory ({tables.first_words(extra)}), {len(found)} packed where {len(wanted)} are wanted."
            " Run pack_audio with --force true."
        )


def _remove_strays(out: Path, num_jobs: int) -> None:
    """Remove temporary files of killed runs and the parts of a run with more jobs."""
    for folder in (out, out / "split"):
        directories.remove_temporaries(folder)
    for file in (out / "split").iterdir():
        match = _OF_A_PART.fullmatch(file.name)
        if match and int(match[1]) > num_jobs:
            file.unlink()
