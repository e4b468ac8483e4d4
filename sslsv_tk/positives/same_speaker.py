"""The oracle: the positive is cut from another recording of the same true speaker. An upper bound, not a method.

"Supervised positive sampling" in Lepage and Dehak, arXiv 2505.14561. N utterances.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts


@dataclass(frozen=True)
class SameSpeakerConfig:
    """Nothing to set."""


class SameSpeaker(PositiveSampler):
    """Partners of the same speaker from another recording, drawn anew at every epoch."""

    Config = SameSpeakerConfig
    needs_labels: ClassVar[bool] = True

    def __init__(self, config: SameSpeakerConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        everyone = np.arange(facts.utterances)
        self._speakers_N = np.asarray(facts.speakers)
        self._recordings_N = everyone if facts.recordings is None else facts.recordings
        self._partner_N = everyone
        self._partner_on_device_N = torch.from_numpy(everyone).to(facts.device)
        self.epoch = -1

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Draw the partners of an epoch; says how many utterances have none and keep themselves."""
        everyone = np.arange(self.facts.utterances)
        uniform_N = seeds.uniform(1, self.facts.seed, "same_speaker", epoch, everyone)[:, 0]
        self._partner_N = draw_partners(self._speakers_N, self._recordings_N, uniform_N)
        self._partner_on_device_N = torch.from_numpy(self._partner_N).to(self.facts.device)
        self.epoch = epoch
        return {"without_partner": float((self._partner_N == everyone).sum())}

    def partners(self) -> NDArray[np.int64]:
        """(N,) utterance from whose audio the positive is cut: itself where the speaker has no other recording."""
        return self._partner_N

    def replace(self, positives_SBP: Tensor, utterance_B: Tensor) -> tuple[Tensor, Tensor]:
        """The positives as they are, since the loader cut them from the partners' audio, and whose they are."""
        return positives_SBP, self._partner_on_device_N[utterance_B.to(self.facts.device)].to(utterance_B.device)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, from which the partners follow."""
        return {"epoch": self.epoch, "utterances": self.facts.utterances}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw the partners of the saved epoch again."""
        if state.get("utterances") != self.facts.utterances:
            raise ValueError(
                f"Expected the state of the positives same_speaker for {self.facts.utterances} utterances, found "
                f"{dict(state)!r:.80}. Resume with the training set and the positives that the run was started with."
            )
        if int(state["epoch"]) >= 0:
            self.start_epoch(int(state["epoch"]))


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
