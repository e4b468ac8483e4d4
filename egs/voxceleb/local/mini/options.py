"""Every number that decides how hard the generated corpus is, in one place."""

import dataclasses
from dataclasses import dataclass

Range = tuple[float, float]

# What changes for tests of files and exit codes, where no error rate is looked at.
TINY = (
    "training_speakers=6",
    "training_recordings=[4, 4]",
    "utterances_per_recording=[2, 2]",
    "test_speakers=6",
    "test_recordings=[3, 3]",
    "utterance_seconds=[2.5, 3.2]",
    "nontargets_per_target=2.0",
    "noise_files=4",
    "music_files=2",
    "speech_files=2",
    "augmentation_seconds=[4.0, 11.0]",
    "rooms=2",
    "responses_per_room=2",
)


@dataclass(frozen=True)
class CorpusOptions:
    """Sizes and strengths of the generated corpus.

    A pair is a range from which a value is drawn uniformly (integers: both ends included). A field that ends in
    `_spread` is a standard deviation: *relative* spreads are of the natural logarithm (0.05: about 5 per cent),
    those in semitones or decibels are of that unit. Larger speaker spreads make verification easier, larger session
    spreads and stronger channels harder.
    """

    seed: int = 0  # everything follows from it

    # Sizes
    training_speakers: int = 60
    training_recordings: tuple[int, int] = (24, 24)  # recordings of each training speaker
    test_speakers: int = 60
    test_recordings: tuple[int, int] = (7, 7)  # recordings of each test speaker
    utterances_per_recording: tuple[int, int] = (1, 1)
    utterance_seconds: Range = (3.0, 6.0)
    nontargets_per_target: float = 3.0  # length of the trial list

    # Who a speaker is (differences between speakers)
    pitch_relative_spread: float = 0.16  # of the median pitch, around 115 Hz and 200 Hz
    tract_relative_spread: float = 0.07  # of the length of the vocal tract within a group: all formants together
    formant_relative_spread: float = 0.12  # of each formant of each sound: a speaker's own vowel space
    frication_relative_spread: float = 0.16  # of the centre frequency of each fricative and burst
    consonant_spread_db: float = 3.0  # of the level of each consonant
    duration_relative_spread: float = 0.25  # of the length of each sound
    rate_relative_spread: float = 0.12  # of the speaking rate
    accent_semitones: Range = (0.5, 6.0)  # height of a speaker's pitch accents
    declination_semitones_per_second: Range = (0.0, 4.0)  # fall of the pitch along a phrase
    open_quotient: Range = (0.45, 0.85)  # share of the glottal cycle in which the glottis is open
    tilt_db: Range = (2.0, 14.0)  # loss of the glottal source at 3 kHz beside that of the pulse
    breath_db: Range = (-34.0, -16.0)  # aspiration while voicing
    jitter_percent: Range = (0.3, 1.5)  # variation of the pitch period from one to the next
    coarticulation_seconds: Range = (0.012, 0.035)  # how slowly the formants move
    pause_seconds: Range = (0.10, 0.40)  # a speaker's usual pause
    phrase_syllables: Range = (3.0, 10.0)  # a speaker's usual phrase

    # How a speaker differs from one recording to the next
    session_pitch_semitones_spread: float = 0.7
    session_rate_relative_spread: float = 0.06
    session_formant_relative_spread: float = 0.008
    session_tilt_db_spread: float = 1.5

    # What a recording does to the voice
    noise_snr_db: Range = (4.0, 22.0)  # noise floor of the recording
    noise_slope_db_per_octave: Range = (-9.0, 1.0)  # colour of the noise floor
    noise_shape_spread_db: float = 9.0  # bumps of its spectrum
    noise_modulation_depth: Range = (0.1, 1.0)  # 0: steady
    noise_modulation_hz: Range = (0.3, 8.0)
    hum_probability: float = 0.3  # of a mains hum in the noise floor
    reverberation_seconds: Range = (0.10, 0.45)  # time in which the room's sound falls by 60 dB
    direct_to_reverberant_db: Range = (3.0, 18.0)
    low_cut_hz: Range = (40.0, 250.0)
    high_cut_hz: Range = (3600.0, 7800.0)
    equaliser_spread_db: float = 4.0  # bumps of the microphone's response
    equaliser_slope_db_per_octave: Range = (-2.0, 2.0)
    codec_probability: float = 0.6  # of a mu-law or a coarse linear coder
    codec_bits: tuple[int, int] = (6, 10)
    level_db: Range = (-32.0, -18.0)  # of the recording, relative to full scale

    # What training may augment with
    noise_files: int = 24
    music_files: int = 12
    speech_files: int = 12
    augmentation_seconds: Range = (8.0, 16.0)  # length of each of them
    rooms: int = 12
    responses_per_room: int = 4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name))
        if self.test_speakers < 2:
            raise ValueError(f"test_speakers must be at least 2 for nontarget trials, found {self.test_speakers}.")
        if self.test_recordings[0] < 2:
            raise ValueError("test_recordings must be at least 2: target trials compare two recordings of a speaker.")
        if self.high_cut_hz[1] > 8000 or self.low_cut_hz[1] >= self.high_cut_hz[0]:
            raise ValueError("low_cut_hz must stay below high_cut_hz, and both within 8000 Hz.")
        for name in ("utterance_seconds", "augmentation_seconds"):
            if getattr(self, name)[0] < 0.5:
                raise ValueError(f"{name} must be at least 0.5, found {getattr(self, name)[0]}.")


_SIGNED = {"seed", "breath_db", "noise_snr_db", "noise_slope_db_per_octave", "direct_to_reverberant_db"} | {
    "equaliser_slope_db_per_octave",
    "level_db",
}
_COUNTS = {"training_speakers", "training_recordings", "utterances_per_recording", "codec_bits"} | {
    "noise_files",
    "music_files",
    "speech_files",
    "rooms",
    "responses_per_room",
}
_POSITIVE = {"nontargets_per_target", "open_quotient", "noise_modulation_hz", "reverberation_seconds", "low_cut_hz"}
_SHARES = {"hum_probability", "codec_probability", "noise_modulation_depth", "open_quotient"}


def _check(name: str, value: int | float | Range) -> None:
    """Refuse a reversed range and a value that the field cannot have."""
    low, high = value if isinstance(value, tuple) else (value, value)
    if not low <= high:
        raise ValueError(f"{name} is a range from low to high, found [{low}, {high}].")
    if name in _COUNTS and low < 1:
        raise ValueError(f"{name} must be at least 1, found {low}.")
    if name in _POSITIVE and not low > 0:
        raise ValueError(f"{name} must be larger than 0, found {low}.")
    if name not in _SIGNED and low < 0:
        raise ValueError(f"{name} must not be negative, found {low}.")
    if name in _SHARES and high > 1:
        raise ValueError(f"{name} must not exceed 1, found {high}.")
