"""What a recording does to a voice: room, noise floor, microphone, band limits, coder, level.

One channel is drawn per recording and applied to all its utterances. After normalisation of mean and variance it is
mostly the noise floor that tells recordings apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from mini.options import CorpusOptions
from mini.synthesis import RATE_HZ

Floats = NDArray[np.floating]
_BUMPS = 6
_LOW_HZ, _HIGH_HZ = 50.0, 8000.0


@dataclass(frozen=True)
class Noise:
    """A stationary or slowly pulsing coloured noise."""

    slope_db_per_octave: float
    shape_db: Floats  # bumps over log frequency
    hum_hz: float  # 0: none
    hum_db: float  # beside the noise
    depth: float  # of the modulation, 0 to 1
    rate_hz: float  # of the modulation


@dataclass(frozen=True)
class Channel:
    """Everything that is constant over one recording."""

    response: Floats  # of the room, starts with the direct sound
    noises: tuple[Noise, Noise]
    snr_db: float
    low_cut_hz: float
    high_cut_hz: float
    equaliser_db: Floats
    equaliser_slope: float  # decibels per octave
    mu_law: bool
    bits: int  # 0: no coder
    level_db: float  # relative to full scale


def draw_channel(options: CorpusOptions, random: np.random.Generator) -> Channel:
    """A new recording's channel."""
    coded = random.random() < options.codec_probability
    return Channel(
        response=room_response(
            random.uniform(*options.reverberation_seconds), random.uniform(*options.direct_to_reverberant_db), random
        ),
        noises=(draw_noise(options, random), draw_noise(options, random)),
        snr_db=random.uniform(*options.noise_snr_db),
        low_cut_hz=random.uniform(*options.low_cut_hz),
        high_cut_hz=random.uniform(*options.high_cut_hz),
        equaliser_db=options.equaliser_spread_db * random.standard_normal(_BUMPS),
        equaliser_slope=random.uniform(*options.equaliser_slope_db_per_octave),
        mu_law=bool(random.random() < 0.5),
        bits=int(random.integers(options.codec_bits[0], options.codec_bits[1] + 1)) if coded else 0,
        level_db=random.uniform(*options.level_db),
    )


def draw_noise(options: CorpusOptions, random: np.random.Generator) -> Noise:
    """The spectrum and the modulation of a noise floor."""
    return Noise(
        slope_db_per_octave=random.uniform(*options.noise_slope_db_per_octave),
        shape_db=options.noise_shape_spread_db * random.standard_normal(_BUMPS),
        hum_hz=float(random.choice([50.0, 60.0, 100.0, 120.0])) if random.random() < options.hum_probability else 0.0,
        hum_db=random.uniform(-12.0, 3.0),
        depth=random.uniform(*options.noise_modulation_depth),
        rate_hz=random.uniform(*options.noise_modulation_hz),
    )


def room_response(seconds: float, direct_to_reverberant_db: float, random: np.random.Generator) -> Floats:
    """A synthetic room: direct sound, a few early reflections, an exponentially decaying tail; unit energy.

    `seconds` is the time in which the sound falls by 60 dB.
    """
    time = np.arange(max(64, round(seconds * RATE_HZ))) / RATE_HZ
    tail = random.standard_normal(time.size) * 10.0 ** (-3.0 * time / seconds)
    tail[: round(0.002 * RATE_HZ)] = 0.0
    early = random.integers(round(0.002 * RATE_HZ), min(time.size, round(0.05 * RATE_HZ)), size=8)
    np.add.at(tail, early, 3.0 * random.standard_normal(8) * 10.0 ** (-3.0 * time[early] / seconds))
    tail *= np.sqrt(10.0 ** (-direct_to_reverberant_db / 10.0) / max(float(np.sum(tail**2)), 1e-12))
    tail[0] = 1.0
    return tail / np.sqrt(np.sum(tail**2))


def make_noise(noise: Noise, samples: int, random: np.random.Generator) -> Floats:
    """A stretch of the noise, power 1."""
    size = fft.next_fast_len(samples, real=True)
    spectrum = fft.rfft(random.standard_normal(size, dtype=np.float32))
    hertz = np.fft.rfftfreq(size, 1.0 / RATE_HZ)
    wave = fft.irfft(spectrum * _gain(hertz, noise.shape_db, noise.slope_db_per_octave), size)[:samples]
    wave = _unit(wave) * _modulation(noise, samples, random)
    if noise.hum_hz:
        wave = wave + 10.0 ** (noise.hum_db / 20.0) * _hum(noise.hum_hz, samples, random)
    return _unit(wave)


def _modulation(noise: Noise, samples: int, random: np.random.Generator) -> Floats:
    """A slow random envelope (N,), `depth` times 10 dB in standard deviation, moving at about the noise's rate."""
    step = RATE_HZ // 100
    points = samples // step + 2
    slow = gaussian_filter1d(random.standard_normal(points), 100.0 / (2 * np.pi * noise.rate_hz), mode="wrap")
    slow = (slow - slow.mean()) / max(float(slow.std()), 1e-9)
    envelope = np.exp(1.2 * noise.depth * slow)
    return np.interp(np.arange(samples) / step, np.arange(points), envelope)


def _hum(hertz: float, samples: int, random: np.random.Generator) -> Floats:
    """Ten harmonics of the mains with random phases, power 1."""
    time = np.arange(samples) / RATE_HZ
    order = np.arange(1, 11)[:, None]
    waves = np.sin(2 * np.pi * hertz * order * time + 2 * np.pi * random.random((10, 1))) / order
    return _unit(waves.sum(axis=0))


def _gain(hertz: Floats, shape_db: Floats, slope_db_per_octave: float) -> NDArray[np.float32]:
    """Linear gain: a straight slope plus cosines over log frequency, `shape_db` their heights."""
    octaves = np.log2(np.clip(hertz, _LOW_HZ, _HIGH_HZ) / 1000.0)
    place = np.log(np.clip(hertz, _LOW_HZ, _HIGH_HZ) / _LOW_HZ) / np.log(_HIGH_HZ / _LOW_HZ)
    grid = np.linspace(0.0, 1.0, 256)
    curve = sum(h * np.cos(np.pi * (k + 1) * grid) / np.sqrt(k + 1) for k, h in enumerate(shape_db))
    decibels = slope_db_per_octave * octaves + np.interp(place, grid, np.asarray(curve))
    return (10.0 ** (decibels / 20.0)).astype(np.float32)


def _unit(wave: Floats) -> Floats:
    return wave / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-9)


def record(channel: Channel, speech: Floats, random: np.random.Generator) -> NDArray[np.int16]:
    """The utterance as this recording has it: 16-bit samples of the same length."""
    samples = speech.size
    size = fft.next_fast_len(samples + channel.response.size, real=True)
    first, second = (make_noise(noise, samples, random) for noise in channel.noises)
    spectrum = fft.rfft(speech, size) * fft.rfft(channel.response.astype(np.float32), size)
    voice = _unit(fft.irfft(spectrum, size)[:samples])
    mixed = voice + 10.0 ** (-channel.snr_db / 20.0) * _unit(first + 0.7 * second)
    wave = _unit(_microphone(channel, mixed)) * 10.0 ** (channel.level_db / 20.0)
    coded = _coder(channel, wave)
    return np.round(np.clip(coded, -1.0, 32767 / 32768) * 32768).clip(-32768, 32767).astype(np.int16)


def _microphone(channel: Channel, wave: Floats) -> Floats:
    """Equaliser and band limits (second order slopes below, steep above)."""
    size = fft.next_fast_len(wave.size, real=True)
    hertz = np.fft.rfftfreq(size, 1.0 / RATE_HZ)
    gain = _gain(hertz, channel.equaliser_db, channel.equaliser_slope)
    gain = gain * (hertz / channel.low_cut_hz) ** 2 / (1.0 + (hertz / channel.low_cut_hz) ** 2)
    gain = gain / np.sqrt(1.0 + (hertz / channel.high_cut_hz) ** 16)
    return fft.irfft(fft.rfft(wave.astype(np.float32), size) * gain.astype(np.float32), size)[: wave.size]


def _coder(channel: Channel, wave: Floats) -> Floats:
    """A mu-law or linear quantiser of few bits, relative to the recording's peak."""
    if channel.bits == 0:
        return wave
    peak = max(float(np.max(np.abs(wave))), 1e-9)
    levels = 2.0 ** (channel.bits - 1)
    x = wave / peak
    if not channel.mu_law:
        return np.round(x * levels) / levels * peak
    compressed = np.sign(x) * np.log1p(255.0 * np.abs(x)) / np.log(256.0)
    compressed = np.round(compressed * levels) / levels
    return np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256.0)) / 255.0 * peak
