"""From the loader's batches to what the encoder eats: copy to the device, look clips up, front end."""

import logging
import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.draws.augmentation import Augmentation, ClipList, unit_gain
from sslsv_tk.frontend.clips import ClipPool, Clips, PooledClips, ReadClips, ResponsePool
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.mel_augmentation import MelAugmentation, decays, noise_powers
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


def _whole(clips: ClipList) -> list[NDArray[np.int16]]:
    return [clips.read_looped(row, 0, int(count)) for row, count in enumerate(clips.samples)]


def pool(clips: ClipList | None, device: torch.device) -> ClipPool | None:
    """All noises in one array on the device."""
    return None if clips is None else ClipPool(_whole(clips), device)


def response_pool(clips: ClipList | None, device: torch.device) -> ResponsePool | None:
    """All responses on the device, with the gains that give them unit energy."""
    if clips is None:
        return None
    responses = _whole(clips)
    return ResponsePool(responses, np.array([unit_gain(response) for response in responses], np.float32), device)


def mel_augmentation(augmentation: Augmentation, front_end: FrontEnd) -> MelAugmentation:
    """What augments frames, with the frames of all noises and responses on the device of the front end."""
    logmel, noises, responses = front_end.logmel, augmentation.noises, augmentation.responses
    assert logmel is not None
    made = MelAugmentation(logmel, power_floor=augmentation.config.power_floor)
    if noises is not None:
        made.noises = noise_powers(_whole(noises), logmel)
    if responses is not None:
        clips = _whole(responses)
        made.decays = decays(clips, np.array([unit_gain(clip) for clip in clips], np.float32), logmel)
    return made


class Inputs:
    """Makes the encoder's input of each view of a batch; the same whether clips lie on the device or were read."""

    def __init__(
        self, front_end: FrontEnd, device: torch.device, augmentation: Augmentation | None, on_device: bool
    ) -> None:
        """`on_device`: noises and responses lie on the device and come as numbers; else as samples."""
        self.front_end = front_end.to(device)
        self.device, self.on_device = device, on_device
        self.noises = self.responses = None
        self.mel_augmentation: MelAugmentation | None = None
        if augmentation is not None and augmentation.config.frames == "drawn":
            self.mel_augmentation = mel_augmentation(augmentation, self.front_end)
        elif augmentation is not None and on_device:
            self.noises = pool(augmentation.noises, device)
            self.responses = response_pool(augmentation.responses, device)

    def prepare(self, batch: Batch) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Views in plan order, utterance numbers, and the references' input, of a batch that is on the device.

        Audio goes through the whole front end, features through its normalisation alone.
        """
        references = [self._input(view) for view in batch.references]
        return [self._input(view) for view in batch.views], batch.utterance_B, references

    def _input(self, view: View) -> Tensor:
        if view.frames_BLF is not None:
            return self.front_end.normalised(self._augmented_frames(view.frames_BLF, view))
        assert view.segment_BT is not None
        if view.snr_B is None and view.response_samples_B is None:
            plain_BX: Tensor = self.front_end(view.segment_BT)
            return plain_BX
        return self.front_end.augmented(view.segment_BT, self._clips(view), view.snr_B, view.response_samples_B)

    def _augmented_frames(self, frames_BLF: Tensor, view: View) -> Tensor:
        if self.mel_augmentation is None or (view.snr_B is None and view.response_row_B is None):
            return frames_BLF
        noise = None
        if view.noise_row_B is not None and view.noise_start_B is not None and view.snr_B is not None:
            noise = view.noise_row_B, view.noise_start_B, view.snr_B
        return self.mel_augmentation(frames_BLF, view.response_row_B, noise)

    def _clips(self, view: View) -> Clips:
        if not self.on_device:
            return ReadClips(view.noise_BT, view.response_BR, view.response_gain_B)
        noises = (self.noises, view.noise_row_B, view.noise_start_B)
        return PooledClips(*noises, self.responses, view.response_row_B)
