"""Rows of which every process holds some; all processes number them alike.

N rows, O of them this process's own, D values, W processes, B rows of a block.

    row        0  1  2  3  4  5  6        owner_N says which process holds a row;
    owner_N    0  1  1  0  1  0  0        own_OD of process 1 are the rows 1, 2, 4 in this order

Every method that says so is called by all processes together.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sslsv_tk.distributed import collectives

_ROWS_SENT = 2**15  # in one block: 64 MiB of fp32 at 512 values


class Block(NamedTuple):
    """Some of the rows, as all processes have them at the same time."""

    row_B: Tensor
    """Their numbers."""
    values_BD: Tensor
    first_own: int | None
    """Where they begin among this process's own rows; None where they are another's."""


class SharedRows:
    """N rows, each held by one process; a process that holds all of them asks nobody else for anything."""

    def __init__(self, own_OD: Tensor, owner_N: Tensor | None = None) -> None:
        """`owner_N` is the same on all processes; None: all rows are this process's."""
        self.own_OD = own_OD
        self.is_alone = owner_N is None or collectives.processes() == 1
        if owner_N is None:
            self._rows = [torch.arange(len(own_OD), device=own_OD.device)]
        else:
            self._rows = [(owner_N == owner).nonzero()[:, 0] for owner in range(collectives.processes())]

    @classmethod
    def of(cls, rows: "Tensor | SharedRows") -> "SharedRows":
        """Shared rows as they are; a tensor's rows are all this process's."""
        return cls(rows) if isinstance(rows, Tensor) else rows

    @classmethod
    def dealt(cls, rows_ND: Tensor) -> "SharedRows":
        """Rows that all processes hold, of which each is to work on its share."""
        if collectives.processes() == 1:
            return cls(rows_ND)
        owner_N = torch.arange(len(rows_ND), device=rows_ND.device) % collectives.processes()
        return cls(collectives.own_share(rows_ND), owner_N)

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    @property
    def row_O(self) -> Tensor:
        """(O,) the numbers of this process's rows."""
        return self._rows[0 if self.is_alone else collectives.rank()]

    def at(self, row_B: Tensor) -> Tensor:
        """(B, D) float32: any of the rows, also those of other processes; together."""
        if self.is_alone:
            return self.own_OD[row_B].float()
        place_N = row_B.new_full((len(self),), -1)
        place_N[self.row_O] = torch.arange(len(self.own_OD), device=row_B.device)
        place_B = place_N[row_B]
        values_BD = torch.zeros(len(row_B), self.own_OD.shape[1], device=row_B.device)
        values_BD[place_B >= 0] = self.own_OD[place_B[place_B >= 0]].float()
        return collectives.summed(values_BD)

    def gathered(self, values_O: Tensor) -> Tensor:
        """(N, ...) one value for each row, of one for each own row; together."""
        if self.is_alone:
            return values_O
        values_N = values_O.new_empty(len(self), *values_O.shape[1:])
        parts = collectives.gather_parts(values_O, [len(rows) for rows in self._rows])
        for rows, part in zip(self._rows, parts, strict=True):
            values_N[rows] = part
        return values_N

    def summed(self, numbers: Tensor) -> Tensor:
        """The sum of what each process found of its own rows; together. The tensor given may be overwritten."""
        return numbers if self.is_alone else collectives.summed(numbers)

    def blocks(self) -> Iterator[Block]:
        """All rows, some at a time, process after process; all at once where there is but one; together."""
        if self.is_alone:
            yield Block(self.row_O, self.own_OD, 0)
            return
        for owner, rows in enumerate(self._rows):
            is_own = owner == collectives.rank()
            for first in range(0, len(rows), _ROWS_SENT):
                row_B = rows[first : first + _ROWS_SENT]
                if is_own:
                    values_BD = self.own_OD[first : first + _ROWS_SENT]
                else:
                    values_BD = self.own_OD.new_empty(len(row_B), self.own_OD.shape[1])
                yield Block(row_B, collectives.sent(values_BD, owner), first if is_own else None)
