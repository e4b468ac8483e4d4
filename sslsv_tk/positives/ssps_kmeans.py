"""Self-supervised positive sampling: the positive comes from another utterance of the same or a nearby cluster.

Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for Robust Self-Supervised Speaker Verification",
Interspeech 2025, arXiv 2505.14561; equations (3) to (6) are its own.
N utterances, K clusters, M neighbours of a cluster, B batch, S positive slots, P projection, D embedding.

At the start of an epoch the reference embeddings of all utterances are clustered. An anchor of cluster c then takes
its positive from c (M = 0, eq. 3) or from one of the M nearest other clusters (eq. 4 and 5): the projection of one
of its members (eq. 6), as it was when that utterance was last trained on, out of a queue of the newest ones.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sslsv_tk.counts import Count, count_of, share_of
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.sampling.clusters import ClusterConfig, Clusters
from sslsv_tk.sampling.filling import Filling, Pass
from sslsv_tk.sampling.member_draws import MemberDraws
from sslsv_tk.sampling.queue import PositiveQueue, put_rows
from sslsv_tk.sampling.references import References


@dataclass(frozen=True, kw_only=True)
class SSPSKMeansConfig(ClusterConfig):
    """Settings of the sampler; the defaults are the paper's for VoxCeleb2."""

    queue_size: Count | None = None
    """Utterances whose projections are kept, or a share of all: N; null means K, as in the paper."""
    candidates: Literal["queued", "all"] = "queued"
    """Draw among the members whose projection is in the queue, or among all and keep the own positive when the
    drawn one is not queued (far fewer replaced)."""
    positive: Literal["member", "centroid"] = "member"
    """What replaces the positive: a member's projection, or the centroid of the drawn cluster, which is possible
    only for a method without a projector."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queue_size is not None:
            share_of("queue_size", self.queue_size)
        if self.positive != "centroid":
            return
        if self.whitening != "none":
            raise ValueError(
                f"positive: centroids of whitened references (whitening: {self.whitening}) are no embeddings that "
                "a loss could compare with others. Use positive: member, or whitening: none."
            )
        if self.queue_size is not None or self.candidates != "queued":
            raise ValueError(
                "positive: a centroid comes from no queue, so queue_size and candidates do nothing; found "
                f"queue_size {self.queue_size}, candidates {self.candidates}. Leave them out, or use positive: member."
            )


class SSPSKMeans(PositiveSampler):
    """Pseudo-positives from spherical k-means clusters of reference embeddings."""

    Config = SSPSKMeansConfig
    config: SSPSKMeansConfig
    references: References
    clusters: Clusters

    def __init__(self, config: SSPSKMeansConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        _check_centroids_fit(config, facts)
        self.keeps_projections = config.positive == "member"
        first: Pass = "everything" if self.keeps_projections else "references"
        self.filling = Filling(first, config.filling, config.refresh)
        self.references = References(config, facts)
        self.clusters = Clusters(config, facts)
        size = count_of("queue_size", config.queue_size or self.clusters.count, facts.utterances)
        self.queue = PositiveQueue(min(size, facts.utterances), facts)
        self._draws: MemberDraws | None = None

    def draw(self, epoch: int) -> dict[str, float]:
        """Cluster the references seen so far."""
        return self.clusters.renew(*self.references.collect(), epoch)

    def prepare(self, epoch: int) -> None:
        """Draw clusters and members; those that are queued are marked."""
        self._draws = MemberDraws(self.clusters, epoch, self.queue.holds(self.facts.everyone), self.queue.size)

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Put queued projections of the drawn utterances, or centroids, in the place of positives.

        With centroids the utterance named is a random member, which tells whose cluster it is.
        """
        self.filling.check_started()
        assert self._draws is not None
        if self.config.positive == "centroid":
            drawn_B = self._draws.of(utterance_B)
            cluster_B = self._draws.cluster_N[utterance_B].clamp(min=0)
            centroids_KSD = self.clusters.centroids_KD[:, None].expand(-1, len(positives_SBP), -1)
            replaced_SBP = put_rows(positives_SBP, centroids_KSD, cluster_B, drawn_B >= 0)
            return replaced_SBP, torch.where(drawn_B >= 0, drawn_B, utterance_B)
        if self.config.candidates == "all":
            drawn_B = self._draws.of(utterance_B)
            drawn_B = torch.where(self.queue.holds(drawn_B.clamp(min=0)), drawn_B, -1)
        else:
            drawn_B = self._draws.of_marked(utterance_B, self.queue.holds(utterance_B))
        replaced_SBP, chosen_B, age = self.queue.replace(positives_SBP, utterance_B, drawn_B)
        self.measure(queue_age=age)
        return replaced_SBP, chosen_B

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Queue the projections, and keep the reference embeddings for the next epoch's clusters."""
        super().observe(positives_SBP, utterance_B, reference_RBD)
        if positives_SBP is None:
            return
        changed, change = self.queue.push(positives_SBP, utterance_B)
        if self._draws is not None:
            self._draws.mark(changed, change)


def _check_centroids_fit(config: SSPSKMeansConfig, facts: SamplerFacts) -> None:
    if config.positive != "centroid":
        return
    if not facts.projections_are_embeddings or facts.projection_dimension != facts.embedding_dimension:
        raise ValueError(
            f"positive: a centroid is an embedding of {facts.embedding_dimension} values, the loss wants projections "
            f"of {facts.projection_dimension} by a projector. Use positive: member, or a method without a projector."
        )
