"""Clusters of the reference embeddings, and from which of them each utterance draws its positive.

Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for Robust Self-Supervised Speaker Verification",
Interspeech 2025, arXiv 2505.14561; equations (3) to (5) are its own.
N utterances, K clusters, M neighbours of a cluster, B batch, D embedding. Assignments and centroids are the same on
all processes, which cluster together; of the embeddings each keeps its share.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.clustering.agreement import normalised_mutual_information
from sslsv_tk.clustering.kmeans import Clustering, random_rows, spherical_kmeans
from sslsv_tk.clustering.neighbours import nearest_clusters
from sslsv_tk.clustering.ranks import Weights, check_weights, draw_ranks
from sslsv_tk.clustering.shared_rows import SharedRows
from sslsv_tk.counts import Count, count_of, fitting_clusters, share_of
from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.part import Part
from sslsv_tk.sampling.references import ReferenceConfig


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(ReferenceConfig):
    """Settings of the clusters; the defaults are the paper's for VoxCeleb2."""

    clusters: Count = 25_000
    """K, or a share of the utterances: N/6, 0.02. The paper's K is four times the number of speakers."""
    neighbours: int = 1
    """M, nearest other clusters to draw from; 0 draws from the anchor's own cluster."""
    weights: Weights = "uniform"
    """How often each of the M is drawn; exponential: the nearest most often."""
    decay: float = 0.7
    """Of exponential weights: rank r has weight exp(-decay r)."""
    iterations: int = 10
    """Updates of the centroids at each epoch's start."""
    permuted: bool = False
    """Give every utterance the draw of another one, at random: a sanity control that must not help."""

    def __post_init__(self) -> None:
        super().__post_init__()
        share_of("clusters", self.clusters)
        if self.neighbours < 0:
            raise ValueError(f"neighbours: expected 0 (own cluster) or more, found {self.neighbours}.")
        if self.iterations < 0:
            raise ValueError(f"iterations: expected 0 or more, found {self.iterations}.")
        check_weights(self.weights, self.decay)

    def clusters_of(self, utterances: int) -> int:
        """K for a training set of N utterances, checked against N and M."""
        clusters = count_of("clusters", self.clusters, utterances)
        if clusters > utterances:
            raise ValueError(
                f"clusters: {clusters} clusters need at least as many utterances, found {utterances}. Set clusters to "
                f"{fitting_clusters(utterances)}, or to a share such as N/6; `run.sh --scale auto` does it."
            )
        if self.neighbours >= clusters:
            raise ValueError(
                f"neighbours: {clusters} clusters have {clusters - 1} others, found neighbours = {self.neighbours}. "
                "Set fewer neighbours or more clusters."
            )
        return clusters


class Clusters(Part):
    """Clusters of references, made anew at each epoch's start; with the drawn ones they make the epoch's choices."""

    saved = ("assignments_N", "centroids_KD", "neighbours_KM")

    def __init__(self, config: ClusterConfig, facts: SamplerFacts) -> None:
        self.config = config
        self.facts = facts
        self.count = config.clusters_of(facts.utterances)
        """K."""
        self.assignments_N = torch.full_like(facts.everyone, -1, dtype=torch.int32)
        """Cluster of each utterance, -1 where its reference was not seen before the epoch."""
        self.centroids_KD = torch.zeros(self.count, facts.embedding_dimension, device=facts.device)
        self.neighbours_KM = torch.zeros(self.count, config.neighbours, dtype=torch.int32, device=facts.device)

    def renew(self, rows: Tensor, points: SharedRows, epoch: int) -> dict[str, float]:
        """Cluster the references of the utterances `rows`, once there are K; numbers to log; all processes together.

        With fewer the clusters stay as they were: none.
        """
        numbers = {"seen_share": len(rows) / self.facts.utterances}
        if len(rows) < self.count:
            return numbers
        initial_rows = random_rows(len(rows), self.count, self.facts.seed, "kmeans", epoch)
        found = spherical_kmeans(points, initial_rows, self.config.iterations)
        before_N = self.assignments_N.clone()
        self.assignments_N.fill_(-1)
        self.assignments_N[rows] = found.assignments_N.int()
        self.centroids_KD = found.centroids_KD
        self.neighbours_KM = nearest_clusters(SharedRows.dealt(found.centroids_KD), self.config.neighbours).int()
        return {**numbers, **sizes(found), **agreement(before_N, self.assignments_N)}

    def draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        """For an epoch the cluster of each utterance's positive (-1 unknown), and a number in [0, 1) for a member.

        Both are (N,). The cluster is the own one if M = 0 (eq. 3), else one of the M nearest others (eq. 4 and 5).
        """
        config, cluster_N = self.config, self.assignments_N
        cluster_uniform_N, member_uniform_N = self.facts.uniform(2, "ssps", epoch)
        if config.neighbours > 0:
            count_N = torch.full_like(cluster_N, config.neighbours, dtype=torch.int64)
            which_N = draw_ranks(count_N, cluster_uniform_N, config.weights, config.decay)
            drawn_N = self.neighbours_KM[cluster_N.clamp(min=0), which_N]
            cluster_N = torch.where(cluster_N >= 0, drawn_N, cluster_N)
        if config.permuted:
            order = seeds.generator(self.facts.seed, "permuted", epoch).permutation(len(cluster_N))
            cluster_N = cluster_N[torch.from_numpy(order).to(cluster_N.device)]
        return cluster_N, member_uniform_N.clone()

    def of(self, utterance_B: Tensor) -> Tensor:
        """(B,) cluster of each utterance in this epoch; -1 where its reference was not seen before the epoch."""
        return self.assignments_N[utterance_B].long()


def sizes(found: Clustering) -> dict[str, float]:
    """How tight and how even the clusters are.

    `kmeans_objective`: mean cosine of points and centroids. `alone_share`: points that are alone in their cluster.
    """
    sizes_K = found.sizes_K
    return {
        "kmeans_objective": found.objective,
        "empty_clusters": float((sizes_K == 0).sum()),
        "largest_cluster": float(sizes_K.max()),
        "median_cluster": float(sizes_K[sizes_K > 0].float().median()),
        "alone_share": float((sizes_K == 1).sum() / sizes_K.sum()),
    }


def agreement(before_N: Tensor, after_N: Tensor) -> dict[str, float]:
    """`clusters_agreement`: normalised mutual information of two successive clusterings (none: {})."""
    before, after = before_N.cpu().numpy(), after_N.cpu().numpy()
    both = (before >= 0) & (after >= 0)
    if not both.any():
        return {}
    return {"clusters_agreement": normalised_mutual_information(before[both], after[both])}
