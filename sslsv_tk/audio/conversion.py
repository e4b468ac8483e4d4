"""Blocks of a file's samples to 16 kHz mono 16-bit, a block at a time, and what is worth saying of them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.audio import resampling, responses
from sslsv_tk.audio import tally as remarks
from sslsv_tk.audio.resampling import Samples
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.audio.tally import Tally
from sslsv_tk.audio.waveforms import Waveform
from sslsv_tk.segments import SAMPLE_RATE_HZ

_MOST_PEAK = 16.0  # of full scale; integers that were stored as floats are far beyond it
_CANCELLED_SHARE = 1e-4  # of the channels' mean power that is left of their mean: 40 dB less


def to_pcm16(waveform: Waveform, tally: Tally) -> NDArray[np.int16]:
    """(samples,) at 16 kHz; 16-bit samples at 16 kHz of one channel bit for bit, all others as resampling.py says.

    A room response is scaled to full scale by its peak (only its shape counts), its silent tail is cut off. `tally`
    takes what there is to say. UnreadableAudio for NaN, and for samples that are no floats of full scale 1.
    """
    source, mixer = waveform.source, _Mixer(waveform)
    blocks = resampling.at_16_khz(mixer.blocks(), waveform.rate_hz)
    if source.is_response:
        found = _response(waveform, blocks, tally)
        limited = 0
    else:
        found, limited = _rounded(blocks, waveform)
    tally.count(waveform.rate_hz, waveform.channels, source.channel)
    if limited:
        tally.note(remarks.LIMITED, source.path, limited)
    if waveform.overshoots:
        tally.note(remarks.OVERSHOT, source.path)
    if mixer.cancels():
        tally.note(remarks.CANCELLED, source.path)
    elif not found.any():
        tally.note(remarks.SILENT, source.path)
    return found


def _rounded(blocks: Iterator[Samples], waveform: Waveform) -> tuple[NDArray[np.int16], int]:
    """All blocks as 16-bit samples, and how many of them were beyond full scale."""
    count = -(-waveform.samples * SAMPLE_RATE_HZ // waveform.rate_hz)
    found, place, limited = np.empty(count, dtype=np.int16), 0, 0
    for block in blocks:
        found[place : place + len(block)], beyond = resampling.rounded(block)
        place, limited = place + len(block), limited + beyond
    return found, limited


def _response(waveform: Waveform, blocks: Iterator[Samples], tally: Tally) -> NDArray[np.int16]:
    path = waveform.source.path
    whole: Samples = np.concatenate(list(blocks))
    found = responses.without_tail(path, whole)
    if len(found) < len(whole):
        tally.note(remarks.SHORTENED, path)
    return resampling.rounded(responses.at_full_scale(found))[0]


class _Mixer:
    """One channel of each block, checked; counts power to tell channels that cancel each other."""

    def __init__(self, waveform: Waveform) -> None:
        self.waveform = waveform
        self.power_of_channels = self.power_of_mean = 0.0

    def blocks(self) -> Iterator[Samples]:
        """(n,) of each block (n, channels)."""
        source, is_mixed = self.waveform.source, self.waveform.channels > 1 and self.waveform.source.channel == "mix"
        for block in self.waveform.blocks:
            single = resampling.one_channel(source.path, block, source.channel)
            if single.dtype != np.int16:
                self._check(single)
            if is_mixed:
                scale = resampling.FULL_SCALE if block.dtype == np.int16 else 1
                self.power_of_channels += float(np.square(block, dtype=np.float64).mean(axis=1).sum()) / scale**2
                self.power_of_mean += float(np.square(single, dtype=np.float64).sum())
            yield single

    def cancels(self) -> bool:
        """Is next to nothing left of channels that are not silent?"""
        return self.power_of_mean < _CANCELLED_SHARE * self.power_of_channels

    def _check(self, block: Samples) -> None:
        path = self.waveform.source.path
        if not np.isfinite(block).all():
            raise UnreadableAudio(f"{path}: NaN or infinite samples")
        peak = float(np.abs(block).max(initial=0))
        if peak > _MOST_PEAK and not self.waveform.source.is_response:
            raise UnreadableAudio(
                f"{path}: floating-point samples up to {peak:g}, where full scale is 1: integers that were stored as"
                " floats? Divide them by their full scale, 32768 for 16 bits"
            )
