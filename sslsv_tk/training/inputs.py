"""From the loader's batches to what the encoder eats: copy to the device, look clips up, front end."""

import logging
import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.draws.augmentation import Augmentation, ClipList
from sslsv_tk.frontend.augmentation import ClipPool
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.loading.datasets import Batch, View

_DEVICE_SHARE = 0.15  # of free memory that noises and responses may take
_log = logging.getLogger("train")


def free_memory(device: torch.device) -> int:
    """Free bytes of the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def keep_on_device(augmentation: Augmentation, device: torch.device) -> bool:
    """Should the clips lie on the device? `auto`: when they take under 15 % of its free memory."""
    choice = augmentation.config.on_device
    size = 2 * sum(int(clips.samples.sum()) for clips in (augmentation.noises, augmentation.responses) if clips)
    decision = choice == "true" or (choice == "auto" and size < _DEVICE_SHARE * free_memory(device))
    _log.info("noises and responses: %.0f MB, %s", size / 1e6, "on the device" if decision else "read by the loader")
    return decision


def pool(clips: ClipList | None, device: torch.device) -> ClipPool | None:
    """All clips in one array on the device."""
    if clips is None:
        return None
    whole: list[NDArray[np.int16]] = [clips.read_looped(r, 0, int(n)) for r, n in enumerate(clips.samples)]
    return ClipPool(whole, device)


class Inputs:
    """Makes the encoder's input of each view of a batch; the same whether clips lie on the device or were read."""

    def __init__(
        self, front_end: FrontEnd, device: torch.device, augmentation: Augmentation | None, on_device: bool
    ) -> None:
        """`on_device`: noises and responses lie on the device and come as numbers; else as samples."""
        self.front_end = front_end.to(device)
        self.device = device
        self.noises = self.responses = None
        self._response_samples = 0
        if augmentation is not None and on_device:
            self.noises = pool(augmentation.noises, device)
            self.responses = pool(augmentation.responses, device)
            if augmentation.responses is not None:
                self._response_samples = int(augmentation.responses.samples.max())

    def prepare(self, batch: Batch) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Views in plan order, utterance numbers, and the references' input, of a batch that is on the device.

        Audio goes through the whole front end, features through its normalisation alone.
        """
        references = [self._input(view) for view in batch.references]
        return [self._input(view) for view in batch.views], batch.utterance_B, references

    def _input(self, view: View) -> Tensor:
        if view.frames_BLF is not None:
            return self.front_end.normalised(view.frames_BLF)
        assert view.segment_BT is not None
        count = view.segment_BT.shape[1]
        noise_BT, response_BR = view.noise_BT, view.response_BR
        if self.noises is not None and view.noise_row_B is not None and view.noise_start_B is not None:
            noise_BT = self.noises.cut(view.noise_row_B, view.noise_start_B, count)
        if self.responses is not None and view.response_row_B is not None:
            response_BR = self.responses.whole(view.response_row_B, self._response_samples)
        input_BX: Tensor = self.front_end(view.segment_BT, noise_BT, view.snr_B, response_BR)
        return input_BX
