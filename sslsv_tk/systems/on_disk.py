"""A system on disk, exp/SYSTEM: all that is read of one, by training, averaging, extraction, judging and scoring.

    config.yaml        its configuration, every setting written out
    made.json          the settings and inputs that it was made with (artifacts.py)
    checkpoints/       its weights, and the state of its training (checkpoints.py)
    environment.txt, metrics.jsonl, tensorboard/, train.log    what its training says of itself
    embeddings/, scores/                                       what was made with it (layout.py)

Torch, seconds to load, is not loaded here.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk import artifacts, config
from sslsv_tk.systems.checkpoints import CheckpointFolder
from sslsv_tk.systems.configuration import SystemConfig


@dataclass(frozen=True)
class System:
    """A system by its folder, which need not be there; each part is read when it is asked for."""

    folder: Path

    @property
    def config_file(self) -> Path:
        """Where its configuration lies."""
        return self.folder / "config.yaml"

    @property
    def checkpoints(self) -> CheckpointFolder:
        """Its checkpoints."""
        return CheckpointFolder(self.folder)

    def config(self, *above: Path, settings: Sequence[str] = ()) -> SystemConfig:
        """Its configuration, in which files `above` it win (conf/positives/X.yaml), then settings."""
        if not self.config_file.is_file():
            raise ValueError(f"{self.folder}: no config.yaml, so not a trained system. Run stage 4 (or 5) first.")
        return config.load(SystemConfig, self.config_file, *above, overrides=settings)

    def remove_training(self) -> None:
        """Take away all that training has left; embeddings and scores notice by themselves that they are old."""
        for name in ("checkpoints", "tensorboard"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in (artifacts.RECORD, "metrics.jsonl", self.config_file.name, "train.log"):
            (self.folder / name).unlink(missing_ok=True)
