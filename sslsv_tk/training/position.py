"""Where in its training a run is."""

from dataclasses import dataclass


@dataclass
class Position:
    """How far a run is; the trainer moves it on, and a checkpoint holds it."""

    epoch: int = 0
    """Whole epochs done, over both stages."""
    step_in_epoch: int = 0
    step: int = 0
    """Over both stages."""
    passed: int = 0
    """Utterances shown in the pass before this epoch."""

    def end_step(self) -> None:
        """A step is done."""
        self.step, self.step_in_epoch = self.step + 1, self.step_in_epoch + 1

    def end_epoch(self) -> None:
        """An epoch is done."""
        self.epoch, self.step_in_epoch, self.passed = self.epoch + 1, 0, 0

    def is_inside(self, utterances: int) -> bool:
        """Has an epoch or a pass over all utterances begun? What it begins with is saved before, or done again."""
        return self.step_in_epoch > 0 or 0 < self.passed < utterances
