"""Batches of segments for training: what a loader worker makes of a request.

Shapes: B utterances of a batch, T samples of a segment, R samples of a room response; L frames, F bands.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.arks.feature_archive import CopiedFeatures
from sslsv_tk.draws.augmentation import Augmentation, ClipList, Draws, unit_gain
from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.segments import Segment, SegmentPlan


@dataclass
class View:
    """One segment of each utterance of a batch, and how to augment it.

    It is audio, or un-normalised frames that were computed before. The noise and the response come either as numbers
    (the clips lie on the device) or as samples; frames were augmented when they were computed.
    """

    segment_BT: Tensor | None = None  # int16
    frames_BLF: Tensor | None = None  # float32
    noise_row_B: Tensor | None = None
    noise_start_B: Tensor | None = None
    snr_B: Tensor | None = None  # dB; +inf: no noise
    response_row_B: Tensor | None = None  # -1: none
    response_samples_B: NDArray[np.int64] | None = None  # that reach the segment, 0: no response; stays on the host
    noise_BT: Tensor | None = None  # int16
    response_BR: Tensor | None = None  # int16, as far as it reaches
    response_gain_B: Tensor | None = None  # gives the whole response unit energy

    def take(self, draws: Draws, augmentation: Augmentation) -> None:
        """Put the numbers of the draws into the view, as far as there are lists."""
        if augmentation.noises is not None:
            self.snr_B = torch.from_numpy(draws.snr)
            self.noise_row_B, self.noise_start_B = torch.from_numpy(draws.noise), torch.from_numpy(draws.noise_start)
        if augmentation.responses is not None:
            self.response_row_B = torch.from_numpy(np.array(draws.response))


@dataclass
class Batch:
    """The segments of a batch of utterances, in the order of the method's segment plan."""

    utterance_B: Tensor
    views: list[View]
    references: list[View] = dataclasses.field(default_factory=list)

    def pin_memory(self) -> "Batch":
        """In memory from which a copy to the GPU need not be waited for."""
        return self.replaced(lambda tensor: tensor.pin_memory(), Tensor)

    def to(self, device: torch.device) -> "Batch":
        """All tensors on `device`."""
        return self.replaced(lambda tensor: tensor.to(device, non_blocking=True), Tensor)

    def tensors(self) -> list[Tensor]:
        """All that it consists of, but for what stays on the host."""
        found: list[Tensor] = []
        self.replaced(found.append, Tensor)
        return found

    def replaced(self, change: Callable[[Any], Any], kind: type) -> "Batch":
        """A batch with `change(value)` for each of its values of a kind."""

        def view(old: View) -> View:
            values = {f.name: getattr(old, f.name) for f in dataclasses.fields(View)}
            return dataclasses.replace(old, **{name: change(v) for name, v in values.items() if isinstance(v, kind)})

        utterance_B = change(self.utterance_B) if isinstance(self.utterance_B, kind) else self.utterance_B
        return Batch(utterance_B, [view(v) for v in self.views], [view(v) for v in self.references])


class TrainingSegments:
    """Cuts the segments of a plan by byte ranges, anew in every epoch.

    A segment of the side "both" is cut once while positives come from the utterance itself; with partners it is cut
    from the utterance, and once more from the partner, the latter after all others.
    """

    def __init__(self, plan: SegmentPlan, seed: int, references: SegmentPlan = ()) -> None:
        """`references`: the segments that positive samplers compare, cut after those of the plan."""
        self.plan, self.seed, self.references = plan, seed, references

    def __getitem__(self, request: BatchRequest) -> Batch:
        """The batch of a request."""
        views = self._views(request) if request.with_views else []
        references = [
            self._view(request, request.utterance_B, segment, -1 - number)
            for number, segment in enumerate(self.references if request.with_references else ())
        ]
        return Batch(torch.from_numpy(request.utterance_B.astype(np.int64)), views, references)

    def _views(self, request: BatchRequest) -> list[View]:
        """A view for each segment of the plan, and after them the second cuts, from partners."""
        partner_B = request.utterance_B if request.partner_B is None else request.partner_B
        sources = [partner_B if segment.side == "positive" else request.utterance_B for segment in self.plan]
        segments = list(self.plan)
        if request.partner_B is not None:
            twice = [segment for segment in self.plan if segment.side == "both"]
            segments += twice
            sources += [partner_B] * len(twice)
        return [
            self._view(request, source_B, segment, number)
            for number, (source_B, segment) in enumerate(zip(sources, segments, strict=True))
        ]

    def _view(self, request: BatchRequest, source_B: NDArray[np.int64], segment: Segment, number: int) -> View:
        """View `number` (below 0: a reference) of each utterance, cut from the utterances `source_B`."""
        raise NotImplementedError

    def _starts(
        self, request: BatchRequest, lengths_B: NDArray[np.int64], count: int, number: int
    ) -> NDArray[np.int64]:
        """(B,) first sample or frame of each segment of `count`, uniform over the places where it fits."""
        u = seeds.uniform(1, self.seed, "segment", request.epoch, request.utterance_B, number)[:, 0]
        return seeds.choose(np.maximum(lengths_B - count, 0) + 1, u)


class TrainingAudio(TrainingSegments):
    """Segments of packed audio, with what they are to be augmented with."""

    def __init__(
        self,
        archive: AudioArchive,
        plan: SegmentPlan,
        seed: int,
        augmentation: Augmentation | None = None,
        references: SegmentPlan = (),
        read_clips: bool = False,
    ) -> None:
        """`read_clips`: read noises and responses here, since they do not lie on the device."""
        super().__init__(plan, seed, references)
        self.archive, self.augmentation, self.read_clips = archive, augmentation, read_clips

    def __len__(self) -> int:
        return len(self.archive)

    def _view(self, request: BatchRequest, source_B: NDArray[np.int64], segment: Segment, number: int) -> View:
        start_B = self._starts(request, self.archive.samples[source_B], segment.samples, number)
        view = View(torch.from_numpy(self.archive.read_segments(source_B, start_B, segment.samples)))
        if segment.augmented and self.augmentation is not None:
            draws = self.augmentation.draw(self.seed, request.epoch, request.utterance_B, number)
            self._augment(view, draws, segment.samples)
        return view

    def _augment(self, view: View, draws: Draws, samples: int) -> None:
        """Put the draws, or the clips that they name, into the view."""
        assert self.augmentation is not None
        noises, responses = self.augmentation.noises, self.augmentation.responses
        view.take(draws, self.augmentation)
        if noises is not None and self.read_clips:
            view.noise_BT = torch.from_numpy(noises.read_segments(draws.noise, draws.noise_start, samples))
        if responses is not None:
            lengths_B = np.where(draws.response < 0, 0, responses.samples[draws.response])
            view.response_samples_B = np.minimum(lengths_B, samples)
            if self.read_clips:
                self._read_responses(view, responses, draws.response)

    @staticmethod
    def _read_responses(view: View, responses: ClipList, row_B: NDArray[np.int64]) -> None:
        """As far as they may reach, and the gain that all of each one gives: a long one is read whole where drawn."""
        assert view.response_samples_B is not None and view.segment_BT is not None
        widest = min(int(responses.samples.max()), view.segment_BT.shape[1])
        response_BR = np.zeros((len(row_B), widest), dtype=np.int16)
        gain_B = np.zeros(len(row_B), dtype=np.float32)
        for place, (row, reach) in enumerate(zip(row_B.tolist(), view.response_samples_B.tolist(), strict=True)):
            if row >= 0:
                whole = responses.read_looped(row, 0, int(responses.samples[row]))
                response_BR[place, :reach], gain_B[place] = whole[:reach], unit_gain(whole)
        view.response_BR, view.response_gain_B = torch.from_numpy(response_BR), torch.from_numpy(gain_B)


class TrainingFeatures(TrainingSegments):
    """Segments of features: augmented ones from offline copies, different ones of an utterance, others clean.

    With an augmentation all are clean, and augmented ones carry draws: which noise and response their frames get.
    """

    def __init__(
        self,
        features: CopiedFeatures,
        plan: SegmentPlan,
        seed: int,
        count_frames: Callable[[int], int],
        references: SegmentPlan = (),
        augmentation: Augmentation | None = None,
    ) -> None:
        """`count_frames`: how many frames the front end makes of so many samples."""
        super().__init__(plan, seed, references)
        self.features, self.count_frames, self.augmentation = features, count_frames, augmentation
        cut = [*plan, *(segment for segment in plan if segment.side == "both")]
        self._turns = np.cumsum([0, *(segment.augmented for segment in cut)])  # augmented segments before each

    def __len__(self) -> int:
        return len(self.features.clean)

    def _view(self, request: BatchRequest, source_B: NDArray[np.int64], segment: Segment, number: int) -> View:
        features, count = self.features, self.count_frames(segment.samples)
        start_B = self._starts(request, features.clean.frames[source_B], count, number).tolist()
        rows = source_B.tolist()
        if segment.augmented and features.names:
            copy_B = features.draw(self.seed, request.epoch, request.utterance_B, int(self._turns[number])).tolist()
            places = zip(copy_B, rows, start_B, strict=True)
            cuts = [features.read_looped(copy, row, start, count) for copy, row, start in places]
        else:
            cuts = [features.clean.read_looped(row, start, count) for row, start in zip(rows, start_B, strict=True)]
        view = View(frames_BLF=torch.from_numpy(np.stack(cuts)))
        if segment.augmented and self.augmentation is not None:
            draws = self.augmentation.draw(self.seed, request.epoch, request.utterance_B, number)
            view.take(draws, self.augmentation)
        return view
