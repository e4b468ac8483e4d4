"""Who speaks and what is said: speakers, their sessions, and the sequence of sounds of one utterance.

A speaker is mostly habits that change over time (own vowel space, own consonants, timing, melody): the front end
removes what is steady over an utterance, so a steady difference would identify nobody.
Shapes: S sounds of the table, E events of an utterance.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mini import sounds
from mini.options import CorpusOptions

Floats = NDArray[np.floating]
LOW_PITCH_HZ, HIGH_PITCH_HZ = 115.0, 200.0
HIGH_VOICE_TRACT = 0.86  # length beside that of a low voice


@dataclass(frozen=True)
class Speaker:
    """One voice; times in seconds."""

    low_voice: bool
    pitch_hz: float  # median
    tract: float  # length relative to 17 cm
    formants_hz: Floats  # (S, 4)
    bandwidths: Floats  # (4,) relative to the usual ones
    levels_db: Floats  # (S, 3) of voice, breath and frication
    centres_hz: Floats  # (S,) of frication
    seconds: Floats  # (S,) usual length of each sound
    accent_semitones: float
    accent_delay: float  # where the accent peaks, 0: start of the vowel, 1: its end
    accent_share: float  # of the syllables
    declination: float  # semitones per second
    final_semitones: float  # at the end of a phrase
    final_lengthening: float
    open_quotient: float
    tilt_db: float  # at 3 kHz
    breath_db: float  # aspiration while voicing
    jitter: float  # relative
    coarticulation: float  # seconds
    pause: float  # seconds
    phrase_syllables: float


class Timeline(NamedTuple):
    """The sounds of one utterance, in order."""

    sound_E: NDArray[np.intp]
    seconds_E: Floats
    accent_E: Floats  # semitones, 0 where the syllable has none
    phrase_E: NDArray[np.intp]


def draw_speaker(options: CorpusOptions, low_voice: bool, random: np.random.Generator) -> Speaker:
    """A new voice of the low or the high group."""

    def spread(relative: float, *shape: int) -> Floats:
        return np.exp(relative * random.standard_normal(shape))

    table = sounds.TABLE
    count = len(table)
    tract = (1.0 if low_voice else HIGH_VOICE_TRACT) * float(spread(options.tract_relative_spread))
    formants = np.array([[s.f1, s.f2, s.f3, 3500.0] for s in table]) * spread(options.formant_relative_spread, count, 4)
    levels = np.array([[s.voice, s.breath, s.noise] for s in table])
    consonant = np.arange(count) > len(sounds.VOWELS)
    levels[consonant] += options.consonant_spread_db * random.standard_normal((int(consonant.sum()), 1))
    rate = float(spread(options.rate_relative_spread))
    return Speaker(
        low_voice=low_voice,
        pitch_hz=(LOW_PITCH_HZ if low_voice else HIGH_PITCH_HZ) * float(spread(options.pitch_relative_spread)),
        tract=tract,
        formants_hz=formants / tract,
        bandwidths=spread(0.2, 4),
        levels_db=levels,
        centres_hz=np.array([s.centre for s in table]) * spread(options.frication_relative_spread, count),
        seconds=np.array([s.milliseconds for s in table])
        * 1e-3
        / rate
        * spread(options.duration_relative_spread, count),
        accent_semitones=random.uniform(*options.accent_semitones),
        accent_delay=random.uniform(0.0, 1.2),
        accent_share=random.uniform(0.2, 0.5),
        declination=random.uniform(*options.declination_semitones_per_second),
        final_semitones=random.uniform(-5.0, 3.0),
        final_lengthening=random.uniform(1.0, 1.8),
        open_quotient=random.uniform(*options.open_quotient),
        tilt_db=random.uniform(*options.tilt_db),
        breath_db=random.uniform(*options.breath_db),
        jitter=random.uniform(*options.jitter_percent) * 1e-2,
        coarticulation=random.uniform(*options.coarticulation_seconds),
        pause=random.uniform(*options.pause_seconds),
        phrase_syllables=random.uniform(*options.phrase_syllables),
    )


def in_session(speaker: Speaker, options: CorpusOptions, random: np.random.Generator) -> Speaker:
    """The same voice on another day: mood, effort and rate differ a little."""
    semitones, rate, tilt = random.standard_normal(3)
    wobble = np.exp(options.session_formant_relative_spread * random.standard_normal(speaker.formants_hz.shape))
    return dataclasses.replace(
        speaker,
        pitch_hz=speaker.pitch_hz * 2.0 ** (options.session_pitch_semitones_spread * semitones / 12.0),
        formants_hz=speaker.formants_hz * wobble,
        seconds=speaker.seconds * np.exp(options.session_rate_relative_spread * rate),
        tilt_db=max(0.0, speaker.tilt_db + options.session_tilt_db_spread * tilt),
    )


def compose(speaker: Speaker, seconds: float, random: np.random.Generator) -> Timeline:
    """Random syllables in phrases with pauses between, a little more than `seconds` long."""
    sound: list[int] = [0]
    length: list[float] = [random.uniform(0.05, 0.2)]
    accent: list[float] = [0.0]
    phrase: list[int] = [0]
    number = 0
    while sum(length) < seconds + 0.1:
        syllables = 2 + random.poisson(max(speaker.phrase_syllables - 2.0, 0.0))
        for syllable in range(syllables):
            height = speaker.accent_semitones * random.uniform(0.6, 1.2) * (random.random() < speaker.accent_share)
            slow = speaker.final_lengthening if syllable == syllables - 1 else 1.0
            for row, is_vowel in _syllable(random):
                sound.append(row)
                stress = 1.25 if is_vowel and height else 1.0
                length.append(speaker.seconds[row] * slow * stress * np.exp(0.12 * random.standard_normal()))
                accent.append(height if is_vowel else 0.0)
                phrase.append(number)
        sound.append(0)
        length.append(speaker.pause * np.exp(0.35 * random.standard_normal()))
        accent.append(0.0)
        phrase.append(number)
        number += 1
    return Timeline(np.array(sound), np.array(length), np.array(accent), np.array(phrase))


def _syllable(random: np.random.Generator) -> list[tuple[int, bool]]:
    """Rows of the sound table: an onset mostly, a vowel, a coda sometimes."""
    parts: list[tuple[int, bool]] = []
    consonants = sounds.CONSONANT_PHONES
    if random.random() < 0.85:
        parts += [(row, False) for row in consonants[random.integers(len(consonants))]]
    parts += [(row, True) for row in sounds.VOWEL_PHONES[random.integers(len(sounds.VOWEL_PHONES))]]
    if random.random() < 0.35:
        parts += [(row, False) for row in consonants[random.integers(len(consonants))]]
    return parts
