"""Packed audio of noise for benchmarks: a training set, noises and room responses in a temporary folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.arks.audio_archive import write_pcm_ark
from sslsv_tk.kaldi import tables

RATE = 16_000


def pack(folder: Path, seconds: Sequence[float], category: str | None = None) -> Path:
    """Utterances of these lengths as stage 3 leaves them."""
    folder.mkdir(parents=True)
    keys = [f"{folder.name}-{row:06d}" for row in range(len(seconds))]
    generator = np.random.default_rng(len(seconds))

    def waveforms() -> Iterator[tuple[str, NDArray[np.int16]]]:
        for key, length in zip(keys, seconds, strict=True):
            yield key, generator.integers(-8000, 8000, int(length * RATE), dtype=np.int16)

    write_pcm_ark(waveforms(), folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
    if category is not None:
        tables.write_table(folder / "utt2category", keys, [category] * len(keys))
    return folder


def pack_augmentation(folder: Path, clips: int, noise_seconds: float = 10.0, response_seconds: float = 1.0) -> None:
    """`clips` noises of each category and as many responses that fade by 60 dB."""
    for category in ("noise", "music", "speech"):
        pack(folder / f"musan_{category}", [noise_seconds] * clips, category)
    (folder / "rirs").mkdir()
    samples = int(response_seconds * RATE)
    fade = 10.0 ** (-3.0 * np.arange(samples) / samples)
    generator = np.random.default_rng(clips)
    responses = [(f"room{row:04d}", (8000 * generator.normal(size=samples) * fade)) for row in range(clips)]
    pairs = [(key, response.clip(-32768, 32767).astype(np.int16)) for key, response in responses]
    write_pcm_ark(pairs, folder / "rirs/wav.ark", folder / "rirs/wav.scp", folder / "rirs/utt2samples")
