"""Small corpora of noise for the tests of data preparation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sslsv_tk import seeds

WriteAudio = Callable[..., NDArray[np.int16]]


@pytest.fixture
def write_audio() -> WriteAudio:
    """write_audio(path, samples=..., rate=..., channels=...) writes 16-bit noise and returns it."""

    def write(path: Path, samples: int = 1600, rate: int = 16000, channels: int = 1) -> NDArray[np.int16]:
        shape = (samples, channels) if channels > 1 else (samples,)
        waveform = seeds.generator(str(path.name), samples).integers(-32768, 32768, shape, dtype=np.int16)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform, rate, subtype="PCM_16")
        return waveform

    return write


@pytest.fixture
def corpus(tmp_path: Path, write_audio: WriteAudio) -> Path:
    """Two speakers, two recordings each, two utterances each, as <speaker>/<recording>/<utterance>.wav."""
    for speaker in ("anna", "bert"):
        for recording in ("r1", "r2"):
            for utterance in ("u1", "u2"):
                samples = 1000 + 100 * len(list(tmp_path.glob("corpus/*/*/*.wav")))
                write_audio(tmp_path / "corpus" / speaker / recording / f"{utterance}.wav", samples)
    return tmp_path / "corpus"
