"""Log-mel frames of whole utterances and of their offline copies, the same bits whatever the number of jobs.

Batches are formed on the whole list, in blocks of fixed size, before the blocks are dealt to jobs, and hold utterances
of about one length. Shapes: B utterances, T samples of the longest, L frames, N points of a transform, F bands.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.blocks import BLOCK
from sslsv_tk.corpora.copy_tables import CopyTable, Drawn
from sslsv_tk.draws.augmentation import ClipList
from sslsv_tk.frontend.augmentation import POWER_FLOOR, add_noise, to_float
from sslsv_tk.frontend.logmel import LogMel
from sslsv_tk.frontend.reverberation import reverberate
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.kaldi.directories import find_rows
from sslsv_tk.kaldi.tables import first_words, text
from sslsv_tk.packing.feature_folder import FeatureSource

_MOST_SAMPLES = 16_000 * 240  # of a batch, the zeros after shorter utterances included: bounds memory
_FRAMES_AT_A_TIME = 4096  # that are transformed together: 8 MB, which stay in the cache


class FeatureMaker:
    """Computes un-normalised frames of the utterances of a source, block by block of its list."""

    def __init__(
        self, source: FeatureSource, config: LogMelConfig, device: torch.device, power_floor: float = POWER_FLOOR
    ) -> None:
        """`power_floor`: see `add_noise`."""
        self.power_floor = power_floor
        self.source, self.archive, self.device = source, source.archive, device
        self.logmel = LogMel(config).to(device)
        self.clips: ClipList | None = None
        self.samples = self.archive.samples[source.rows]
        shortest = int(self.samples.argmin())
        if self.samples[shortest] <= config.transform_points // 2:
            raise ValueError(
                f"{text(source.keys[shortest])} has {self.samples[shortest]} samples; the front end needs more than"
                f" {config.transform_points // 2}. Remove such utterances from the list."
            )
        if source.copy is not None and source.kind is not None and source.clip_folder is not None:
            clips = AudioArchive(source.clip_folder)
            clips.compares = True
            self.clips = ClipList([clips])
            self._table = CopyTable(source.copy, clips.keys)
            self._lines = find_rows(self._table.keys, source.keys)
            if (self._lines < 0).any():
                lacking = source.keys[self._lines < 0]
                raise ValueError(
                    f"{source.copy} lacks {len(lacking)} copies of utterances of {source.audio}"
                    f" ({first_words(lacking)}). Run stage 2 with --force true."
                )

    @torch.no_grad()
    def block(self, start: int) -> Iterator[NDArray[np.float32]]:
        """(L, F) frames of each utterance of the block that begins at row `start` of the list, in order."""
        rows = np.arange(start, min(start + BLOCK, len(self.samples)))
        drawn = None if self.clips is None else self._table.read(self._lines[rows])
        found: dict[int, NDArray[np.float32]] = {}
        for batch in batches_of_like_length(self.samples[rows]):
            waveform_BT, samples_B = self._waveforms(rows[batch])
            if drawn is not None:
                waveform_BT = self._augment(waveform_BT, samples_B, drawn.select(batch))
            frames = self._frames(waveform_BT, self.samples[rows[batch]].tolist())
            found.update(zip(batch.tolist(), frames, strict=True))
        for place in range(len(rows)):
            yield found[place]

    def _waveforms(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(B, T) waveforms, zeros after the end of each, and their lengths, on the device."""
        samples = self.samples[rows]
        padded = np.zeros((len(rows), int(samples.max())), dtype=np.int16)
        for place, (row, count) in enumerate(zip(self.source.rows[rows].tolist(), samples.tolist(), strict=True)):
            padded[place, :count] = self.archive.read(row, 0, count)
        return to_float(torch.from_numpy(padded).to(self.device)), torch.from_numpy(samples).to(self.device)

    def _augment(self, waveform_BT: Tensor, samples_B: Tensor, drawn: Drawn) -> Tensor:
        """Reverberation of the whole utterance, then the sum of the clips at one SNR against it."""
        assert self.clips is not None
        if (drawn.response_B >= 0).any():
            count = int(self.clips.samples[drawn.response_B].max())
            responses = np.stack([self.clips.read_padded(row, count) for row in drawn.response_B.tolist()])
            waveform_BT = reverberate(waveform_BT, to_float(torch.from_numpy(responses).to(self.device)))
            places_T = torch.arange(waveform_BT.shape[1], device=self.device)
            waveform_BT = torch.where(places_T < samples_B[:, None], waveform_BT, 0.0)
        if (drawn.clip_BK >= 0).any():
            noise_BT = np.zeros(waveform_BT.shape, dtype=np.int32)
            for place, count in enumerate(samples_B.tolist()):
                for clip, first in zip(drawn.clip_BK[place].tolist(), drawn.start_BK[place].tolist(), strict=True):
                    if clip >= 0:
                        noise_BT[place, :count] += self.clips.read_looped(clip, first, count)
            noise = torch.from_numpy(noise_BT).to(self.device).float() / -torch.iinfo(torch.int16).min
            snr_B = torch.from_numpy(drawn.snr_B).to(self.device)
            waveform_BT = add_noise(waveform_BT, noise, snr_B, samples_B, self.power_floor)
        return waveform_BT

    def _frames(self, waveform_BT: Tensor, samples: list[int]) -> list[NDArray[np.float32]]:
        """The frames of each waveform, cut to its own length before its ends are mirrored."""
        points, shift = self.logmel.config.transform_points, self.logmel.config.shift
        ends = [
            self.logmel.mirror(waveform[None, :count])[0] for waveform, count in zip(waveform_BT, samples, strict=True)
        ]
        stretches = [end.unfold(-1, points, shift) for end in ends]
        found_XF = [self.logmel.of_windows(part) for part in _parts_of(stretches, _FRAMES_AT_A_TIME)]
        counts = [len(stretch) for stretch in stretches]
        frames = torch.cat(found_XF).cpu().numpy()
        return np.split(frames, np.cumsum(counts)[:-1])


def _parts_of(stretches: list[Tensor], size: int) -> Iterator[Tensor]:
    """The rows of all stretches, `size` at a time: (size, N)."""
    waiting: list[Tensor] = []
    count = 0
    for stretch in stretches:
        while count + len(stretch) >= size:
            taken = size - count
            yield torch.cat([*waiting, stretch[:taken]])
            stretch, waiting, count = stretch[taken:], [], 0
        waiting.append(stretch)
        count += len(stretch)
    if count:
        yield torch.cat(waiting)


def batches_of_like_length(samples: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places of a block from the shortest to the longest, in batches of bounded size, zeros included."""
    order = np.argsort(samples, kind="stable")
    begin = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - begin) * samples[order[end]] > _MOST_SAMPLES:
            yield order[begin:end]
            begin = end
