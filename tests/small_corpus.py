"""Packed audio of a few short utterances, and a system small enough to be trained in a second."""

from pathlib import Path

import numpy as np
import yaml

from sslsv_tk import seeds
from sslsv_tk.arks.audio_archive import write_pcm_ark
from sslsv_tk.kaldi import tables

SPEAKERS, RECORDINGS, UTTERANCES = 3, 3, 2
COUNT = SPEAKERS * RECORDINGS * UTTERANCES


def pack(folder: Path, lengths: dict[str, int], category: str | None = None) -> Path:
    """A folder of packed noise as stage 3 leaves it; speaker and recording are read off `speaker-recording-number`."""
    folder.mkdir(parents=True)
    keys = sorted(lengths)
    waveforms = (
        (key, seeds.generator("waveform", key).integers(-9000, 9000, lengths[key], dtype=np.int16)) for key in keys
    )
    write_pcm_ark(waveforms, folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
    tables.write_table(folder / "utt2spk", keys, [key.partition("-")[0] for key in keys])
    tables.write_table(folder / "utt2rec", keys, [key.rpartition("-")[0] or key for key in keys])
    if category is not None:
        tables.write_table(folder / "utt2category", keys, [category] * len(keys))
    return folder


def pack_all(folder: Path) -> Path:
    """A training set of 18 utterances of 0.6 to 1.5 s, a test set of other lengths, noises and responses.

    In the training set `long_train` two of an utterance's reference segments, of 4 s each, differ.
    """
    keys = [
        f"spk{speaker}-rec{recording}-{number:05d}"
        for speaker in range(SPEAKERS)
        for recording in range(RECORDINGS)
        for number in range(UTTERANCES)
    ]
    pack(folder / "train", {key: 9_600 + 800 * row for row, key in enumerate(keys)})
    pack(folder / "long_train", {key: 73_600 + 800 * row for row, key in enumerate(keys)})
    pack(folder / "test", {f"t{row % 2}-rec{row}-00000": 12_000 + 1_600 * (row % 3) for row in range(7)})
    for category in ("noise", "music", "speech"):
        pack(folder / f"musan_{category}", {f"{category}{n}": 5_000 + 9_000 * n for n in range(2)}, category)
    pack(folder / "rirs", {"room0": 400, "room1": 900})
    return folder


SYSTEM = {
    "encoder": {
        "name": "fast_resnet34",
        "widths": [8, 8, 8, 8],
        "blocks": [1, 1, 1, 1],
        "dimension": 12,
    },
    "method": {"name": "simclr", "segment_seconds": 0.4},
    "augmentation": {"kinds": ["none", "reverb", "noise", "both"]},
    "optimisation": {"learning_rate": 0.003, "decay_epochs": 1},
    "training": {
        "batch_size": 5,
        "epochs": 3,
        "continued_epochs": 2,
        "average_epochs": 2,
        "keep_epochs": 2,
        "log_steps": 2,
        "checkpoint_minutes": 0.0,
        "loader_workers": 0,
        "precision": "fp32",
        "compile": "false",
    },
}
SSPS = {"name": "ssps_kmeans", "clusters": 4, "queue_size": 13}
POSITIVES = {
    "ssps_kmeans": SSPS,
    "ssps_live": {"name": "ssps_live", "clusters": 4},
    "ssps_knn": {"name": "ssps_knn", "nearest": 3, "queue_size": 13},
    "ssps_live_knn": {
        "name": "ssps_live_knn",
        "nearest": 5,
        "refresh": "epochs",
        "reference_segments": 2,
        "whitening": "within_utterance",
    },
    "ssps_live_recordings": {"name": "ssps_live_recordings"},
    "same_speaker": {"name": "same_speaker"},
    "same_speaker_queue": {"name": "same_speaker", "source": "queue"},
    "same_utterance": {"name": "same_utterance"},
}
"""By file: every sampler, and the oracle with both sources."""


def write_configuration(folder: Path) -> Path:
    """system.yaml, and one file for each kind of positives."""
    (folder / "system.yaml").write_text(yaml.safe_dump(SYSTEM))
    for name, settings in POSITIVES.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"positives": settings}))
    return folder / "system.yaml"
