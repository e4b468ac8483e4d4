"""Parts of stage 3, raw: which utterances a job takes, which files it writes, and the record of what made them.

OUT/split/wav.J.ark, wav.J.scp, utt2samples.J      part J of N: a contiguous share of the sorted utterances
OUT/split/wav.J.scp, utt2samples.J, utt2offset.J   the same where wav files are indexed in place, without a copy
OUT/split/rejected.J, part.J.json                  what was left out; what made the part, written last
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sslsv_tk import artifacts
from sslsv_tk.audio import resampling
from sslsv_tk.audio.decoding import Tally
from sslsv_tk.audio.resampling import Channel
from sslsv_tk.kaldi.directories import DataDirectory

_SAMPLES = "16 kHz mono 16-bit"
_IN_PLACE = "in place"


@dataclass(frozen=True)
class Wanted:
    """What becomes of the audio.

    `channel` is the one to take of files with several, or "mix", their mean. `copy` False leaves wav files where they
    are and writes down where their samples stand. `allow_pipes` runs the commands that a wav.scp may hold.
    """

    channel: Channel = "mix"
    copy: bool = True
    allow_pipes: bool = False

    def __post_init__(self) -> None:
        resampling.check_channel(self.channel)

    @property
    def samples(self) -> str:
        """What the samples are, as records say it."""
        named = [_SAMPLES] if self.channel == "mix" else [_SAMPLES, f"channel {self.channel}"]
        return ", ".join(named if self.copy else [*named, _IN_PLACE])


def made_as(samples: str) -> dict[str, str]:
    """The options that the record of a folder holds."""
    return {"feats_type": "raw", "samples": samples}


def is_in_place(samples: str) -> bool:
    """Do the samples of a record lie in wav files?"""
    return samples.endswith(_IN_PLACE)


@dataclass(frozen=True)
class PartRecord:
    """What made a part, and what came out: enough to see whether it is whole and still wanted.

    `rates_hz` and `mixed` are the counts of decoding.Tally.
    """

    num_jobs: int
    inputs: str
    utterances: int
    rejected: int
    ark_bytes: int
    samples: str = _SAMPLES
    rates_hz: dict[str, int] = field(default_factory=dict)
    mixed: dict[str, int] = field(default_factory=dict)


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
        """The record of the part on disk; None unless it is there with all its files, the ark as long as it was."""
        try:
            found = PartRecord(**artifacts.from_json(self.file("part.J.json").read_text()))
            Tally().add(found.rates_hz, found.mixed)
            names = ["wav.J.scp", "utt2samples.J", *(["utt2offset.J"] if is_in_place(found.samples) else [])]
            whole = found.utterances == 0 or (
                all(self.file(name).is_file() for name in names)
                and (is_in_place(found.samples) or self.file("wav.J.ark").stat().st_size == found.ark_bytes)
            )
        except (OSError, ValueError, TypeError, AttributeError, OverflowError):
            return None
        return found if whole else None


def take(whole: DataDirectory, part: Part) -> DataDirectory:
    """The share of a part."""
    rows = part.share(len(whole.keys))
    return whole.select(np.arange(rows.start, rows.stop))


def digest(share: DataDirectory) -> str:
    """A digest of what decides the contents of a part: keys, files, cuts, channels and speech decisions."""
    found = hashlib.sha256()
    cuts = (share.cuts.starts, share.cuts.ends) if share.cuts else (None, None)
    columns = [share.keys, share.values, *cuts, share.channels, *([] if share.vad is None else [share.vad])]
    for column in columns:
        found.update(b"-" if column is None else f"{column.dtype}{len(column)}".encode() + column.tobytes())
    return found.hexdigest()[:16]
