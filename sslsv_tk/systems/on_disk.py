"""A system on disk, exp/SYSTEM: all that is read of one, by training, averaging, extraction, judging and scoring.

    config.yaml        its configuration, every setting written out
    made.json          the settings and inputs that it was made with, and the digest of config.yaml (records.py)
    checkpoints/       its weights, and the state of its training (checkpoints.py)
    environment.txt, metrics.jsonl, tensorboard/, train.log    what its training says of itself
    embeddings/, scores/                                       what was made with it (layout.py)
    replaced/          what --force true is about to replace, until the new training is complete

Torch, seconds to load, is not loaded here.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk import artifacts, config, records
from sslsv_tk.records import Record
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
        made = records.read(self.folder)
        if made is not None and (faults := made.faults(self.folder, [self.config_file.name])):
            raise ValueError(f"{faults[0]}. Run stage 4 (or 5) again: it writes the file anew.")
        return config.load(SystemConfig, self.config_file, *above, overrides=settings)

    @property
    def record(self) -> Record:
        """What it was made with; ValueError where that is not known."""
        found = records.read(self.folder)
        if found is None:
            raise ValueError(
                f"{self.folder}: no {artifacts.RECORD}, so what made its checkpoints is not known. Restore the file, or"
                " train anew: stage 4 (or 5) with --force true."
            )
        return found

    # -- what --force true replaces --------------------------------------------------------------------------------

    @property
    def replaced(self) -> Path:
        """Where the training lies that is about to be replaced."""
        return self.folder / "replaced"

    def set_training_aside(self) -> None:
        """Move all that training has left into `replaced`, unless a training lies there: then what was begun goes.

        Embeddings and scores stay: they notice by themselves that they are old.
        """
        if self.replaced.is_dir():
            self._move_training(None)
            return
        self._moving.mkdir(parents=True, exist_ok=True)
        self._move_training(self._moving)
        self._moving.rename(self.replaced)

    def undo_setting_aside(self) -> None:
        """Bring back what a killed process had begun to set aside."""
        if self._moving.is_dir():
            for path in self._moving.iterdir():
                path.rename(self.folder / path.name)
            self._moving.rmdir()

    def forget_replaced(self) -> None:
        """The new training is complete: what it replaces goes."""
        shutil.rmtree(self.replaced, ignore_errors=True)

    @property
    def _moving(self) -> Path:
        return self.folder / ".replaced"

    def _move_training(self, to: Path | None) -> None:
        """Move what training has left, or remove it; the record goes first, so that no half counts as a whole."""
        for name in (artifacts.RECORD, "checkpoints", "tensorboard", "metrics.jsonl", "config.yaml", "train.log"):
            path = self.folder / name
            if to is not None and path.exists():
                path.rename(to / name)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
