"""Samples of any rate, format and number of channels to 16 kHz mono 16-bit.

One polyphase filter (scipy's resample_poly) serves every kind of file. It is a Kaiser-windowed sinc of 48 periods of
the lower rate on each side: 80 dB less from the lower Nyquist frequency on, flat to 0.9 of it (7.2 kHz for 16 kHz).
"""

import functools
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from sslsv_tk.segments import SAMPLE_RATE_HZ

Channel = Literal["mix"] | int
Samples = NDArray[np.int16] | NDArray[np.float32]
_PERIODS = 48
_STOPBAND_DECIBELS = 80.0
_LEAST_RATE_HZ, _MOST_RATE_HZ, _MOST_ODD_RATE_HZ = 1_000, 768_000, 50_000
_STEP = 2**18  # samples that are resampled at a time
FULL_SCALE = 32768


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
    return mean / np.float32(FULL_SCALE) if samples.dtype == np.int16 else mean


def rounded(waveform: Samples) -> tuple[NDArray[np.int16], int]:
    """(samples,) as 16 bits (floating-point samples are full scale at 1), and how many were beyond and are limited."""
    if waveform.dtype == np.int16:
        return np.asarray(waveform, dtype=np.int16), 0
    whole: NDArray[np.float32] = np.rint(waveform * np.float32(FULL_SCALE))
    limited = int((whole > FULL_SCALE).sum() + (whole < -FULL_SCALE).sum())  # 1.0 itself is no overload
    return np.clip(whole, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), limited


def at_16_khz(blocks: Iterator[Samples], rate_hz: int) -> Iterator[Samples]:
    """Blocks of any rate, one after the other, at 16 kHz: ceil(samples * 16000 / rate) in all.

    The samples are those of the whole at once, to the bit, and memory is that of a block.
    """
    if rate_hz == SAMPLE_RATE_HZ:
        yield from blocks
        return
    up, down = _ratio(rate_hz)
    reach = down * -(-(_PERIODS * max(up, down) // up + 2) // down)  # samples on either side that the filter needs
    step = down * max(1, _STEP // down)
    waiting, first, done = np.zeros(0, np.float32), 0, 0  # waiting[0] is sample `first`; up to `done` all is out
    for block in blocks:
        waiting = np.concatenate([waiting, as_float(block)])
        while first + len(waiting) >= done + step + reach:
            found = resample(waiting[: done + step + reach - first], rate_hz)
            yield found[(done - first) // down * up : (done + step - first) // down * up]
            done += step
            passed = max(0, done - reach - first)
            waiting, first = waiting[passed:], first + passed
    yield resample(waiting, rate_hz)[(done - first) // down * up :]


def as_float(waveform: Samples) -> NDArray[np.float32]:
    """16-bit samples with full scale at 1; floats as they are."""
    if waveform.dtype == np.int16:
        return waveform.astype(np.float32) / np.float32(FULL_SCALE)
    return waveform.astype(np.float32, copy=False)


def is_known_rate(rate_hz: int) -> bool:
    """Can this be a rate of audio?

    Any up to 50 kHz, since clocks are off by some hertz; above, one that shares enough with 16 kHz, as 88.2, 96, 192
    and 768 kHz do. The filter for another would have millions of taps.
    """
    return _LEAST_RATE_HZ <= rate_hz <= _MOST_RATE_HZ and max(_ratio(rate_hz)) <= _MOST_ODD_RATE_HZ


def _ratio(rate_hz: int) -> tuple[int, int]:
    """By how much to raise the rate, and then to lower it."""
    common = math.gcd(SAMPLE_RATE_HZ, rate_hz)
    return SAMPLE_RATE_HZ // common, rate_hz // common


def resample(waveform: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """(samples,) to ceil(samples * 16000 / rate) at 16 kHz."""
    up, down = _ratio(rate_hz)
    found = scipy.signal.resample_poly(waveform, up, down, window=_filter(up, down))  # type: ignore[call-overload]
    return np.asarray(found, dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _filter(up: int, down: int) -> NDArray[np.float32]:
    """The low-pass filter at `up` times the source rate."""
    half = _PERIODS * max(up, down)
    transition = (_STOPBAND_DECIBELS - 7.95) / (2.285 * np.pi * 2 * _PERIODS)  # Kaiser's formula, of the lower Nyquist
    window = ("kaiser", scipy.signal.kaiser_beta(_STOPBAND_DECIBELS))
    taps = scipy.signal.firwin(2 * half + 1, (1 - transition / 2) / max(up, down), window=window)
    return np.asarray(taps, dtype=np.float32)
