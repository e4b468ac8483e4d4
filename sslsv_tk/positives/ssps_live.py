"""Live pseudo-positives: SSPS that cuts the positive from the chosen utterance's audio, not from a queue.

The clusters of an epoch, and with them every choice, are known when the epoch starts (equations 3 to 6 of Lepage and
Dehak, arXiv 2505.14561, see ssps_kmeans), so the loader can read the chosen utterance itself. Its segment is augmented
and encoded as any other: the positive is never out of date, the gradient flows through both sides, and no queue of
projections is needed. N utterances, B batch, S positive slots, P projection, D embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sslsv_tk.clustering.members import ClusterMembers
from sslsv_tk.clustering.reference_clusters import ClusterConfig
from sslsv_tk.positives.base import ClusterSampler, LiveSampler


@dataclass(frozen=True, kw_only=True)
class SSPSLiveConfig(ClusterConfig):
    """Settings of the sampler: those of the clusters; the defaults are the paper's for VoxCeleb2."""


class SSPSLive(ClusterSampler, LiveSampler):
    """Pseudo-positives from the audio of a member of the same or a nearby cluster of reference embeddings."""

    Config = SSPSLiveConfig

    def _prepare(self) -> None:
        """The partners of an epoch follow from its clusters and (seed, epoch)."""
        everyone = torch.arange(self.facts.utterances, device=self.facts.device)
        members = ClusterMembers(self.references.assignments_N, self.references.clusters)
        cluster_N, uniform_N = self.references.draw(self.epoch)
        drawn_N = members.draw(cluster_N.clamp(min=0), uniform_N, everyone)
        self._partner_N = torch.where((cluster_N >= 0) & (drawn_N >= 0), drawn_N, everyone)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same training set and clusters stopped."""
        super().load_state_dict(state)
        if self.epoch >= 0:
            self._prepare()
