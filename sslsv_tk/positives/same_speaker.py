"""The oracle: the positive is cut from another recording of the same true speaker. An upper bound, not a method.

"Supervised positive sampling" in Lepage and Dehak, arXiv 2505.14561. Where recordings are not known (no utt2rec) it
may be cut from another utterance of the anchor's very recording. N utterances.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.distributed.shards import part_of, with_part
from sslsv_tk.nn.queue import UtteranceQueue
from sslsv_tk.positives.base import (
    Pass,
    PositiveSampler,
    SamplerFacts,
    check_method_has_positives,
    put_rows,
)

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

    def __init__(self, config: SameSpeakerConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        everyone = np.arange(facts.utterances)
        self._speakers_N = np.asarray(facts.speakers)
        self._recordings_N = everyone if facts.recordings is None else facts.recordings
        if facts.recordings is None:
            _log.warning("same_speaker: the training set has no utt2rec, so positives may be of the same recording")
        self._partner_N = everyone
        self._partner_on_device_N = torch.from_numpy(everyone).to(facts.device)
        self.epoch = -1
        self.keeps_projections = config.source == "queue"
        self._is_filled = not self.keeps_projections
        self._queue: UtteranceQueue | None = None
        if self.keeps_projections:
            check_method_has_positives(self.name, facts)
            shape = (facts.slots, facts.projection_dimension)
            # First in one epoch, last in the next: the newest row of everyone is inside, but for a few that several
            # epochs in turn have left out with their short last batches.
            rows = 2 * facts.utterances
            self._queue = UtteranceQueue(rows, facts.utterances, shape, facts.device)

    def pass_before(self, epoch: int) -> Pass:
        """Everything, once, where positives come from the queue."""
        return "nothing" if self._is_filled or self.epoch >= 0 else "everything"

    def end_pass(self, epoch: int) -> None:
        """The queue holds everyone's projection by one encoder."""
        self._is_filled = True

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Draw the partners of an epoch; says how many utterances have none and keep themselves."""
        everyone = np.arange(self.facts.utterances)
        uniform_N = seeds.uniform(1, self.facts.seed, "same_speaker", epoch, everyone)[:, 0]
        self._partner_N = draw_partners(self._speakers_N, self._recordings_N, uniform_N)
        self._partner_on_device_N = torch.from_numpy(self._partner_N).to(self.facts.device)
        self.epoch = epoch
        return {"without_partner": float((self._partner_N == everyone).sum())}

    def partners(self) -> NDArray[np.int64] | None:
        """(N,) utterance from whose audio the positive is cut: itself where the speaker has no other recording."""
        return self._partner_N if self._queue is None else None

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The positives as they are where the loader cut them from the partners' audio, and whose they are."""
        device, utterance_B = utterance_B.device, utterance_B.to(self.facts.device)
        chosen_B = self._partner_on_device_N[utterance_B]
        if self._queue is None:
            return positives_SBP, chosen_B.to(device)
        is_replaced_B = (chosen_B != utterance_B) & self._queue.holds(chosen_B)
        chosen_B = torch.where(is_replaced_B, chosen_B, utterance_B)
        self._measures = {"queue_age": self._queue.mean_age(chosen_B, is_replaced_B)}
        return put_rows(positives_SBP, self._queue.row_of(chosen_B), is_replaced_B), chosen_B.to(device)

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Queue the projections, where they are positives of others later."""
        if self._queue is not None and positives_SBP is not None:
            self._queue.push(positives_SBP.detach().transpose(0, 1), utterance_B.to(self.facts.device))

    def whole_state(self) -> dict[str, Any]:
        """The epoch, from which the partners follow, and the queue."""
        state = {"epoch": self.epoch, "utterances": self.facts.utterances}
        if self._queue is None:
            return state
        return {**state, "is_filled": self._is_filled, **with_part("queue", self._queue.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw the partners of the saved epoch again."""
        if state.get("utterances") != self.facts.utterances:
            raise ValueError(
                f"Expected the state of the positives same_speaker for {self.facts.utterances} utterances, found "
                f"{dict(state)!r:.80}. Resume with the training set and the positives that the run was started with."
            )
        self._check_names(state)
        if self._queue is not None:
            self._queue.load_state_dict(part_of(state, "queue"))
            self._is_filled = bool(state["is_filled"])
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
