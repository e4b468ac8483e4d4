"""Offline copies of a training set: which noise or response each utterance gets, decided once and written down.

data/SET_KIND is a data directory of the utterances `<utterance>-KIND`, with one more table, `augmentation`:

    <utterance>-noise  noise  -       7.25  noise-free-sound-0001-00000  53120
    <utterance>-babble babble -      14.03  clip start clip start clip start - 0 - 0 - 0 - 0
    <utterance>-reverb reverb room-1  -
    ^ key              ^ kind ^ response ^ SNR in dB  ^ clips of 3 to 7 talkers, first sample in each (at 16 kHz)

wav.scp names the clean audio; stage 3 computes the features of what the table says. N utterances, K clip slots.
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests, logs, records, seeds
from sslsv_tk.corpora import rejected
from sslsv_tk.draws.augmentation import Decibels
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import Words
from sslsv_tk.records import Made
from sslsv_tk.segments import SAMPLE_RATE_HZ

CopyKind = Literal["noise", "music", "babble", "reverb"]
KINDS: tuple[CopyKind, ...] = ("noise", "music", "babble", "reverb")
CLIPS: dict[str, str] = {"noise": "musan_noise", "music": "musan_music", "babble": "musan_speech", "reverb": "rirs"}
SLOTS: dict[str, int] = {"noise": 1, "music": 1, "babble": 7, "reverb": 0}
FEWEST_TALKERS = 3  # of babble; Kaldi's VoxCeleb recipe draws 3 to 7
TABLE = "augmentation"
NOTHING = b"-"
log = logs.logger("copies")


@dataclass(frozen=True)
class CopyConfig:
    """From what the copies are drawn; ranges of the SNR in dB, uniform."""

    seed: int = 0
    noise_db: Decibels = (0.0, 15.0)
    music_db: Decibels = (5.0, 15.0)
    babble_db: Decibels = (13.0, 20.0)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"--seed must be from 0 to 2^63 - 1; found {self.seed}.")
        for kind in KINDS[:3]:
            low, high = self.snr_range(kind)
            if not -200 <= low <= high <= 200:
                raise ValueError(f"--{kind}-db {low:g} {high:g}: expected the lower end first, both within 200 dB.")

    def snr_range(self, kind: str) -> Decibels:
        """Lowest and highest SNR in dB."""
        return {"noise": self.noise_db, "music": self.music_db, "babble": self.babble_db}[kind]


def copy_folder(data: str | Path, kind: str) -> Path:
    """Where the copy of a set lies: data/SET_noise beside data/SET."""
    return Path(data).with_name(f"{Path(data).name}_{kind}")


def copy_keys(keys: Words, kind: str) -> Words:
    """(N,) the ids of the copies, in the order of `keys`: the speaker stays a prefix."""
    return np.char.add(keys, f"-{kind}".encode())


def prepare_copies(
    data: Path, clips: Path, config: CopyConfig, kinds: Sequence[CopyKind] = KINDS, force: bool = False
) -> None:
    """Write data/SET_KIND for each kind; `clips` is the folder with musan_noise, ..., rirs of stage 2."""
    clean = functools.cache(lambda: DataDirectory.load(data))
    records.require_tables(data)
    found = _inputs(data)
    places = digests.of_file(data / directories.AUDIO) if (data / directories.AUDIO).is_file() else ""
    for kind in kinds:
        source = clips / CLIPS[kind]
        records.require_tables(source)
        inputs = found | _inputs(source)
        out, options = copy_folder(data, kind), {"kind": kind, **asdict(config)}

        def make(new: Path, kind: CopyKind = kind, source: Path = source) -> None:
            _write_copy(clean(), DataDirectory.load(source), kind, config, new)

        rejected.make_once(out, Made(options, inputs), force, make, places)


def _inputs(folder: Path) -> dict[str, str]:
    """Digests of the tables that copies are drawn from: ids and lengths, but not where the audio lies."""
    found = directories.fingerprints(folder)
    if "utt2dur" in found:  # which lists the same ids
        found.pop(directories.AUDIO, None)
    return {f"{name} of {folder.name}": value for name, value in found.items()}


def _write_copy(clean: DataDirectory, clips: DataDirectory, kind: CopyKind, config: CopyConfig, out: Path) -> None:
    if clean.table != "wav.scp":
        raise ValueError(
            "copies are made of audio, and the data directory has features alone (no wav.scp). Train on the clean ones:"
            " augmentation.copies=[clean]."
        )
    keys = copy_keys(clean.keys, kind)
    order = np.argsort(keys, kind="stable")
    copies = replace(clean.select(order), keys=keys[order])
    if copies.speakers is not None and clean.speakers is not None and (clean.speakers == clean.keys).all():
        copies = replace(copies, speakers=copies.keys)  # unknown stays unknown
    _write_table(out / TABLE, copies.keys, clean.keys[order], kind, clips, config)
    copies.write(out)
    log.info("%s: %d copies with %d clips of %s", out, len(keys), len(clips.keys), CLIPS[kind])


def utterance_numbers(keys: Words) -> NDArray[np.int64]:
    """(N,) a number for each id that depends on the id alone (FNV-1a over its bytes, 63 bits), for keyed draws."""
    hashed = np.full(len(keys), 0xCBF29CE484222325, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in tables.characters(keys).T:
            hashed = np.where(column > 0, (hashed ^ column) * np.uint64(0x100000001B3), hashed)
    return (hashed >> np.uint64(1)).astype(np.int64)


def _write_table(
    path: Path, keys: Words, utterances: Words, kind: CopyKind, clips: DataDirectory, config: CopyConfig
) -> None:
    """The table `augmentation`, in blocks, so that no object per utterance is kept."""
    if clips.durations is None:
        raise ValueError(f"{CLIPS[kind]} has no utt2dur, from which first samples are drawn. Run stage 2 again.")
    samples = np.maximum((clips.durations * SAMPLE_RATE_HZ).astype(np.int64), 1)
    with artifacts.replacing(path, "wb") as stream:
        for block in tables.blocks(len(keys)):
            drawn = _draw(utterance_numbers(utterances[block]), kind, clips.keys, samples, config)
            rows = zip(*(column.tolist() for column in (keys[block], *drawn)), strict=True)
            stream.write(b"".join(b" ".join(row) + b"\n" for row in rows))


def _draw(
    numbers: NDArray[np.int64], kind: CopyKind, clips: Words, samples: NDArray[np.int64], config: CopyConfig
) -> list[Words]:
    """The columns of the table after the key, draws keyed (seed, kind, utterance)."""
    count, slots = len(numbers), SLOTS[kind]
    u = seeds.uniform(2 + 2 * max(slots, 1), config.seed, "copies", kind, numbers)
    kinds, nothing = np.full(count, kind.encode()), np.full(count, NOTHING)
    if kind == "reverb":
        return [kinds, clips[seeds.choose(len(clips), u[:, 0])], nothing]
    low, high = config.snr_range(kind)
    snr = np.char.mod(b"%.2f", low + (high - low) * u[:, 0])
    talkers = np.ones(count, dtype=np.int64)
    if kind == "babble":
        talkers = FEWEST_TALKERS + seeds.choose(slots - FEWEST_TALKERS + 1, u[:, 1])
    columns = [kinds, nothing, snr]
    for slot in range(slots):
        row = seeds.choose(len(clips), u[:, 2 + 2 * slot])
        start = seeds.choose(samples[row], u[:, 3 + 2 * slot])
        spoken = slot < talkers
        columns += [np.where(spoken, clips[row], NOTHING), np.where(spoken, start, 0).astype(np.bytes_)]
    return columns
