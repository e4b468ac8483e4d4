"""Self-supervised positive sampling: the positive comes from another utterance of the same or a nearby cluster.

Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for Robust Self-Supervised Speaker Verification",
Interspeech 2025, arXiv 2505.14561; equations (3) to (6) are its own.
N utterances, K clusters, M neighbours of a cluster, B batch, S positive slots, P projection, D embedding.

At the start of an epoch the reference embeddings of all utterances are clustered. An anchor of cluster c then takes
its positive from c (M = 0, eq. 3) or from one of the M nearest other clusters (eq. 4 and 5): the projection of one
of its members (eq. 6), as it was when that utterance was last trained on, out of a queue of the newest ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sslsv_tk.clustering.members import ClusterMembers
from sslsv_tk.clustering.reference_clusters import ClusterConfig
from sslsv_tk.distributed.shards import part_of, with_part
from sslsv_tk.nn.queue import UtteranceQueue
from sslsv_tk.positives.base import ClusterSampler, SamplerFacts, put_rows


@dataclass(frozen=True, kw_only=True)
class SSPSKMeansConfig(ClusterConfig):
    """Settings of the sampler; the defaults are the paper's for VoxCeleb2."""

    queue_size: int | None = None
    """Utterances whose projections are kept; null means K, as in the paper."""
    candidates: Literal["queued", "all"] = "queued"
    """Draw among the members whose projection is in the queue, or among all and keep the own positive when the
    drawn one is not queued (far fewer replaced)."""
    positive: Literal["member", "centroid"] = "member"
    """What replaces the positive: a member's projection, or the centroid of the drawn cluster, which is possible
    only for a method without a projector."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queue_size is not None and self.queue_size < 1:
            raise ValueError(
                f"queue_size: expected at least 1, or null for the number of clusters; found {self.queue_size}."
            )
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


class SSPSKMeans(ClusterSampler):
    """Pseudo-positives from spherical k-means clusters of reference embeddings."""

    Config = SSPSKMeansConfig

    def __init__(self, config: SSPSKMeansConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self.config: SSPSKMeansConfig = config
        self.keeps_projections = config.positive == "member"
        _check_centroids_fit(config, facts)
        queue_size = min(config.queue_size or self.references.clusters, facts.utterances)
        width = (facts.slots, facts.projection_dimension)
        self.queue = UtteranceQueue(queue_size, facts.utterances, width, facts.device)

    def _prepare(self) -> None:
        """Everything of an epoch that follows from its clusters and (seed, epoch)."""
        self._drawn_cluster_N, self._member_draw_N = self.references.draw(self.epoch)
        everyone = torch.arange(self.facts.utterances, device=self.facts.device)
        self._members = ClusterMembers(
            self.references.assignments_N, self.references.clusters, self.queue.holds(everyone)
        )

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Put queued projections of the drawn utterances, or centroids, in the place of positives.

        With centroids the utterance named is a random member, which tells whose cluster it is.
        """
        self._check_started()
        device, utterance_B = utterance_B.device, utterance_B.to(self.facts.device)
        drawn_B = self._draw(utterance_B)
        is_replaced_B = drawn_B >= 0
        chosen_B = torch.where(is_replaced_B, drawn_B, utterance_B)
        if self.config.positive == "centroid":
            rows_BSP = self.references.centroids_KD[self._drawn_cluster_N[utterance_B].clamp(min=0)][:, None]
        else:
            rows_BSP = self.queue.row_of(chosen_B)
            self._measures = {"queue_age": self.queue.mean_age(chosen_B, is_replaced_B)}
        return put_rows(positives_SBP, rows_BSP, is_replaced_B), chosen_B.to(device)

    def _draw(self, utterance_B: Tensor) -> Tensor:
        """(B,) whose projection to take, by eq. (6); -1 where there is none and the own positive stays."""
        cluster_B, uniform_B = self._drawn_cluster_N[utterance_B], self._member_draw_N[utterance_B]
        known_B, cluster_B = cluster_B >= 0, cluster_B.clamp(min=0)
        if self.config.positive == "centroid":
            drawn_B = self._members.draw(cluster_B, uniform_B, utterance_B)
        elif self.config.candidates == "all":
            drawn_B = self._members.draw(cluster_B, uniform_B, utterance_B)
            known_B = known_B & self.queue.holds(drawn_B.clamp(min=0))
        else:
            own_queued_B = self.queue.holds(utterance_B)
            drawn_B = self._members.draw_marked(cluster_B, uniform_B, utterance_B, own_queued_B)
        return torch.where(known_B, drawn_B, -1)

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Queue the projections, and keep the reference embeddings for the next epoch's clusters."""
        utterance_B = utterance_B.to(self.facts.device)
        self._observe_reference(utterance_B, reference_RBD)
        if positives_SBP is None:
            return
        changed, change = self.queue.push(positives_SBP.detach().transpose(0, 1), utterance_B)
        if self.epoch >= 0:
            self._members.mark(changed, change)

    def whole_state(self) -> dict[str, Any]:
        """References, clusters and queue (tensors are not copies)."""
        return {**super().whole_state(), **with_part("queue", self.queue.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same training set, clusters, queue and widths stopped."""
        super().load_state_dict(state)
        self.queue.load_state_dict(part_of(state, "queue"))
        if self.epoch >= 0:
            self._prepare()


def _check_centroids_fit(config: SSPSKMeansConfig, facts: SamplerFacts) -> None:
    if config.positive != "centroid":
        return
    if not facts.projections_are_embeddings or facts.projection_dimension != facts.embedding_dimension:
        raise ValueError(
            f"positive: a centroid is an embedding of {facts.embedding_dimension} values, the loss wants projections "
            f"of {facts.projection_dimension} by a projector. Use positive: member, or a method without a projector."
        )
