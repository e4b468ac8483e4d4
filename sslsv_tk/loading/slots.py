"""Memory for batches that processes share and use again and again: no batch makes a file, a mapping or new pages.

    | slot 0                                | slot 1          | ... each a whole number of pages
    | segment_BT | pad | noise_row_B | pad  | segment_BT ...  |     a tensor begins at a multiple of 64 bytes

It is no file in /dev/shm, which containers keep small.
"""

import logging
import mmap
import pickle
from dataclasses import dataclass

import torch
from torch import Tensor

from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.loading.datasets import Batch

_ALIGNMENT = 64
_PAGE = mmap.PAGESIZE
_log = logging.getLogger("train")


@dataclass(frozen=True)
class _Place:
    """Where in its slot a tensor of a batch lies."""

    begin: int
    dtype: torch.dtype
    shape: torch.Size


def bytes_of(batch: Batch, rows: int) -> int:
    """Bytes of a slot for batches of so many utterances, when `batch` is one of one utterance."""
    return sum(tensor.numel() * tensor.element_size() * rows + _ALIGNMENT for tensor in batch.tensors())


class Slots:
    """`count` slots of `size` bytes, made before the processes that share them."""

    def __init__(self, count: int, size: int, requests: int = 1 << 16) -> None:
        """`requests`: bytes that a request may have, which lies in the slot before its batch does."""
        self.count, self.size = count, -(-max(size, requests) // _PAGE) * _PAGE
        self._bytes = torch.frombuffer(mmap.mmap(-1, self.count * self.size), dtype=torch.uint8)
        self._is_pinned = False

    def pin(self) -> None:
        """For copies to the GPU that need not be waited for. To be called when the processes have begun."""
        status = torch.cuda.cudart().cudaHostRegister(self._bytes.data_ptr(), self._bytes.numel(), 0)
        self._is_pinned = int(status) == 0
        if not self._is_pinned:
            _log.warning("the memory of batches cannot be pinned (CUDA error %s), so copies are waited for", status)

    def unpin(self) -> None:
        """Before the memory goes."""
        if self._is_pinned:
            torch.cuda.cudart().cudaHostUnregister(self._bytes.data_ptr())
            self._is_pinned = False

    def ask(self, slot: int, request: BatchRequest) -> int:
        """Leave a request in a slot, and return its bytes."""
        words = pickle.dumps(request)
        self._slot(slot)[: len(words)] = torch.frombuffer(bytearray(words), dtype=torch.uint8)
        return len(words)

    def asked(self, slot: int, count: int) -> BatchRequest:
        """The request of so many bytes that lies in a slot."""
        request: BatchRequest = pickle.loads(self._slot(slot)[:count].numpy().tobytes())
        return request

    def write(self, slot: int, batch: Batch) -> Batch:
        """Copy a batch into a slot; returns what `read` needs, small enough to be sent."""
        end = 0

        def put(tensor: Tensor) -> _Place:
            nonlocal end
            place = _Place(end, tensor.dtype, tensor.shape)
            self._at(slot, place).copy_(tensor)
            end += -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT
            return place

        return batch.replaced(put, Tensor)

    def read(self, slot: int, written: Batch) -> Batch:
        """The batch in a slot: its tensors are there, not copied."""
        return written.replaced(lambda place: self._at(slot, place), _Place)

    def _slot(self, slot: int) -> Tensor:
        return self._bytes[slot * self.size : (slot + 1) * self.size]

    def _at(self, slot: int, place: _Place) -> Tensor:
        end = place.begin + place.shape.numel() * place.dtype.itemsize
        if end > self.size:
            raise RuntimeError(f"A batch of {end} bytes or more does not fit a slot of {self.size}.")
        return self._slot(slot)[place.begin : end].view(place.dtype).view(place.shape)
