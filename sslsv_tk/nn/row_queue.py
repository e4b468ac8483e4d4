"""A queue of the newest rows of one kind, such as the negatives of MoCo. Q rows in the queue, P their width."""

import torch
from torch import Tensor, nn


class RowQueue(nn.Module):
    """The last Q rows that entered, in a ring: any number may enter at once, also more than Q.

    It is part of the model's state, so that a run goes on with the rows that it had.
    """

    rows_QP: Tensor
    head: Tensor
    entered: Tensor

    def __init__(self, size: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("rows_QP", torch.zeros(size, width, dtype=dtype))
        self.register_buffer("head", torch.zeros((), dtype=torch.int64))  # the slot that is overwritten next
        self.register_buffer("entered", torch.zeros((), dtype=torch.int64))  # rows that ever entered
        self._full: bool | None = None  # what the device last said; None: ask again
        self.register_load_state_dict_post_hook(_look_again)  # type: ignore[no-untyped-call]

    def is_full(self) -> bool:
        """Have as many rows entered as there are slots? The device is asked only where that may have changed."""
        if self._full is None:
            self._full = int(self.entered) >= len(self.rows_QP)
        return self._full

    @torch.no_grad()
    def push(self, rows_BP: Tensor) -> None:
        """Let rows enter in their order, the oldest leave."""
        size = len(self.rows_QP)
        self._full = self._full or None  # a full queue stays so
        self.entered += len(rows_BP)
        skipped = max(len(rows_BP) - size, 0)
        slots_B = (self.head + skipped + torch.arange(len(rows_BP) - skipped, device=self.head.device)) % size
        self.rows_QP[slots_B] = rows_BP[skipped:].to(self.rows_QP.dtype)
        self.head.add_(len(rows_BP)).remainder_(size)


def _look_again(queue: nn.Module, _: object) -> None:
    """What was found of a queue does not hold for the state that it took over."""
    queue._full = None  # type: ignore[assignment]
