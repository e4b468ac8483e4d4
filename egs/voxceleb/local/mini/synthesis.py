"""From a timeline of sounds to a waveform: glottal pulses and noises through a moving vocal tract.

Tracks of levels and formants are drawn on a grid of 1 ms; the tract is applied per frame of 20 ms in the frequency
domain and overlapped, so that everything is array arithmetic. Pulse: Klatt and Klatt, "Analysis, synthesis, and
perception of voice quality variations", JASA 1990 (KLGLOTT88).
Shapes: M milliseconds, N samples, T frames, F frequencies.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from mini import sounds
from mini.voice import Speaker, Timeline, compose

RATE_HZ = 16_000
Signal = NDArray[np.float32]
Floats = NDArray[np.floating]

_HOP, _WINDOW, _FFT = 160, 320, 640
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
_HZ = (np.arange(_FFT // 2 + 1) * RATE_HZ / _FFT).astype(np.float32)
_DELAY = np.exp(-2j * np.pi * _HZ / RATE_HZ).astype(np.complex64)
_OCTAVE = np.log2(np.maximum(_HZ, 20.0)).astype(np.float32)
_BANDWIDTHS_HZ = np.array([70.0, 90.0, 140.0, 200.0])
_UPPER_FORMANTS_HZ = np.array([4500.0, 5500.0, 6500.0, 7500.0])  # steady; keep the spectrum from falling away


def speak(speaker: Speaker, seconds: float, random: np.random.Generator) -> Signal:
    """A random utterance of a speaker, root mean square 1."""
    timeline = compose(speaker, seconds, random)
    milliseconds = round(seconds * 1000)
    event = np.repeat(np.arange(len(timeline.sound_E)), np.maximum(1, np.round(timeline.seconds_E * 1000)).astype(int))
    sound_M = timeline.sound_E[event][:milliseconds]
    levels_M3 = _levels(speaker, sound_M)
    voiced, opening = _glottis(speaker, _pitch(speaker, timeline, event, milliseconds, random), random)
    noise = random.standard_normal((2, voiced.size), dtype=np.float32)
    voice, breath, frication = (_to_samples(level) for level in levels_M3.T)
    leak = 10.0 ** (speaker.breath_db / 20.0)
    glottal = voice * (voiced + leak * opening * noise[0]) + breath * noise[0]
    wave = _through_tract(speaker, sound_M, glottal.astype(np.float32), (frication * noise[1]).astype(np.float32))
    return (wave / max(float(np.sqrt(np.mean(wave**2))), 1e-6)).astype(np.float32)


def _levels(speaker: Speaker, sound_M: NDArray[np.intp]) -> Floats:
    """Linear levels (M, 3) of voice, breath and frication; 3 ms of smoothing leaves bursts abrupt."""
    levels = speaker.levels_db[sound_M]
    linear = np.where(levels > sounds.OFF / 2, 10.0 ** (levels / 20.0), 0.0)
    return gaussian_filter1d(linear, 3.0, axis=0, mode="nearest")


def _to_samples(track_M: Floats) -> Floats:
    at = np.arange(track_M.size * RATE_HZ // 1000) * (1000.0 / RATE_HZ)
    return np.interp(at, np.arange(track_M.size), track_M)


def _pitch(
    speaker: Speaker, timeline: Timeline, event: NDArray[np.intp], milliseconds: int, random: np.random.Generator
) -> Floats:
    """Pitch in hertz (M,): declination along each phrase, accents, a movement at its end, slow wandering."""
    total = event.size
    start_E = np.concatenate([[0], np.flatnonzero(np.diff(event)) + 1])
    phrase_M = timeline.phrase_E[event]
    first = np.searchsorted(phrase_M, phrase_M)
    semitones = -speaker.declination * (np.arange(total) - first) * 1e-3
    length_E = np.diff(np.append(start_E, total))
    accents = np.zeros(total)
    peak = np.minimum(start_E + speaker.accent_delay * length_E, total - 1).astype(int)
    np.add.at(accents, peak, timeline.accent_E)
    semitones += gaussian_filter1d(accents, 60.0) * (60.0 * np.sqrt(2 * np.pi))
    last = np.searchsorted(phrase_M, phrase_M, side="right") - 1
    semitones += speaker.final_semitones * np.exp(-((last - np.arange(total)) / 250.0))
    wander = gaussian_filter1d(random.standard_normal(total), 80.0)
    semitones += 0.4 * wander / max(float(wander.std()), 1e-9)
    return speaker.pitch_hz * 2.0 ** (semitones[:milliseconds] / 12.0)


def _glottis(speaker: Speaker, pitch_M: Floats, random: np.random.Generator) -> tuple[Signal, Signal]:
    """The derivative of the glottal flow, and how noisy the flow is (more while the glottis is open); both (N,)."""
    step = _to_samples(pitch_M) / RATE_HZ
    period = np.cumsum(step).astype(int)
    wobble = random.standard_normal((2, period[-1] + 1))
    phase = np.cumsum(step * (1.0 + speaker.jitter * wobble[0, period]))
    within = phase - np.floor(phase)
    position = within / speaker.open_quotient
    pulse = np.where(position < 1.0, 2.0 * position - 3.0 * position**2, 0.0)
    shimmer = 1.0 + 2.0 * speaker.jitter * wobble[1, period]
    opening = np.where(position < 1.0, 1.0, 0.3)
    return (pulse * shimmer).astype(np.float32), opening.astype(np.float32)


def _through_tract(speaker: Speaker, sound_M: NDArray[np.intp], glottal: Signal, frication: Signal) -> Signal:
    """Filter the glottal source by the moving formants and the frication by its moving spectrum; add them."""
    frames = glottal.size // _HOP + 1
    at = np.minimum(np.arange(frames) * 10, sound_M.size - 1)
    smooth = gaussian_filter1d(
        np.log(speaker.formants_hz)[sound_M], speaker.coarticulation * 1000, axis=0, mode="nearest"
    )
    tract_TF = _formants(np.exp(smooth[at]), _BANDWIDTHS_HZ * speaker.bandwidths) * _steady(speaker)
    active = gaussian_filter1d(np.log2(speaker.centres_hz)[sound_M], 4.0, mode="nearest")[at]
    width = np.array([s.width for s in sounds.TABLE])[sound_M][at]
    distance = (_OCTAVE - active[:, None].astype(np.float32)) / width[:, None].astype(np.float32)
    spectrum = _frames(glottal, frames) * tract_TF + _frames(frication, frames) * np.exp(-0.5 * distance**2)
    return _overlap(fft.irfft(spectrum, _FFT, axis=1), glottal.size)


def _formants(formants_hz: Floats, bandwidths_hz: Floats) -> NDArray[np.complex64]:
    """Transfer function (T, F) of resonators in cascade; formants (T, R), bandwidths (R,); gain 1 at 0 Hz."""
    polynomial = np.ones((formants_hz.shape[0], _HZ.size), dtype=np.complex64)
    at_zero = np.ones((formants_hz.shape[0], 1), dtype=np.float32)
    for hertz, width in zip(formants_hz.T, bandwidths_hz, strict=True):
        radius = np.exp(-np.pi * width / RATE_HZ)
        a1 = (-2.0 * radius * np.cos(2 * np.pi * np.minimum(hertz, 7900.0) / RATE_HZ)).astype(np.float32)[:, None]
        a2 = np.float32(radius**2)
        section = a1 * _DELAY
        section += 1.0 + a2 * _DELAY**2
        polynomial *= section
        at_zero *= 1.0 + a1 + a2
    return at_zero / polynomial


def _steady(speaker: Speaker) -> NDArray[np.complex64]:
    """What does not move (F,): the upper formants and the tilt of the source."""
    upper = _UPPER_FORMANTS_HZ / speaker.tract
    upper = upper[upper < 7900.0]
    response = _formants(upper[None, :], np.linspace(250.0, 500.0, upper.size))[0]
    slope = (10.0 ** (speaker.tilt_db / 10.0) - 1.0) / 3000.0**2
    return (response / np.sqrt(1.0 + slope * _HZ**2)).astype(np.complex64)


def _frames(signal: Signal, count: int) -> NDArray[np.complex64]:
    """Spectra (T, F) of Hann windows of 20 ms every 10 ms, the first centred on the first sample."""
    padded = np.zeros((count - 1) * _HOP + _WINDOW, dtype=np.float32)
    padded[_HOP : _HOP + signal.size] = signal[: padded.size - _HOP]
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    return fft.rfft(windows * _HANN, _FFT, axis=1)


def _overlap(frames_T: Floats, samples: int) -> Signal:
    """Add frames of 640 samples at every 160 (four pieces each) and cut to the length of the source."""
    count, pieces = frames_T.shape[0], _FFT // _HOP
    total = np.zeros((count + pieces - 1, _HOP), dtype=np.float32)
    for piece in range(pieces):
        total[piece : piece + count] += frames_T[:, piece * _HOP : (piece + 1) * _HOP]
    return total.reshape(-1)[_HOP : _HOP + samples]
