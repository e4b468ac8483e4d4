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
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.clustering.kmeans import Precision, nearest_clusters, random_rows, spherical_kmeans
from sslsv_tk.clustering.members import ClusterMembers
from sslsv_tk.nn.queue import UtteranceQueue
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts


@dataclass(frozen=True)
class SSPSKMeansConfig:
    """Settings of the sampler; the defaults are the paper's for VoxCeleb2."""

    clusters: int | float = 25_000
    """K; below 1 it is a share of the utterances (0.02). The paper's K is four times the number of speakers."""
    neighbours: int = 1
    """M, nearest other clusters to draw from; 0 draws from the anchor's own cluster."""
    queue_size: int | None = None
    """Utterances whose projections are kept; null means K, as in the paper."""
    iterations: int = 10
    """Updates of the centroids at each epoch's start."""
    candidates: Literal["queued", "all"] = "queued"
    """Draw among the members whose projection is in the queue, or among all and keep the own positive when the
    drawn one is not queued (far fewer replaced)."""
    positive: Literal["member", "centroid"] = "member"
    """What replaces the positive: a member's projection, or the centroid of the drawn cluster, which is possible
    only for a method without a projector."""
    permuted: bool = False
    """Give every utterance the draw of another one, at random: a sanity control that must not help."""
    reference_dtype: Literal["float32", "float16"] = "float32"
    """How reference embeddings are stored (N x D values)."""
    kmeans_precision: Precision = "fp32"
    """Precision of the products of points and centroids; bf16 is faster where the processor has it."""

    def __post_init__(self) -> None:
        if not (0 < self.clusters < 1 or (self.clusters >= 1 and float(self.clusters).is_integer())):
            raise ValueError(
                f"clusters: expected a whole number, or a share of the utterances below 1; found {self.clusters}."
            )
        if self.neighbours < 0:
            raise ValueError(f"neighbours: expected 0 (own cluster) or more, found {self.neighbours}.")
        if self.queue_size is not None and self.queue_size < 1:
            raise ValueError(
                f"queue_size: expected at least 1, or null for the number of clusters; found {self.queue_size}."
            )
        if self.iterations < 0:
            raise ValueError(f"iterations: expected 0 or more, found {self.iterations}.")

    def clusters_of(self, utterances: int) -> int:
        """K for a training set of N utterances, checked against N and M."""
        clusters = int(self.clusters) if self.clusters >= 1 else max(1, round(self.clusters * utterances))
        if clusters > utterances:
            raise ValueError(
                f"clusters: {clusters} clusters need at least as many utterances, found {utterances}. "
                "Set fewer clusters, or a share of the utterances such as 0.02."
            )
        if self.neighbours >= clusters:
            raise ValueError(
                f"neighbours: {clusters} clusters have {clusters - 1} others, found neighbours = {self.neighbours}. "
                "Set fewer neighbours or more clusters."
            )
        return clusters


class SSPSKMeans(PositiveSampler):
    """Pseudo-positives from spherical k-means clusters of reference embeddings."""

    Config = SSPSKMeansConfig
    needs_reference: ClassVar[bool] = True

    def __init__(self, config: SSPSKMeansConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self.config: SSPSKMeansConfig = config
        self.clusters = config.clusters_of(facts.utterances)
        _check_widths(config, facts)
        self.epoch = -1
        """Epoch of the clusters, -1 before the first."""
        kind = torch.float16 if config.reference_dtype == "float16" else torch.float32
        self.references_ND = torch.zeros(facts.utterances, facts.embedding_dimension, dtype=kind, device=facts.device)
        self.seen_N = torch.zeros(facts.utterances, dtype=torch.bool, device=facts.device)
        queue_size = min(config.queue_size or self.clusters, facts.utterances)
        width = (facts.slots, facts.projection_dimension)
        self.queue = UtteranceQueue(queue_size, facts.utterances, width, facts.device)
        self.assignments_N = torch.full((facts.utterances,), -1, dtype=torch.int32, device=facts.device)
        self.centroids_KD = torch.zeros(self.clusters, facts.embedding_dimension, device=facts.device)
        self.neighbours_KM = torch.zeros(self.clusters, config.neighbours, dtype=torch.int32, device=facts.device)

    @property
    def needs_filling(self) -> bool:
        """Are there utterances whose reference embedding was never observed?"""
        return not bool(self.seen_N.all())

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Cluster the reference embeddings seen so far and draw a cluster for every utterance."""
        rows = self.seen_N.nonzero()[:, 0]
        seen_ND = self.references_ND if len(rows) == len(self.seen_N) else self.references_ND[rows]
        initial_rows = random_rows(len(rows), self.clusters, self.facts.seed, "kmeans", epoch)
        found = spherical_kmeans(seen_ND, initial_rows, self.config.iterations, self.config.kmeans_precision)
        self.assignments_N.fill_(-1)
        self.assignments_N[rows] = found.assignments_N.int()
        self.centroids_KD = found.centroids_KD
        self.neighbours_KM = nearest_clusters(found.centroids_KD, self.config.neighbours).int()
        self._prepare(epoch)
        sizes_K = found.sizes_K
        return {
            "kmeans_objective": found.objective,
            "empty_clusters": float((sizes_K == 0).sum()),
            "largest_cluster": float(sizes_K.max()),
            "seen_share": len(rows) / len(self.seen_N),
        }

    def _prepare(self, epoch: int) -> None:
        """Everything of an epoch that follows from its clusters and (seed, epoch)."""
        self.epoch = epoch
        everyone = np.arange(self.facts.utterances)
        draws_N2 = seeds.uniform(2, self.facts.seed, "ssps", epoch, everyone)
        cluster_N = self.assignments_N
        if self.config.neighbours > 0:
            which_N = torch.from_numpy(seeds.choose(self.config.neighbours, draws_N2[:, 0])).to(cluster_N.device)
            drawn_N = self.neighbours_KM[cluster_N.clamp(min=0), which_N]
            cluster_N = torch.where(cluster_N >= 0, drawn_N, cluster_N)
        if self.config.permuted:
            order = seeds.generator(self.facts.seed, "permuted", epoch).permutation(self.facts.utterances)
            cluster_N = cluster_N[torch.from_numpy(order).to(cluster_N.device)]
        self._drawn_cluster_N = cluster_N
        self._member_draw_N = torch.from_numpy(draws_N2[:, 1].copy()).to(cluster_N.device)
        queued_N = self.queue.holds(torch.from_numpy(everyone).to(cluster_N.device))
        self._members = ClusterMembers(self.assignments_N, self.clusters, queued_N)

    def replace(self, positives_SBP: Tensor, utterance_B: Tensor) -> tuple[Tensor, Tensor]:
        """Put queued projections of the drawn utterances, or centroids, in the place of positives.

        With centroids the utterance named is a random member, which tells whose cluster it is.
        """
        self._check_started()
        device, utterance_B = utterance_B.device, utterance_B.to(self.facts.device)
        drawn_B = self._draw(utterance_B)
        is_replaced_B = drawn_B >= 0
        chosen_B = torch.where(is_replaced_B, drawn_B, utterance_B)
        if self.config.positive == "centroid":
            rows_B1P = self.centroids_KD[self._drawn_cluster_N[utterance_B].clamp(min=0)][:, None]
        else:
            rows_B1P = self.queue.row_of(chosen_B)
        rows_SBP = rows_B1P.transpose(0, 1).to(positives_SBP.dtype)
        return torch.where(is_replaced_B[None, :, None], rows_SBP, positives_SBP), chosen_B.to(device)

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

    def cluster_of(self, utterance_B: Tensor) -> Tensor:
        """(B,) cluster of each utterance in this epoch; -1 where its reference was not seen before the epoch."""
        return self.assignments_N[utterance_B.to(self.facts.device)].long().to(utterance_B.device)

    def observe(self, positives_SBP: Tensor, utterance_B: Tensor, reference_BD: Tensor | None = None) -> None:
        """Queue the projections, and keep the reference embeddings for the next epoch's clusters."""
        if reference_BD is None:
            raise ValueError("The positives ssps_kmeans need the embedding of a reference segment with every batch.")
        utterance_B = utterance_B.to(self.facts.device)
        self.references_ND[utterance_B] = reference_BD.detach().to(self.references_ND.dtype)
        self.seen_N[utterance_B] = True
        changed, change = self.queue.push(positives_SBP.detach().transpose(0, 1), utterance_B)
        if self.epoch >= 0:
            self._members.mark(changed, change)

    def _check_started(self) -> None:
        if self.epoch < 0:
            raise ValueError("The positives ssps_kmeans have no clusters yet: start_epoch comes before replace.")

    def state_dict(self) -> dict[str, Any]:
        """Queues, clusters and the epoch they belong to (tensors are not copies)."""
        tensors = {name: getattr(self, name) for name in _STATE}
        return {"epoch": self.epoch, **tensors, **{f"queue.{k}": v for k, v in self.queue.state_dict().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same training set, clusters, queue and widths stopped."""
        _check_state(state, self.state_dict())
        self.queue.load_state_dict({k.removeprefix("queue."): v for k, v in state.items() if k.startswith("queue.")})
        for name in _STATE:
            setattr(self, name, state[name].to(self.facts.device, copy=True))
        self.epoch = int(state["epoch"])
        if self.epoch >= 0:
            self._prepare(self.epoch)


_STATE = ("references_ND", "seen_N", "assignments_N", "centroids_KD", "neighbours_KM")


def _check_widths(config: SSPSKMeansConfig, facts: SamplerFacts) -> None:
    if facts.embedding_dimension < 1 or facts.projection_dimension < 1 or facts.slots < 1:
        raise ValueError(
            "The positives ssps_kmeans replace projections by those of other utterances and need their widths; found "
            f"projection {facts.projection_dimension}, embedding {facts.embedding_dimension}, slots {facts.slots}. "
            "Use them with a method that has positives."
        )
    if config.positive == "centroid" and facts.projection_dimension != facts.embedding_dimension:
        raise ValueError(
            f"positive: a centroid is an embedding of {facts.embedding_dimension} values, the loss wants projections "
            f"of {facts.projection_dimension}. Use positive: member, or a method without a projector."
        )


def _check_state(state: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    if state.keys() != ours.keys():
        raise ValueError(
            f"Expected the state of the positives ssps_kmeans ({', '.join(ours)}), found {', '.join(state) or 'none'}. "
            "Resume with the positives that the run was started with."
        )
    for name, mine in ours.items():
        theirs = state[name]
        if isinstance(mine, Tensor) and (theirs.shape, theirs.dtype) != (mine.shape, mine.dtype):
            raise ValueError(
                f"The saved sampler's {name} is {theirs.dtype} of shape {tuple(theirs.shape)}, expected {mine.dtype} "
                f"of shape {tuple(mine.shape)}: it is of another training set or other settings. Resume with those."
            )
