"""Names in the form of VoxCeleb, and the trial list."""

import itertools
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mini.options import CorpusOptions
from sslsv_tk import seeds

_VIDEO_ALPHABET = string.ascii_letters + string.digits + "-_"


@dataclass(frozen=True)
class Recording:
    """One recording to be made: `utterances` files in `folder`, of speaker `speaker` of a set."""

    part: str  # "train" or "test"
    speaker: int
    number: int  # among the speaker's recordings
    folder: str  # below the corpus
    utterances: int


def low_voice(speaker: int) -> bool:
    """Groups alternate, so that both halves of a set have both."""
    return speaker % 2 == 0


def speaker_id(part: str, speaker: int) -> str:
    """VoxCeleb2 development ids begin at id00012, VoxCeleb1 test ids at id10270."""
    return f"id{speaker + (12 if part == 'train' else 10270):05d}"


def plan(options: CorpusOptions) -> list[Recording]:
    """Every recording of both sets."""
    recordings = []
    for part, speakers in (("train", options.training_speakers), ("test", options.test_speakers)):
        corpus = "voxceleb2" if part == "train" else "voxceleb1"
        between = options.training_recordings if part == "train" else options.test_recordings
        for speaker in range(speakers):
            random = seeds.generator(options.seed, "plan", part, speaker)
            for number in range(random.integers(between[0], between[1] + 1)):
                video = "".join(_VIDEO_ALPHABET[k] for k in random.integers(len(_VIDEO_ALPHABET), size=11))
                low, high = options.utterances_per_recording
                utterances = int(random.integers(low, high + 1))
                folder = f"{corpus}/wav/{speaker_id(part, speaker)}/{video}"
                recordings.append(Recording(part, speaker, number, folder, utterances))
    return recordings


def trial_lines(options: CorpusOptions, recordings: Sequence[Recording]) -> list[str]:
    """Lines `1 a b` and `0 a b` of the official list form.

    Targets are all pairs of utterances of one speaker from two recordings. Nontargets are spread evenly over the
    pairs of speakers of the same group (of any group where a group has one speaker only).
    """
    tests = [r for r in recordings if r.part == "test"]
    utterances: dict[int, list[tuple[str, int]]] = {}
    for recording in tests:
        below = recording.folder.removeprefix("voxceleb1/wav/")
        files = [(f"{below}/{k + 1:05d}.wav", recording.number) for k in range(recording.utterances)]
        utterances.setdefault(recording.speaker, []).extend(files)
    random = seeds.generator(options.seed, "trials")
    targets = [
        (a, b)
        for files in utterances.values()
        for (a, first), (b, second) in itertools.combinations(files, 2)
        if first != second
    ]
    names = {speaker: [name for name, _ in files] for speaker, files in utterances.items()}
    nontargets = _nontargets(names, round(options.nontargets_per_target * len(targets)), random)
    lines = [f"1 {a} {b}" for a, b in _either_way(targets, random)] + [
        f"0 {a} {b}" for a, b in _either_way(nontargets, random)
    ]
    return [lines[k] for k in random.permutation(len(lines))]


def _nontargets(names: dict[int, list[str]], wanted: int, random: np.random.Generator) -> list[tuple[str, str]]:
    """About `wanted` pairs, the same number for each pair of speakers, none twice."""
    speakers = sorted(names)
    pairs = [(s, t) for s, t in itertools.combinations(speakers, 2) if low_voice(s) == low_voice(t)]
    covered = set(itertools.chain.from_iterable(pairs))
    pairs += [(s, t) for s, t in itertools.combinations(speakers, 2) if not {s, t} <= covered]
    each = -(-wanted // len(pairs))
    chosen = []
    for s, t in pairs:
        every = list(itertools.product(names[s], names[t]))
        chosen += [every[k] for k in random.permutation(len(every))[:each]]
    return chosen


def _either_way(pairs: Sequence[tuple[str, str]], random: np.random.Generator) -> list[tuple[str, str]]:
    """Which of the two is the enrolment is drawn."""
    return [(a, b) if swap else (b, a) for (a, b), swap in zip(pairs, random.random(len(pairs)) < 0.5, strict=True)]
