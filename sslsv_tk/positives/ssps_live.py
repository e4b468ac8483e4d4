"""Live pseudo-positives: SSPS that cuts the positive from the chosen utterance's audio, not from a queue.

The clusters of an epoch, and with them every choice, are known when the epoch starts (equations 3 to 6 of Lepage and
Dehak, arXiv 2505.14561, see ssps_kmeans), so the loader can read the chosen utterance itself. Its segment is augmented
and encoded as any other: the positive is never out of date, the gradient flows through both sides, and no queue of
projections is needed. N utterances, B batch, S positive slots, P projection, D embedding.
"""

from dataclasses import dataclass

from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.sampling.clusters import ClusterConfig, Clusters
from sslsv_tk.sampling.filling import Filling
from sslsv_tk.sampling.member_draws import MemberDraws
from sslsv_tk.sampling.partners import Partners
from sslsv_tk.sampling.references import References


@dataclass(frozen=True, kw_only=True)
class SSPSLiveConfig(ClusterConfig):
    """Settings of the sampler: those of the clusters; the defaults are the paper's for VoxCeleb2."""


class SSPSLive(PositiveSampler):
    """Pseudo-positives from the audio of a member of the same or a nearby cluster of reference embeddings."""

    Config = SSPSLiveConfig
    keeps_projections = False
    references: References
    clusters: Clusters
    drawn: Partners

    def __init__(self, config: SSPSLiveConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self.filling = Filling("references", config.filling, config.refresh)
        self.references = References(config, facts)
        self.clusters = Clusters(config, facts)
        self.drawn = Partners(facts)

    def draw(self, epoch: int) -> dict[str, float]:
        """Cluster the references, and draw the partners of the epoch."""
        numbers = self.clusters.renew(*self.references.collect(), epoch)
        self.drawn.take(MemberDraws(self.clusters, epoch).of(self.facts.everyone))
        return numbers
