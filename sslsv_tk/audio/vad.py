"""Speech decisions of vad.scp: which 10 ms frames of an utterance are kept.

Kaldi writes one number per frame, 1 where there is speech; frame t stands for the samples 160 t ... 160 t + 159 of
16 kHz audio. Its frames are 25 ms long, so that there are a few fewer of them than 10 ms pieces of the audio.
"""

import functools
import os
from typing import Any

import kaldiio.matio
import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.stamps import Stamp, stamp_of

FRAME_SAMPLES = 160
_MOST_FRAMES_APART = 3
_BINARY = b"\0B"


def read_decisions(value: bytes) -> NDArray[np.bool_]:
    """The decisions (frames,) that a value of vad.scp names, `file.ark:offset` or a file."""
    place = text(value).strip()
    if "|" in place:
        raise ValueError(f"{place!r} in vad.scp is a command; only files are read.")
    try:
        found = np.asarray(_read_entry(os.fsdecode(value.strip())))
    except Exception as error:  # kaldiio reports damage in as many ways as there are: struct, assertion, index ...
        raise ValueError(f"{place}: speech decisions that cannot be read ({type(error).__name__}: {error}).") from None
    if found.ndim != 1 or len(found) == 0 or found.dtype.kind not in "fiu" or not np.isin(found, (0, 1)).all():
        raise ValueError(f"{place}: expected a vector of 0 and 1, found {found.dtype} of shape {found.shape}.")
    return found.astype(np.bool_)


def identities(values: Words) -> Words:
    """(N,) what decides the decisions that values of vad.scp name: digest of the file and offset, whatever its name.

    A command or a file that is not there stands for itself: reading it is the error.
    """
    known: dict[bytes, bytes] = {}
    found = []
    for value in values.tolist():
        path, _, offset = value.strip().rpartition(b":")
        if not (path and offset.isdigit()):
            path, offset = value.strip(), b""
        if path not in known:
            known[path] = _digest(path, stamp_of(path)) if os.path.isfile(path) else path
        found.append(known[path] + b":" + offset)
    return np.array(found)


@functools.lru_cache(maxsize=4096)
def _digest(path: bytes, _: Stamp) -> bytes:
    return digests.of_file(os.fsdecode(path)).encode()


def _read_entry(place: str) -> Any:
    """What kaldiio makes of a Kaldi object, binary or text; it would also run what a pickled entry says."""
    path, _, offset = place.rpartition(":")
    with open(path if path and offset.isdecimal() else place, "rb") as stream:
        stream.seek(int(offset) if path and offset.isdecimal() else 0)
        start = stream.read(len(_BINARY))
        if start != _BINARY and start.lstrip()[:1] not in (b"", b"["):
            raise ValueError(f"no Kaldi vector begins there but {start!r}")
        stream.seek(-len(start), os.SEEK_CUR)
        return kaldiio.matio.read_kaldi(stream)


def voiced(waveform: NDArray[np.int16], decisions: NDArray[np.bool_]) -> NDArray[np.int16]:
    """The samples (kept,) of a 16 kHz waveform (samples,) that lie in frames with speech.

    ValueError where there are more than 3 frames more or fewer than the audio has; UnreadableAudio where no sample is
    left. What stands after the last frame is not kept.
    """
    frames = len(waveform) / FRAME_SAMPLES
    if abs(len(decisions) - frames) > _MOST_FRAMES_APART:
        raise ValueError(
            f"{len(decisions)} speech decisions for audio of {frames:.1f} frames of 10 ms ({len(waveform)} samples)."
            " vad.scp was made of other audio, or with another frame shift."
        )
    kept = np.repeat(decisions, FRAME_SAMPLES)[: len(waveform)]
    found = waveform[: len(kept)][kept]
    if len(found) == 0:
        raise UnreadableAudio(f"no speech: none of {len(decisions)} frames is called speech in vad.scp")
    return found
