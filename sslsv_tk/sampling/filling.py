"""What a sampler must be shown of all utterances before an epoch: once to be filled, and again where it asks for that.

    before the first epoch    a pass of what it keeps (filling: pass), or nothing: that epoch fills it (filling: epoch)
    before each later one     nothing, or a pass over references (refresh: epochs)

A pass may be killed at any batch: until it has ended, the sampler asks for the same one again, and the training loop
goes on with the utterances that are left.
"""

from typing import Literal

from sslsv_tk.sampling.part import Part

Pass = Literal["nothing", "references", "everything"]
"""What the loop shows of every utterance, in evaluation mode, before an epoch; everything: projections too."""
FilledBy = Literal["pass", "epoch"]
Refresh = Literal["steps", "epochs"]


class Filling(Part):
    """Which pass is wanted before which epoch, and which epoch a sampler is in."""

    saved = ("epoch", "passed_epoch", "is_filled")

    def __init__(self, first: Pass = "nothing", filled_by: FilledBy = "pass", refresh: Refresh = "steps") -> None:
        """`first` is what a sampler keeps and is filled with; `refresh` "epochs": references are renewed in passes."""
        self._first: Pass = first if filled_by == "pass" else "nothing"
        self._later: Pass = "references" if refresh == "epochs" else "nothing"
        self.epoch = -1
        """The epoch that was started last, -1 before the first."""
        self.passed_epoch = -1
        """The epoch before which the last pass ended, -1 for none yet."""
        self.is_filled = False
        """Was the sampler shown all utterances, in a pass or along an epoch?"""

    def pass_before(self, epoch: int) -> Pass:
        """The pass that is wanted before an epoch; none before one that was started, or whose pass has ended."""
        if epoch in (self.passed_epoch, self.epoch):
            return "nothing"
        return self._first if self.epoch < 0 and not self.is_filled else self._later

    def end_pass(self, epoch: int) -> None:
        """All utterances were shown, by one encoder."""
        self.passed_epoch, self.is_filled = epoch, True

    def start(self, epoch: int) -> None:
        """Training begins an epoch, so the one before it, if there was one, has filled the sampler."""
        self.is_filled = self.is_filled or 0 <= self.epoch < epoch
        self.epoch = epoch

    def check_started(self) -> None:
        """Refuse to replace positives before the first epoch."""
        if self.epoch < 0:
            raise ValueError("These positives have drawn nothing yet: start_epoch comes before replace.")
