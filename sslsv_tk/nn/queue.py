"""A queue of the newest rows, looked up by the utterance they belong to.

Q rows in the queue, N utterances, B rows that enter together (any number, also more than Q).

    entry    0  1  2  3  4  5  6        7 rows entered a queue of Q = 4: entry e lies in slot e % Q,
    slot     0  1  2  3  0  1  2        entries 3..6 are inside, and the next one overwrites slot 3
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class UtteranceQueue:
    """The last Q rows that entered, at most one valid row per utterance: the newest."""

    def __init__(self, size: int, utterances: int, shape: tuple[int, ...], device: torch.device) -> None:
        self.size = size
        self.entered = 0
        """Rows that ever entered; grows without end."""
        self.rows = torch.zeros(size, *shape, device=device)
        self.owner = torch.full((size,), -1, dtype=torch.int64, device=device)
        """Utterance whose row lies in each slot, -1 for none yet."""
        self.entry = torch.full((utterances,), -1, dtype=torch.int64, device=device)
        """Newest entry of each utterance, -1 for none ever; it is inside while it is among the last Q."""

    def holds(self, utterance_B: Tensor) -> Tensor:
        """(B,) is a row of this utterance inside?"""
        return self.entry[utterance_B] >= max(0, self.entered - self.size)

    def row_of(self, utterance_B: Tensor) -> Tensor:
        """The newest rows of utterances that are inside (meaningless for those that are not)."""
        return self.rows[self.entry[utterance_B] % self.size]

    def newest_slots(self) -> Tensor:
        """(Q,) does a slot hold the newest row of an utterance?"""
        slots_Q = torch.arange(self.size, device=self.entry.device)
        return (self.owner >= 0) & (self.entry[self.owner.clamp(min=0)] % self.size == slots_Q)

    def mean_age(self, utterance_B: Tensor, counted_B: Tensor) -> Tensor:
        """How many rows, in numbers of utterances N, entered since those of the counted utterances did (none: 0)."""
        age_B = (self.entered - self.entry[utterance_B]) * counted_B
        return age_B.sum() / (counted_B.sum().clamp(min=1) * len(self.entry))

    def push(self, rows_B: Tensor, utterance_B: Tensor) -> tuple[Tensor, Tensor]:
        """Let rows enter in their order, the oldest leave.

        Returns utterances and, for each, +1 where it is inside now and was not before, -1 where the opposite, else 0;
        an utterance has a number other than 0 at most once.
        """
        rows_B, utterance_B = rows_B[-self.size :], utterance_B[-self.size :]
        entry_B = torch.arange(self.entered, self.entered + len(utterance_B), device=self.entry.device)
        slot_B = entry_B % self.size
        leaving_B, was_inside_B = self.owner[slot_B], self.holds(utterance_B)

        self.rows[slot_B] = rows_B.to(self.rows.dtype)
        self.owner[slot_B] = utterance_B
        self.entry.scatter_reduce_(0, utterance_B, entry_B, "amax")  # the newest wins where a batch repeats one
        self.entered += len(utterance_B)

        came_B = (self.entry[utterance_B] == entry_B) & ~was_inside_B
        left_B = (leaving_B >= 0) & (self.entry[leaving_B] == entry_B - self.size)
        return torch.cat([utterance_B, leaving_B.clamp(min=0)]), torch.cat([came_B.int(), -left_B.int()])

    def state_dict(self) -> dict[str, Any]:
        """The queue's tensors (not copies) and its counter."""
        return {"rows": self.rows, "owner": self.owner, "entry": self.entry, "entered": self.entered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the contents of a queue of the same size."""
        for name in ("rows", "owner", "entry"):
            ours, theirs = getattr(self, name), state[name]
            if ours.shape != theirs.shape:
                raise ValueError(
                    f"The saved queue's {name} have shape {tuple(theirs.shape)}, this one's {tuple(ours.shape)}: it "
                    "was written for another training set, queue size or width. Use the settings it was made with."
                )
            ours.copy_(theirs)
        self.entered = int(state["entered"])
