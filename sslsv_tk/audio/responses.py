"""Room responses: only their shape counts, since training scales each to unit energy."""

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.audio.resampling import FULL_SCALE, Samples
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.segments import SAMPLE_RATE_HZ

_KEPT_SECONDS = 2.0  # up to here a response stays as it is
_MOST_SECONDS = 10.0  # of a hall; a batch is padded to the longest response
_NEGLIGIBLE = 1e-6  # of the energy, 60 dB less, as the reverberation time has it


def without_tail(path: str, response: Samples) -> Samples:
    """(samples,) at 16 kHz without what follows 2 s and together is 60 dB below the whole.

    UnreadableAudio where nothing but zeros is there, and where more than 10 s are left: no room rings so long, so it is
    a recording.
    """
    energy = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    if not energy.any():
        raise UnreadableAudio(f"{path}: a room response of nothing but zeros")
    kept = max(int((energy > _NEGLIGIBLE * energy[0]).sum()), min(len(response), round(_KEPT_SECONDS * SAMPLE_RATE_HZ)))
    if kept > _MOST_SECONDS * SAMPLE_RATE_HZ:
        raise UnreadableAudio(
            f"{path}: {kept / SAMPLE_RATE_HZ:.1f} s until it has decayed by 60 dB, where a room response has at most"
            f" {_MOST_SECONDS:g} s: a recording?"
        )
    return response[:kept]


def at_full_scale(response: Samples) -> Samples:
    """The same scaled so that its peak is full scale; 16-bit samples, which gain nothing by that, as they are."""
    if response.dtype == np.int16:
        return response
    scaled: NDArray[np.float32] = response * np.float32((FULL_SCALE - 1) / FULL_SCALE / np.abs(response).max())
    return scaled
