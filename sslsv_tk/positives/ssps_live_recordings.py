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
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.sampling.candidates import CandidateConfig, find_candidates
from sslsv_tk.sampling.filling import Filling
from sslsv_tk.sampling.partners import Partners
from sslsv_tk.sampling.references import References


@dataclass(frozen=True, kw_only=True)
class SSPSLiveRecordingsConfig(CandidateConfig):
    """Settings of the sampler: those of candidates among recordings."""

    nearest: int = 1
    """k, candidates of a recording."""


class SSPSLiveRecordings(PositiveSampler):
    """Pseudo-positives from the audio of an utterance of one of the nearest recordings."""

    Config = SSPSLiveRecordingsConfig
    config: SSPSLiveRecordingsConfig
    needs_recordings = True
    keeps_projections = False
    references: References
    drawn: Partners

    def __init__(self, config: SSPSLiveRecordingsConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self._recording_N = torch.from_numpy(np.asarray(facts.recordings)).long().to(facts.device)
        config.check_points(len(self._recording_N.unique()), "recordings")
        self.filling = Filling("references", config.filling, config.refresh)
        self.references = References(config, facts)
        self.drawn = Partners(facts)

    def draw(self, epoch: int) -> dict[str, float]:
        """Find the candidates of every recording seen, and draw one of them and one of its utterances."""
        rows, points = self.references.collect()
        numbers = {"seen_share": len(rows) / self.facts.utterances}
        self.drawn.forget()
        codes_G, recording_N = self._recording_N[rows].unique(return_inverse=True)  # of those seen, without gaps
        if len(codes_G) <= self.config.nearest:
            return numbers
        means_GD = directions(points, recording_N, len(codes_G))
        found = find_candidates(SharedRows.dealt(means_GD), self.config).at(recording_N)
        recording_uniform_N, member_uniform_N = self.facts.uniform(2, self.name, epoch)[:, rows]
        drawn_N = found.draw(recording_uniform_N, self.config.weights, self.config.decay)
        members = ClusterMembers(recording_N, len(codes_G))
        everyone = torch.arange(len(rows), device=rows.device)
        member_N = members.draw(members.spans(drawn_N, everyone), member_uniform_N)
        self.drawn.take_among(rows, member_N)
        return {**numbers, "candidates": found.mean_count}


def directions(points: SharedRows, recording_N: Tensor, recordings: int) -> Tensor:
    """(G, D) unit rows, the same on all processes: the mean of each recording's points; all together."""
    points_OD = points.own_OD.float()
    sums_GD = torch.zeros(recordings, points_OD.shape[1], device=points_OD.device)
    sums_GD.index_add_(0, recording_N[points.row_O], points_OD)
    return normalize(points.summed(sums_GD), dim=1)
