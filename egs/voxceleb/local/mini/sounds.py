"""The sounds that the generated voices are made of.

A phone is a sequence of sounds (a plosive: closure, burst, breath), and a sound is a row of steady targets that the
voice glides between. Vowel formants: Peterson and Barney, "Control methods used in a study of the vowels", 1952
(men); loci and noise spectra of consonants: rounded from Stevens, "Acoustic Phonetics", 1998.
"""

from typing import NamedTuple

OFF = -90.0  # decibels of a source that is silent


class Sound(NamedTuple):
    """Targets of one sound in a vocal tract of 17 cm."""

    f1: float  # formants, hertz
    f2: float
    f3: float
    voice: float = OFF  # levels of the sources, decibels
    breath: float = OFF
    noise: float = OFF
    centre: float = 4000.0  # of the frication noise, hertz
    width: float = 0.5  # of the frication noise, octaves (standard deviation)
    milliseconds: float = 70.0


VOWELS: dict[str, Sound] = {
    "i": Sound(270, 2290, 3010, 0.0, milliseconds=110),
    "I": Sound(390, 1990, 2550, 0.0, milliseconds=80),
    "e": Sound(530, 1840, 2480, 1.0, milliseconds=100),
    "ae": Sound(660, 1720, 2410, 1.0, milliseconds=130),
    "a": Sound(730, 1090, 2440, 2.0, milliseconds=130),
    "o": Sound(570, 840, 2410, 1.0, milliseconds=120),
    "U": Sound(440, 1020, 2240, 0.0, milliseconds=80),
    "u": Sound(300, 870, 2240, 0.0, milliseconds=110),
    "V": Sound(640, 1190, 2390, 1.0, milliseconds=90),
    "er": Sound(490, 1350, 1690, 0.0, milliseconds=110),
    "schwa": Sound(500, 1500, 2500, -3.0, milliseconds=55),
}

CONSONANTS: dict[str, tuple[Sound, ...]] = {
    "m": (Sound(250, 1000, 2200, -8.0, milliseconds=65),),
    "n": (Sound(250, 1600, 2600, -8.0, milliseconds=60),),
    "l": (Sound(360, 1100, 2700, -4.0, milliseconds=60),),
    "r": (Sound(330, 1150, 1500, -4.0, milliseconds=60),),
    "w": (Sound(300, 700, 2200, -5.0, milliseconds=60),),
    "j": (Sound(270, 2250, 3000, -4.0, milliseconds=55),),
    "h": (Sound(500, 1500, 2500, OFF, -14.0, milliseconds=60),),
    "s": (Sound(300, 1700, 2600, OFF, OFF, -10.0, 5800, 0.35, 105),),
    "sh": (Sound(300, 1900, 2500, OFF, OFF, -8.0, 3300, 0.40, 105),),
    "f": (Sound(300, 1100, 2300, OFF, OFF, -22.0, 5000, 1.20, 90),),
    "th": (Sound(300, 1400, 2600, OFF, OFF, -24.0, 6000, 0.90, 80),),
    "z": (Sound(280, 1700, 2600, -12.0, OFF, -15.0, 5800, 0.40, 75),),
    "v": (Sound(280, 1100, 2300, -10.0, OFF, -26.0, 5000, 1.20, 60),),
    "p": (
        Sound(300, 900, 2200, milliseconds=65),
        Sound(300, 900, 2200, OFF, OFF, -14.0, 900, 1.00, 8),
        Sound(400, 900, 2200, OFF, -16.0, milliseconds=30),
    ),
    "t": (
        Sound(300, 1700, 2600, milliseconds=55),
        Sound(300, 1700, 2600, OFF, OFF, -6.0, 4200, 0.50, 10),
        Sound(400, 1700, 2600, OFF, -16.0, milliseconds=35),
    ),
    "k": (
        Sound(300, 1900, 2300, milliseconds=60),
        Sound(300, 1900, 2300, OFF, OFF, -8.0, 2000, 0.35, 14),
        Sound(400, 1900, 2300, OFF, -16.0, milliseconds=40),
    ),
    "b": (
        Sound(220, 900, 2200, -22.0, milliseconds=60),
        Sound(300, 900, 2200, -12.0, OFF, -18.0, 800, 1.00, 6),
    ),
    "d": (
        Sound(220, 1700, 2600, -22.0, milliseconds=50),
        Sound(300, 1700, 2600, -12.0, OFF, -12.0, 3800, 0.50, 8),
    ),
    "g": (
        Sound(220, 1900, 2300, -22.0, milliseconds=50),
        Sound(300, 1900, 2300, -12.0, OFF, -14.0, 1900, 0.40, 10),
    ),
}

SILENCE = Sound(500, 1500, 2500)

# One table of all sounds; a phone is a tuple of rows of it.
TABLE: list[Sound] = [SILENCE]
VOWEL_PHONES: list[tuple[int, ...]] = []
CONSONANT_PHONES: list[tuple[int, ...]] = []
for _vowel in VOWELS.values():
    VOWEL_PHONES.append((len(TABLE),))
    TABLE.append(_vowel)
for _parts in CONSONANTS.values():
    CONSONANT_PHONES.append(tuple(range(len(TABLE), len(TABLE) + len(_parts))))
    TABLE.extend(_parts)
