"""Parts of stage 3, raw: which utterances a job takes, which files it writes, and what decides their contents.

OUT/split/wav.J.ark, wav.J.ark.sums, wav.J.scp, utt2samples.J   part J of N: a contiguous share of the sorted utterances
OUT/split/wav.J.scp, utt2samples.J, utt2offset.J   the same where wav files are indexed in place, without a copy
OUT/split/sources.J                                digests of the files that the utterances were cut from
OUT/split/rejected.J, part.J.json                  what was left out; the record of the part, written last
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sslsv_tk import digests
from sslsv_tk.arks import sources
from sslsv_tk.arks.audio_archive import OFFSETS
from sslsv_tk.arks.parted_folder import Layout, PartedFolder
from sslsv_tk.audio import resampling, sound, vad
from sslsv_tk.audio.resampling import Channel
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.kaldi import directories
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import text
from sslsv_tk.records import Made
from sslsv_tk.segments import SAMPLE_RATE_HZ

ARK, SUMS, SCP = "split/wav.J.ark", "split/wav.J.ark.sums", "split/wav.J.scp"
SAMPLES, PLACES, REJECTED = "split/utt2samples.J", "split/utt2offset.J", "split/rejected.J"
SOURCES = "split/sources.J"
LAYOUT = Layout(
    arks=(ARK,),
    tables=(SUMS, SCP, SAMPLES, PLACES, REJECTED, SOURCES),
    record="split/part.J.json",
    scp=directories.AUDIO,
    joined=(*directories.TABLES[1:], "utt2samples", OFFSETS, "rejected", sources.SOURCES),
)

LEAST_SAMPLES = 257
"""At 16 kHz: the front end mirrors half a transform of 512 points at either end, which takes one sample more."""
_SAMPLES = "16 kHz mono 16-bit"
_IN_PLACE = "in place"
_ABOUT = ("utt2spk", "spk2utt", "utt2rec", "utt2category")


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


def is_in_place(samples: str) -> bool:
    """Do the samples of a record lie in wav files?"""
    return samples.endswith(_IN_PLACE)


@dataclass(frozen=True)
class Part:
    """Job `job` (from 1) of `num_jobs` and the files that it writes below `out`/split."""

    out: Path
    job: int
    num_jobs: int

    def __post_init__(self) -> None:
        self.folder.path(LAYOUT.record, self.job)

    @property
    def folder(self) -> PartedFolder:
        """All parts of the array."""
        return PartedFolder(self.out, self.num_jobs, LAYOUT)

    def file(self, name: str) -> Path:
        """The path of a file such as "wav.J.ark"."""
        return self.folder.path(f"split/{name}", self.job)

    def share(self, utterances: int) -> slice:
        """The rows that this part takes of all utterances."""
        return slice((self.job - 1) * utterances // self.num_jobs, self.job * utterances // self.num_jobs)


def take(whole: DataDirectory, part: Part) -> DataDirectory:
    """The share of a part: rows that stand together, but all that are cut from the output of one command."""
    rows, share = np.arange(len(whole.keys)), part.share(len(whole.keys))
    are_commands = sound.are_commands(whole.values) if len(rows) else np.zeros(0, dtype=np.bool_)
    first = rows.copy()  # the first row of the same command: the part that has it runs the command, and no other one
    if are_commands.any():
        _, first_of_value, value = np.unique(whole.values, return_index=True, return_inverse=True)
        first = np.where(are_commands, first_of_value[value], rows)
    return whole.select(np.flatnonzero((first >= share.start) & (first < share.stop)))


def too_short(share: DataDirectory, row: int, samples: int) -> UnreadableAudio | None:
    """The fault of an utterance of which no frame can be computed; None of noises and responses, whatever they have."""
    if samples >= LEAST_SAMPLES or share.categories is not None:
        return None
    return UnreadableAudio(
        f"{text(share.values[row])}: too short: {text(share.keys[row])} has {samples} samples at 16 kHz, and the front"
        f" end needs {LEAST_SAMPLES} ({1000 * LEAST_SAMPLES / SAMPLE_RATE_HZ:.0f} ms)"
    )


def made(share: DataDirectory, samples: str) -> Made:
    """What decides the contents of a part: keys, commands, cuts, channels and speech decisions of its share.

    Where a file lies does not count. What an audio file held stands in `sources`; files of speech decisions are hashed.
    """
    cuts = (share.cuts.starts, share.cuts.ends) if share.cuts else (None, None)
    commands = share.values[sound.are_commands(share.values)].tolist() if len(share.values) else []
    columns = [share.keys, np.array(commands) if commands else None, *cuts, share.channels]
    if share.categories is not None:  # responses are scaled
        columns.append(share.categories)
    inputs = {"utterances": digests.of_columns(columns)}
    if share.vad is not None:
        inputs["speech decisions"] = digests.of_columns([vad.identities(share.vad)])
    return Made({"samples": samples}, inputs)


def made_of_all(data: Path, whole: DataDirectory, samples: str) -> Made:
    """What decides the contents of the folder: the utterances, and the tables that say whose they are."""
    tables_of_all = {name: digest for name, digest in directories.fingerprints(data).items() if name in _ABOUT}
    return Made({"feats_type": "raw", "samples": samples}, {**made(whole, samples).inputs, **tables_of_all})
