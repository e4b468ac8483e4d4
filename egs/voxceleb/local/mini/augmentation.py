"""What training may add to a voice, in the folders of MUSAN and RIRS_NOISES.

Noises are of the same kind as the recordings' noise floors and responses of the same kind as their rooms, but none of
them is in a recording; the talkers of `speech` are nobody of the corpus.
"""

import numpy as np
from numpy.typing import NDArray

from mini.channel import draw_noise, make_noise, room_response
from mini.options import CorpusOptions
from mini.synthesis import RATE_HZ, speak
from mini.voice import draw_speaker
from sslsv_tk import seeds

Floats = NDArray[np.floating]
SOURCES = {"noise": ("free-sound", "sound-bible"), "music": ("fma", "hd-classical"), "speech": ("librivox", "us-gov")}


def sound_files(options: CorpusOptions) -> list[tuple[str, str, int]]:
    """(category, path below the corpus, number within the category) of every file of the MUSAN-like tree."""
    counts = {"noise": options.noise_files, "music": options.music_files, "speech": options.speech_files}
    return [
        (
            category,
            f"musan/{category}/{sources[number % 2]}/{category}-{sources[number % 2]}-{number // 2:04d}.wav",
            number,
        )
        for category, sources in SOURCES.items()
        for number in range(counts[category])
    ]


def make_sound(options: CorpusOptions, category: str, number: int) -> NDArray[np.int16]:
    """One file of noise, music or speech."""
    random = seeds.generator(options.seed, "augmentation", category, number)
    seconds = random.uniform(*options.augmentation_seconds)
    samples = round(seconds * RATE_HZ)
    if category == "noise":
        wave = make_noise(draw_noise(options, random), samples, random)
    elif category == "music":
        wave = _music(samples, random)
    else:
        wave = speak(draw_speaker(options, bool(number % 2), random), seconds, random).astype(float)
    return to_pcm(wave, 0.5)


def make_response(options: CorpusOptions, room: int, place: int) -> NDArray[np.int16]:
    """One response of a room: the room fixes how long it rings, the place how near the talker is."""
    seconds = seeds.generator(options.seed, "room", room).uniform(*options.reverberation_seconds)
    random = seeds.generator(options.seed, "response", room, place)
    return to_pcm(room_response(seconds, random.uniform(*options.direct_to_reverberant_db), random), 0.9)


def to_pcm(wave: Floats, peak: float) -> NDArray[np.int16]:
    """16-bit samples whose largest magnitude is `peak` of full scale."""
    largest = max(float(np.max(np.abs(wave))), 1e-9)
    return np.round(wave * (peak * 32767 / largest)).astype(np.int16)


def _music(samples: int, random: np.random.Generator) -> Floats:
    """Decaying notes of a scale, three voices, one timbre."""
    wave = np.zeros(samples)
    scale = 110.0 * 2.0 ** (np.array([0, 2, 4, 7, 9, 12, 14, 16, 19, 21]) / 12.0) * random.uniform(0.9, 1.8)
    beat = round(random.uniform(0.18, 0.45) * RATE_HZ)
    partials = random.random(8) / np.arange(1, 9)
    time = np.arange(3 * beat) / RATE_HZ
    envelope = np.minimum(time / 0.01, 1.0) * np.exp(-time * random.uniform(2.0, 8.0))
    for start in range(0, samples, beat):
        for pitch in random.choice(scale, 1 + random.integers(3), replace=False):
            note = (partials[:, None] * np.sin(2 * np.pi * pitch * np.arange(1, 9)[:, None] * time)).sum(axis=0)
            end = min(samples, start + time.size)
            wave[start:end] += (note * envelope)[: end - start]
    return wave
