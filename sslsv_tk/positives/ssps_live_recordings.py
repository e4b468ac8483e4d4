"""Live pseudo-positives from the nearest recordings: for corpora that say which utterances were cut from one recording.

VoxCeleb's folders do so, without saying whose recording it is. The utterances of a recording have one speaker and one
channel, so the mean of their reference embeddings tells both better than any of them, and no pseudo-positive is
of the anchor's own channel. A recording's candidates are the k
others whose means are nearest, with `mutual` those of them that count it among their own k nearest; an utterance
draws one of them, and any utterance of it. The search compares recordings with recordings, not utterances.
N utterances, G recordings, k nearest, D embedding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.clustering.members import ClusterMembers
from sslsv_tk.clustering.shared_rows import SharedRows
from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_live_knn import SSPSLiveKNN, SSPSLiveKNNConfig, draw_accepted


@dataclass(frozen=True, kw_only=True)
class SSPSLiveRecordingsConfig(SSPSLiveKNNConfig):
    """Settings of the sampler: those of ssps_live_knn, about recordings."""

    nearest: int = 1
    """k, candidates of a recording."""


class SSPSLiveRecordings(SSPSLiveKNN):
    """Pseudo-positives from the audio of an utterance of one of the nearest recordings."""

    Config = SSPSLiveRecordingsConfig
    needs_recordings = True
    points_are = "recordings"

    def __init__(self, config: SSPSLiveRecordingsConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self._recording_N = torch.from_numpy(np.asarray(facts.recordings)).long().to(facts.device)

    def _count_points(self) -> int:
        return len(np.unique(np.asarray(self.facts.recordings)))

    def _draw(self, rows: Tensor, points: SharedRows) -> tuple[Tensor, Tensor] | None:
        codes_G, recording_N = self._recording_N[rows].unique(return_inverse=True)  # of those seen, without gaps
        if len(codes_G) <= self.config.nearest:
            return None
        points_OD = points.own_OD.float()
        sums_GD = torch.zeros(len(codes_G), points_OD.shape[1], device=points_OD.device)
        sums_GD = points.summed(sums_GD.index_add_(0, recording_N[points.row_O], points_OD))
        nearest_GK, accepted_GK = self._candidates(SharedRows.dealt(normalize(sums_GD, dim=1)))
        recording_uniform_N, member_uniform_N = self._uniform(rows, 2)
        nearest_NK, accepted_NK = nearest_GK[recording_N], accepted_GK[recording_N]
        drawn_N = draw_accepted(nearest_NK, accepted_NK, recording_uniform_N, self.config.weights, self.config.decay)
        everyone = torch.arange(len(rows), device=rows.device)
        member_N = ClusterMembers(recording_N, len(codes_G)).draw(drawn_N.clamp(min=0), member_uniform_N, everyone)
        return torch.where(drawn_N >= 0, member_N, -1), accepted_NK.sum(1)
