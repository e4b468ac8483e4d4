"""Which noise, at which level, and which room response each segment gets.

All draws are keyed (seed, epoch, utterance, view): they depend neither on the number of workers nor on the
order of the work, and they travel to the device as numbers. B utterances of a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import seeds
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.kaldi import tables

AugmentationKind = Literal["none", "reverb", "noise", "both"]
Copy = Literal["clean", "noise", "music", "babble", "reverb"]
Decibels = tuple[float, float]
CATEGORIES = ("noise", "music", "speech")
AUGMENTATION_SETS = (*(f"musan_{category}" for category in CATEGORIES), "rirs")
_DRAWS = 6  # per segment: kind, response, category, clip, start, SNR


@dataclass(frozen=True)
class AugmentationConfig:
    """How segments are augmented; each segment gets one of `kinds`, drawn uniformly.

    With frontend.feats_type fbank augmentation was done in stage 3: segments are cut from the offline copies that
    `copies` names, those of one utterance from different ones as long as there are that many. `frames: drawn` augments
    frames of the clean set instead, by the settings of feats_type raw. In all cases kinds: [none] switches augmentation
    off.
    """

    kinds: tuple[AugmentationKind, ...] = ("both",)  # DINO: [none, reverb, noise, both]; [none]: no augmentation
    copies: tuple[Copy, ...] = ("noise", "music", "babble", "reverb")  # feats_type fbank; clean: the set itself
    frames: Literal["copies", "drawn"] = "copies"
    """fbank: where augmented frames come from. drawn, an experiment: noise and reverberation by `kinds`, anew at every
    step, added to the powers of the bands; noises and responses are those of dump/raw, in memory as frames."""
    noise_db: Decibels = (0.0, 15.0)  # SNR range, dB, of the category noise
    speech_db: Decibels = (13.0, 20.0)  # of speech
    music_db: Decibels = (5.0, 15.0)  # of music
    power_floor: float = 1e-10
    """Added to the mean powers of segment and noise (full scale is 1) before a level is set. The SSPS authors' code has
    1e-4, which is more than the power of quiet speech: at -60 dBFS, 10 dB asked for become -10 dB."""
    on_device: Literal["auto", "true", "false"] = (
        "auto"  # keep clips on the device; auto: when under 15 % of its memory
    )

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("augmentation.kinds is empty; for no augmentation write kinds: [none].")
        if not self.copies or len(set(self.copies)) != len(self.copies):
            raise ValueError(
                "augmentation.copies needs at least one copy, each once; for no augmentation: kinds: [none]."
            )
        if not self.power_floor > 0:
            raise ValueError(
                f"augmentation.power_floor keeps silence finite: expected above 0, found {self.power_floor}."
            )
        for category in CATEGORIES:
            low, high = self.snr_range(category)
            if low > high:
                raise ValueError(f"augmentation.{category}_db: the lower end {low} is above the upper end {high}.")

    def snr_range(self, category: str) -> Decibels:
        """Lowest and highest SNR in dB."""
        return {"noise": self.noise_db, "speech": self.speech_db, "music": self.music_db}[category]

    @property
    def is_off(self) -> bool:
        """Is nothing augmented?"""
        return self.kinds == ("none",)

    @property
    def reverberates(self) -> bool:
        """May a segment be reverberated?"""
        return any(kind in ("reverb", "both") for kind in self.kinds)

    @property
    def adds_noise(self) -> bool:
        """May a segment get noise?"""
        return any(kind in ("noise", "both") for kind in self.kinds)


class ClipList:
    """The clips of one or more folders of packed audio under one running number."""

    def __init__(self, archives: Sequence[AudioArchive]) -> None:
        self.archives = list(archives)
        self.samples = np.concatenate([archive.samples for archive in archives])
        self._first = np.cumsum([0, *(len(archive) for archive in archives)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def read_looped(self, row: int, start: int, count: int) -> NDArray[np.int16]:
        """(count,) samples of clip `row` from `start`, repeated where it ends."""
        archive = int(np.searchsorted(self._first, row, side="right")) - 1
        return self.archives[archive].read_looped(row - int(self._first[archive]), start, count)

    def read_segments(self, row_B: NDArray[np.int64], start_B: NDArray[np.int64], count: int) -> NDArray[np.int16]:
        """(B, count) samples of clips from their starts, each repeated where it ends."""
        archive_B = np.searchsorted(self._first, row_B, side="right") - 1
        segment_BT = np.empty((len(row_B), count), dtype=np.int16)
        for archive in np.unique(archive_B).tolist():
            chosen = archive_B == archive
            rows = row_B[chosen] - self._first[archive]
            segment_BT[chosen] = self.archives[archive].read_segments(rows, start_B[chosen], count)
        return segment_BT

    def read_padded(self, row: int, count: int) -> NDArray[np.int16]:
        """The first `count` samples of clip `row`, zeros after its end; row -1 is a unit impulse."""
        padded = np.zeros(count, dtype=np.int16)
        if row < 0:
            padded[0] = np.iinfo(np.int16).max
        else:
            inside = min(count, int(self.samples[row]))
            padded[:inside] = self.read_looped(row, 0, inside)
        return padded


def unit_gain(response: NDArray[np.int16]) -> float:
    """The factor that gives a room response unit energy; 0 for silence."""
    wide = response.astype(np.float64)
    energy = float(wide @ wide)
    return 1 / math.sqrt(energy) if energy else 0.0


@dataclass(frozen=True)
class Draws:
    """The augmentation of a batch of segments as numbers, each (B,)."""

    noise: NDArray[np.int64]  # row of the noise list
    noise_start: NDArray[np.int64]  # first sample in that clip
    snr: NDArray[np.float32]  # dB; +inf: no noise
    response: NDArray[np.int64]  # row of the response list; -1: a unit impulse


class Augmentation:
    """The lists of a training run and the draws from them."""

    def __init__(
        self,
        config: AugmentationConfig,
        noises: ClipList | None,
        responses: ClipList | None,
        category_rows: dict[str, NDArray[np.int64]],
    ) -> None:
        self.config = config
        self.noises = noises
        self.responses = responses
        self.category_rows = category_rows

    @classmethod
    def load(cls, config: AugmentationConfig, folder: str | Path) -> "Augmentation":
        """Open FOLDER/musan_{noise,music,speech} and FOLDER/rirs, as far as `config.kinds` needs them."""
        folder = Path(folder)
        archives, category_rows, first = [], {}, 0
        if config.adds_noise:
            for category in CATEGORIES:
                if (folder / f"musan_{category}").is_dir():
                    archive = AudioArchive(folder / f"musan_{category}")
                    _check_category(archive, category)
                    archives.append(archive)
                    category_rows[category] = np.arange(first, first + len(archive))
                    first += len(archive)
            if not archives:
                raise ValueError(
                    f"{folder}: no musan_noise, musan_music or musan_speech. Run stages 2 and 3, or set "
                    "augmentation.kinds to what needs no noise, such as [reverb] or [none]."
                )
        responses = None
        if config.reverberates:
            if not (folder / "rirs").is_dir():
                raise ValueError(
                    f"{folder}: no rirs. Run stages 2 and 3, or set augmentation.kinds to [noise] or [none]."
                )
            responses = ClipList([AudioArchive(folder / "rirs")])
        return cls(config, ClipList(archives) if archives else None, responses, category_rows)

    def compare(self, compares: bool) -> None:
        """Whether every block that is read of noises and responses is compared with its sum."""
        for clips in (self.noises, self.responses):
            for archive in () if clips is None else clips.archives:
                archive.compares = compares

    def draw(self, seed: int, epoch: int, utterance_B: NDArray[np.int64], view: int) -> Draws:
        """What each segment of view number `view` gets in `epoch`."""
        u = seeds.uniform(_DRAWS, seed, "augmentation", epoch, utterance_B, view)
        kind_B = seeds.choose(len(self.config.kinds), u[:, 0])
        reverb_B = np.array([kind in ("reverb", "both") for kind in self.config.kinds])[kind_B]
        noise_B = np.array([kind in ("noise", "both") for kind in self.config.kinds])[kind_B]
        response = np.where(reverb_B, seeds.choose(len(self.responses), u[:, 1]), -1) if self.responses else -1
        noise, start, snr = self._draw_noise(u[:, 2:])
        return Draws(
            noise,
            start,
            np.where(noise_B, snr, np.inf).astype(np.float32),
            np.broadcast_to(np.asarray(response, dtype=np.int64), kind_B.shape),
        )

    def _draw_noise(self, u: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Category uniform, then clip, start and SNR uniform: rows, first samples and dB."""
        if self.noises is None:
            nothing = np.zeros(len(u), dtype=np.int64)
            return nothing, nothing, np.full(len(u), np.inf)
        names = list(self.category_rows)
        category_B = seeds.choose(len(names), u[:, 0])
        counts = np.array([len(self.category_rows[name]) for name in names])
        firsts = np.array([self.category_rows[name][0] for name in names])
        low, high = np.array([self.config.snr_range(name) for name in names]).T
        row = firsts[category_B] + seeds.choose(counts[category_B], u[:, 1])
        start = seeds.choose(self.noises.samples[row], u[:, 2])
        return row, start, low[category_B] + (high - low)[category_B] * u[:, 3]


def _check_category(archive: AudioArchive, category: str) -> None:
    """The category of each clip is an explicit column; a clip under another one would get the wrong SNR."""
    path = archive.folder / "utt2category"
    if not path.is_file():
        raise ValueError(f"{path}: not found. Run stage 2 and 3 again: the category of each noise is a column.")
    _, values = tables.read_table(path)
    wrong = values != category.encode()
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(f"{path}:{line + 1}: expected the category {category}, found {tables.text(values[line])!r}.")
