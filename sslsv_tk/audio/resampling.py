"""Samples of any rate, format and number of channels to 16 kHz mono 16-bit.

One polyphase filter (scipy's resample_poly) serves every kind of file. It is a Kaiser-windowed sinc of 48 periods of
the lower rate on each side: 80 dB less from the lower Nyquist frequency on, flat to 0.9 of it (7.2 kHz for 16 kHz).
"""

import functools
import math
from typing import Literal

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.segments import SAMPLE_RATE_HZ

Channel = Literal["mix"] | int
Samples = NDArray[np.int16] | NDArray[np.float32]
_PERIODS = 48
_STOPBAND_DECIBELS = 80.0
_FULL_SCALE = 32768


def check_channel(channel: Channel) -> None:
    """ValueError unless it is "mix" or a number from 1."""
    if channel != "mix" and channel < 1:
        raise ValueError(f"channels count from 1; found {channel}. mix is the mean of all.")


def one_channel(path: str, samples: Samples, channel: Channel) -> Samples:
    """(samples,) of (samples, channels): one by its number, or the mean; of int16 a single one stays int16."""
    channels = samples.shape[1]
    if channel != "mix" and channel > channels:
        raise ValueError(f"{path}: channel {channel} asked for, found {channels} channel(s).")
    if channel != "mix" or channels == 1:
        single: Samples = samples[:, 0 if channel == "mix" else channel - 1]
        return single
    mean: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
    return mean / np.float32(_FULL_SCALE) if samples.dtype == np.int16 else mean


def to_pcm16(path: str, waveform: Samples, rate_hz: int) -> NDArray[np.int16]:
    """(samples,) at any rate to ceil(samples * 16000 / rate) at 16 kHz; 16 bits at 16 kHz come out bit for bit.

    Floating-point samples are full scale at 1; beyond it they are limited.
    """
    if waveform.dtype == np.int16:
        if rate_hz == SAMPLE_RATE_HZ:
            return np.ascontiguousarray(waveform, dtype=np.int16)
        waveform = waveform.astype(np.float32) / np.float32(_FULL_SCALE)
    if not np.isfinite(waveform).all():
        raise UnreadableAudio(f"{path}: NaN or infinite samples")
    if rate_hz != SAMPLE_RATE_HZ:
        waveform = resample(waveform.astype(np.float32, copy=False), rate_hz)
    whole: NDArray[np.float32] = np.rint(waveform * np.float32(_FULL_SCALE))
    return np.clip(whole, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def resample(waveform: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """(samples,) to ceil(samples * 16000 / rate) at 16 kHz."""
    common = math.gcd(SAMPLE_RATE_HZ, rate_hz)
    up, down = SAMPLE_RATE_HZ // common, rate_hz // common
    found = scipy.signal.resample_poly(waveform, up, down, window=_filter(up, down))  # type: ignore[call-overload]
    return np.asarray(found, dtype=np.float32)


@functools.lru_cache(maxsize=8)
def _filter(up: int, down: int) -> NDArray[np.float32]:
    """The low-pass filter at `up` times the source rate."""
    half = _PERIODS * max(up, down)
    transition = (_STOPBAND_DECIBELS - 7.95) / (2.285 * np.pi * 2 * _PERIODS)  # Kaiser's formula, of the lower Nyquist
    window = ("kaiser", scipy.signal.kaiser_beta(_STOPBAND_DECIBELS))
    taps = scipy.signal.firwin(2 * half + 1, (1 - transition / 2) / max(up, down), window=window)
    return np.asarray(taps, dtype=np.float32)
