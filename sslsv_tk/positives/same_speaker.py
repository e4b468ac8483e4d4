"""The oracle: the positive is cut from another recording of the same true speaker. An upper bound, not a method.

"Supervised positive sampling" in Lepage and Dehak, arXiv 2505.14561. Where recordings are not known (no utt2rec) it
may be cut from another utterance of the anchor's very recording. N utterances.
"""

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.sampling.filling import Filling
from sslsv_tk.sampling.partners import Partners
from sslsv_tk.sampling.queue import PositiveQueue

_log = logging.getLogger("train")


@dataclass(frozen=True)
class SameSpeakerConfig:
    """Settings of the oracle."""

    source: Literal["audio", "queue"] = "audio"
    """Where the positive comes from: cut from the partner's audio, or the partner's projection of when it was last
    trained on, a constant. The difference is what SSPS loses by its queue, apart from wrong choices."""


class SameSpeaker(PositiveSampler):
    """Partners of the same speaker from another recording, drawn anew at every epoch."""

    Config = SameSpeakerConfig
    needs_labels: ClassVar[bool] = True
    drawn: Partners

    def __init__(self, config: SameSpeakerConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self._speakers_N = np.asarray(facts.speakers)
        self._recordings_N = np.arange(facts.utterances) if facts.recordings is None else facts.recordings
        if facts.recordings is None:
            _log.warning("same_speaker: the training set has no utt2rec, so positives may be of the same recording")
        self.drawn = Partners(facts)
        self.queue: PositiveQueue | None = None
        self.keeps_projections = config.source == "queue"
        if self.keeps_projections:
            self.filling = Filling("everything")
            # First in one epoch, last in the next: the newest row of everyone is inside, but for a few that several
            # epochs in turn have left out with their short last batches.
            self.queue = PositiveQueue(2 * facts.utterances, facts)

    def draw(self, epoch: int) -> dict[str, float]:
        """Draw the partners of an epoch; says how many utterances have none and keep themselves."""
        uniform_N = self.facts.uniform(1, self.name, epoch)[0].cpu().numpy()
        partner_N = draw_partners(self._speakers_N, self._recordings_N, uniform_N)
        self.drawn.take(torch.from_numpy(partner_N).to(self.facts.device))
        return {"without_partner": float((partner_N == np.arange(len(partner_N))).sum())}

    def partners(self) -> NDArray[np.int64] | None:
        """(N,) utterance from whose audio the positive is cut: itself where the speaker has no other recording."""
        return super().partners() if self.queue is None else None

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The positives as they are where the loader cut them from the partners' audio, and whose they are."""
        positives_SBP, partner_B = super().replace(positives_SBP, utterance_B)
        if self.queue is None:
            return positives_SBP, partner_B
        is_queued_B = (partner_B != utterance_B) & self.queue.holds(partner_B)
        drawn_B = torch.where(is_queued_B, partner_B, -1)
        replaced_SBP, chosen_B, age = self.queue.replace(positives_SBP, utterance_B, drawn_B)
        self.measure(queue_age=age)
        return replaced_SBP, chosen_B

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Queue the projections, where they are positives of others later."""
        if self.queue is not None and positives_SBP is not None:
            self.queue.push(positives_SBP, utterance_B)


def draw_partners(
    speakers_N: NDArray[np.integer], recordings_N: NDArray[np.integer], uniform_N: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(N,) for each utterance one of the same speaker from another recording, uniform; itself where there is none.

    Sorted by speaker and recording, those to choose from are a speaker's block without a recording's block in it:

        speaker    a a a a a a a      of the anchor x in recording 2 the candidates are the four other places;
        recording  1 1 2 2 2 3 3      a rank in 0..3 that is not below the block's start skips the block
        anchor         x
    """
    order = np.lexsort((recordings_N, speakers_N))
    speaker, recording = speakers_N[order], recordings_N[order]
    new_speaker = np.r_[True, speaker[1:] != speaker[:-1]]
    start, end = _blocks(new_speaker)
    block_start, block_end = _blocks(new_speaker | np.r_[True, recording[1:] != recording[:-1]])
    block = block_end - block_start
    candidates = end - start - block
    rank = start + seeds.choose(np.maximum(candidates, 1), uniform_N[order])
    place = np.where(rank >= block_start, rank + block, rank)
    place = np.where(candidates > 0, place, np.arange(len(order)))
    partner_N = np.empty(len(order), dtype=np.int64)
    partner_N[order] = order[place]
    return partner_N


def _blocks(is_first_N: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) first place of the block that each place lies in, and the place after its last."""
    starts = np.flatnonzero(is_first_N)
    ends = np.r_[starts[1:], len(is_first_N)]
    which = np.cumsum(is_first_N) - 1
    return starts[which], ends[which]
