"""A queue of the newest positives, looked up by the utterance they belong to.

Q rows in the queue, N utterances, B rows that enter together (any number, also more than Q), S positive slots,
P projection.

    entry    0  1  2  3  4  5  6        7 rows entered a queue of Q = 4: entry e lies in slot e % Q,
    slot     0  1  2  3  0  1  2        entries 3..6 are inside, and the next one overwrites slot 3
"""

import torch
from torch import Tensor

from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.part import Part


class PositiveQueue(Part):
    """The positives (S, P) of the last Q rows that entered, at most one valid row per utterance: the newest."""

    saved = ("rows", "owner", "entry", "entered")

    def __init__(self, size: int, facts: SamplerFacts) -> None:
        facts.check_positives()
        self.size = size
        self.entered = 0
        """Rows that ever entered; grows without end."""
        self.rows = torch.zeros(size, facts.slots, facts.projection_dimension, device=facts.device)
        self.owner = torch.full((size,), -1, dtype=torch.int64, device=facts.device)
        """Utterance whose row lies in each slot, -1 for none yet."""
        self.entry = torch.full_like(facts.everyone, -1)
        """Newest entry of each utterance, -1 for none ever; it is inside while it is among the last Q."""

    def holds(self, utterance_B: Tensor) -> Tensor:
        """(B,) is a row of this utterance inside?"""
        return self.entry.index_select(0, utterance_B) >= max(0, self.entered - self.size)

    def row_of(self, utterance_B: Tensor) -> Tensor:
        """The newest rows of utterances that are inside (meaningless for those that are not)."""
        return self.rows.index_select(0, self.entry.index_select(0, utterance_B) % self.size)

    def newest_slots(self) -> Tensor:
        """(Q,) does a slot hold the newest row of an utterance?"""
        slots_Q = torch.arange(self.size, device=self.entry.device)
        return (self.owner >= 0) & (self.entry[self.owner.clamp(min=0)] % self.size == slots_Q)

    def mean_age(self, utterance_B: Tensor, counted_B: Tensor) -> Tensor:
        """How many rows, in numbers of utterances N, entered since those of the counted utterances did (none: 0)."""
        return self._mean_age(self.entry.index_select(0, utterance_B), counted_B)

    def _mean_age(self, entry_B: Tensor, counted_B: Tensor) -> Tensor:
        age_B = (self.entered - entry_B) * counted_B
        return age_B.sum() / (counted_B.sum().clamp(min=1) * len(self.entry))

    def replace(self, positives_SBP: Tensor, utterance_B: Tensor, drawn_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the rows of drawn utterances, which are inside, in the place of positives; -1 keeps the own one.

        Returns the positives, (B,) whose each is, and the mean age of the rows taken: passes over the training set
        since they entered.
        """
        is_replaced_B = drawn_B >= 0
        chosen_B = torch.where(is_replaced_B, drawn_B, utterance_B)
        entry_B = self.entry.index_select(0, chosen_B)
        replaced_SBP = put_rows(positives_SBP, self.rows, entry_B % self.size, is_replaced_B)
        return replaced_SBP, chosen_B, self._mean_age(entry_B, is_replaced_B)

    def push(self, positives_SBP: Tensor, utterance_B: Tensor) -> tuple[Tensor, Tensor]:
        """Let positives enter in their order, as constants; the oldest leave.

        Returns utterances and, for each, +1 where it is inside now and was not before, -1 where the opposite, else 0;
        an utterance has a number other than 0 at most once.
        """
        rows_BSP = positives_SBP.detach().transpose(0, 1)[-self.size :]
        utterance_B = utterance_B[-self.size :]
        entry_B = torch.arange(self.entered, self.entered + len(utterance_B), device=self.entry.device)
        slot_B = entry_B % self.size
        leaving_B, was_inside_B = self.owner[slot_B], self.holds(utterance_B)

        self.rows[slot_B] = rows_BSP.to(self.rows.dtype)
        self.owner[slot_B] = utterance_B
        self.entry.scatter_reduce_(0, utterance_B, entry_B, "amax")  # the newest wins where a batch repeats one
        self.entered += len(utterance_B)

        came_B = (self.entry[utterance_B] == entry_B) & ~was_inside_B
        left_B = (leaving_B >= 0) & (self.entry[leaving_B] == entry_B - self.size)
        return torch.cat([utterance_B, leaving_B.clamp(min=0)]), torch.cat([came_B.int(), -left_B.int()])


def put_rows(positives_SBP: Tensor, rows_QSP: Tensor, slot_B: Tensor, is_replaced_B: Tensor) -> Tensor:
    """Positives with the rows of their slots in the place of those to replace, as constants."""
    put = _put_few if positives_SBP.device.type == "cpu" else _put_all
    return put(positives_SBP, rows_QSP, slot_B, is_replaced_B)


def _put_few(positives_SBP: Tensor, rows_QSP: Tensor, slot_B: Tensor, is_replaced_B: Tensor) -> Tensor:
    """Reads only the rows that are needed; a GPU would have to be asked which."""
    at_R = is_replaced_B.nonzero()[:, 0]
    rows_RSP = rows_QSP.index_select(0, slot_B.index_select(0, at_R))
    return positives_SBP.clone().index_copy_(1, at_R, rows_RSP.transpose(0, 1).to(positives_SBP.dtype))


def _put_all(positives_SBP: Tensor, rows_QSP: Tensor, slot_B: Tensor, is_replaced_B: Tensor) -> Tensor:
    """Reads a row for each positive and waits for nothing."""
    rows_SBP = rows_QSP.index_select(0, slot_B).transpose(0, 1).to(positives_SBP.dtype)
    return torch.where(is_replaced_B[None, :, None], rows_SBP, positives_SBP)
