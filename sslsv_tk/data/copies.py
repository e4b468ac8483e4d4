"""Offline copies of a training set: which noise or response each utterance gets, decided once and written down.

data/SET_KIND is a data directory of the utterances `<utterance>-KIND`, with one more table, `augmentation`:

    <utterance>-noise  noise  -       7.25  noise-free-sound-0001-00000  53120
    <utterance>-babble babble -      14.03  clip start clip start clip start - 0 - 0 - 0 - 0
    <utterance>-reverb reverb room-1  -
    ^ key              ^ kind ^ response ^ SNR in dB  ^ clips of 3 to 7 talkers, first sample in each (at 16 kHz)

wav.scp names the clean audio; stage 3 computes the features of what the table says. N utterances, K clip slots.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs, seeds
from sslsv_tk.data import directories, preparation, tables
from sslsv_tk.data.augmentation import Decibels
from sslsv_tk.data.directories import DataDirectory
from sslsv_tk.data.tables import Words, text
from sslsv_tk.segments import SAMPLE_RATE_HZ

Kind = Literal["noise", "music", "babble", "reverb"]
KINDS: tuple[Kind, ...] = ("noise", "music", "babble", "reverb")
CLIPS: dict[str, str] = {"noise": "musan_noise", "music": "musan_music", "babble": "musan_speech", "reverb": "rirs"}
SLOTS: dict[str, int] = {"noise": 1, "music": 1, "babble": 7, "reverb": 0}
FEWEST_TALKERS = 3  # of babble; Kaldi's VoxCeleb recipe draws 3 to 7
TABLE = "augmentation"
NOTHING = b"-"
_BLOCK = 65536  # utterances written at a time
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
    data: Path, clips: Path, config: CopyConfig, kinds: Sequence[Kind] = KINDS, force: bool = False
) -> None:
    """Write data/SET_KIND for each kind; `clips` is the folder with musan_noise, ..., rirs of stage 2."""
    clean = functools.cache(lambda: DataDirectory.load(data))
    found = {f"{name} of {Path(data).name}": value for name, value in directories.fingerprints(data).items()}
    for kind in kinds:
        source = clips / CLIPS[kind]
        inputs = found | {f"{name} of {source.name}": value for name, value in directories.fingerprints(source).items()}
        out, options = copy_folder(data, kind), {"kind": kind, **asdict(config)}
        if not force and not (out / TABLE).is_file():
            (out / artifacts.RECORD).unlink(missing_ok=True)

        def make(kind: Kind = kind, source: Path = source, out: Path = out) -> None:
            _write_copy(clean(), DataDirectory.load(source), kind, config, out)

        preparation.make_once(out, options, inputs, force, make)


def _write_copy(clean: DataDirectory, clips: DataDirectory, kind: Kind, config: CopyConfig, out: Path) -> None:
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
    path: Path, keys: Words, utterances: Words, kind: Kind, clips: DataDirectory, config: CopyConfig
) -> None:
    """The table `augmentation`, in blocks, so that no object per utterance is kept."""
    if clips.durations is None:
        raise ValueError(f"{CLIPS[kind]} has no utt2dur, from which first samples are drawn. Run stage 2 again.")
    samples = np.maximum((clips.durations * SAMPLE_RATE_HZ).astype(np.int64), 1)
    with artifacts.replacing(path, "wb") as stream:
        for begin in range(0, len(keys), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            drawn = _draw(utterance_numbers(utterances[block]), kind, clips.keys, samples, config)
            rows = zip(*(column.tolist() for column in (keys[block], *drawn)), strict=True)
            stream.write(b"".join(b" ".join(row) + b"\n" for row in rows))


def _draw(
    numbers: NDArray[np.int64], kind: Kind, clips: Words, samples: NDArray[np.int64], config: CopyConfig
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


@dataclass(frozen=True)
class Drawn:
    """What the table says of some utterances: B of them, K clip slots."""

    response_B: NDArray[np.int64]  # row among the responses; -1: none
    snr_B: NDArray[np.float32]  # dB; +inf: no noise
    clip_BK: NDArray[np.int64]  # row among the clips; -1: none
    start_BK: NDArray[np.int64]  # first sample in each clip


def table_digest(copy: str | Path) -> str:
    """A digest of the whole table, for the record of what is made of it."""
    with open(Path(copy) / TABLE, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def kind_of(copy: str | Path) -> Kind:
    """The kind that a copy's table names; ValueError where the folder is no offline copy."""
    path = Path(copy) / TABLE
    if not path.is_file():
        raise ValueError(
            f"{copy}: no table {TABLE}, so not an offline copy. Stage 2 with --feats-type fbank makes them."
        )
    with open(path, "rb") as stream:
        words = stream.readline().split()
    found = [kind for kind in KINDS if len(words) > 1 and words[1] == kind.encode()]
    if not found:
        raise _damaged(path, 0, b" ".join(words), f"a key and one of {', '.join(KINDS)}")
    return found[0]


def read_drawn(
    copy: Path, kind: Kind, utterances: DataDirectory, rows: NDArray[np.integer], clips: Words, block: int
) -> Iterator[Drawn]:
    """What the table says of ascending rows of the copy `utterances`, `block` rows at a time; `clips`: sorted keys."""
    path, width = copy / TABLE, 4 + 2 * SLOTS[kind]
    with open(path, "rb") as stream:
        lines = _lines_at(stream, rows)
        for begin in range(0, len(rows), block):
            part = rows[begin : begin + block]
            words = [line.split() for line in itertools.islice(lines, len(part))]
            for number, row in enumerate(part.tolist()):
                key = utterances.keys[row]
                line = words[number] if number < len(words) else []
                if len(line) != width or line[0] != key or line[1] != kind.encode():
                    raise _damaged(path, row, b" ".join(line), f"{width} words that begin {text(key)} {kind}")
            yield _parse(path, part, np.array(words, dtype=np.bytes_).reshape(len(part), width), clips)


def _lines_at(stream: Iterator[bytes], rows: NDArray[np.integer]) -> Iterator[bytes]:
    """The lines of ascending numbers (from 0)."""
    position = 0
    for row in rows.tolist():
        yield from itertools.islice(stream, row - position, row - position + 1)
        position = row + 1


def _parse(path: Path, rows: NDArray[np.integer], words: NDArray[np.bytes_], clips: Words) -> Drawn:
    """Words of some lines of the table as numbers; `rows` are their line numbers (from 0), for messages."""

    def found(names: Words) -> NDArray[np.int64]:
        number = np.where(names == NOTHING, -1, directories.find_rows(clips, names))
        unknown = (number < 0) & (names != NOTHING)
        if unknown.any():
            row = int(rows[unknown.argmax() * len(rows) // len(names)])
            raise ValueError(
                f"{path}:{row + 1}: {text(names[unknown.argmax()])} is not among the packed clips: it was left out as"
                " unreadable, or the clips are others. Run stages 2 and 3 with --force true."
            )
        return number

    response_B = found(words[:, 2])
    clip_BK = found(words[:, 4::2].reshape(-1)).reshape(len(words), -1)
    try:
        snr_B = np.where(words[:, 3] == NOTHING, b"inf", words[:, 3]).astype(np.float32)
        start_BK = words[:, 5::2].astype(np.int64)
    except (ValueError, OverflowError):
        raise _damaged(path, int(rows[0]), b"", "numbers for SNR and first samples, here or a few lines on") from None
    if np.isnan(snr_B).any() or (start_BK < 0).any():
        raise _damaged(path, int(rows[0]), b"", "an SNR and first samples >= 0, here or a few lines on")
    return Drawn(response_B, snr_B, clip_BK, start_BK)


def _damaged(path: Path, row: int, found: bytes, expected: str) -> ValueError:
    instead = f", found {text(found[:60])!r}" if found else ""
    return ValueError(f"{path}:{row + 1}: expected {expected}{instead}. Run stage 2 with --force true.")
