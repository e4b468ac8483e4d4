"""Resampling against the sine that it should give, against what must not fold back, and by its exact length."""

import math

import numpy as np
import pytest

from sslsv_tk import seeds
from sslsv_tk.audio import conversion, resampling
from sslsv_tk.audio.resampling import resample
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.audio.tally import Tally
from sslsv_tk.audio.waveforms import Source, Waveform

RATES = [8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000]


def to_pcm16(path: str, waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """16-bit samples of one block of one channel."""
    whole = Waveform(Source(path), iter([waveform[:, None]]), len(waveform), rate_hz, 1, overshoots=False)
    return conversion.to_pcm16(whole, Tally())


def sine(pitch_hz: float, rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32) / 2


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("share", [0.02, 0.4, 0.88])
def test_a_sine_below_the_lower_nyquist_frequency_stays_what_it_is(rate, share):
    pitch = share * min(rate, 16000) / 2
    found, wanted = resample(sine(pitch, rate), rate), sine(pitch, 16000)
    inside = slice(400, -400)
    assert np.abs(found[inside] - wanted[inside]).max() < 3e-4


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 16000])
def test_what_is_above_8_khz_does_not_fold_back(rate):
    for pitch in np.arange(8100, rate / 2, 900):
        assert np.abs(resample(sine(pitch, rate), rate)[400:-400]).max() < 0.5 * 10 ** (-75 / 20)


@pytest.mark.parametrize("rate", [*RATES, 7999, 16001, 44056])
@pytest.mark.parametrize("samples", [1, 2, 159, 160, 161, 4410, 10007])
def test_the_length_is_that_of_the_formula(rate, samples):
    waveform = np.ones(samples, np.int16)
    assert len(to_pcm16("a", waveform, rate)) == math.ceil(samples * 16000 / rate)


def test_a_constant_stays_a_constant():
    found = to_pcm16("a", np.full(9600, 12345, np.int16), 48000)
    assert np.abs(found[200:-200].astype(int) - 12345).max() <= 3


def test_16_bits_at_16_khz_are_not_touched():
    waveform = np.array([-32768, -1, 0, 32767], np.int16)
    np.testing.assert_array_equal(to_pcm16("a", waveform, 16000), waveform)


def test_full_scale_noise_is_limited_and_never_wraps():
    square = np.where(np.arange(4800) // 24 % 2, 32767, -32768).astype(np.int16)
    found = to_pcm16("a", square, 48000).astype(int)
    assert found.max() == 32767 and found.min() == -32768
    assert np.abs(np.diff(np.sign(found))).sum() / 2 == np.abs(np.diff(np.sign(square.astype(int)))).sum() / 2


def test_nan_is_named_before_anything_is_computed():
    with pytest.raises(UnreadableAudio, match=r"a\.wav: NaN or infinite"):
        to_pcm16("a.wav", np.array([0, np.nan], np.float32), 8000)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 44101, 96000])
@pytest.mark.parametrize("sizes", [[30000], [1, 2, 7000, 9000, 3], [4096] * 7])
def test_blocks_one_after_the_other_give_the_bits_of_the_whole(rate, sizes, monkeypatch):
    monkeypatch.setattr(resampling, "_STEP", 5000)
    waveform = seeds.generator("blocks").normal(size=sum(sizes)).astype(np.float32)
    blocks = np.split(waveform, np.cumsum(sizes)[:-1])
    found = np.concatenate(list(resampling.at_16_khz(iter(blocks), rate)))
    np.testing.assert_array_equal(found, resample(waveform, rate))


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 44101, 48000, 49999, 88200, 96000, 176400, 192000, 768000])
def test_rates_of_audio_are_known(rate):
    assert resampling.is_known_rate(rate)


@pytest.mark.parametrize("rate", [0, 1, 999, 700_001, 96_001, 191_999, 768_001, 2**31])
def test_rates_whose_filter_would_fill_the_memory_are_not(rate):
    assert not resampling.is_known_rate(rate)
