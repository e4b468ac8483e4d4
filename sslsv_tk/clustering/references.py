"""The reference embeddings of all utterances, their clusters, and from whose cluster each draws its positive.

Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for Robust Self-Supervised Speaker Verification",
Interspeech 2025, arXiv 2505.14561; equations (3) to (5) are its own.
N utterances, K clusters, M neighbours of a cluster, B batch, D embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.clustering.kmeans import Precision, nearest_clusters, random_rows, spherical_kmeans


@dataclass(frozen=True)
class ReferenceConfig:
    """Settings of the clusters; the defaults are the paper's for VoxCeleb2."""

    clusters: int | float = 25_000
    """K; below 1 it is a share of the utterances (0.02). The paper's K is four times the number of speakers."""
    neighbours: int = 1
    """M, nearest other clusters to draw from; 0 draws from the anchor's own cluster."""
    iterations: int = 10
    """Updates of the centroids at each epoch's start."""
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


class ReferenceClusters:
    """One reference embedding per utterance, the newest, clustered anew at each epoch's start."""

    def __init__(
        self, config: ReferenceConfig, utterances: int, dimension: int, seed: int, device: torch.device
    ) -> None:
        self.config, self.seed = config, seed
        self.clusters = config.clusters_of(utterances)
        self.epoch = -1
        """Epoch of the clusters, -1 before the first."""
        kind = torch.float16 if config.reference_dtype == "float16" else torch.float32
        self.embeddings_ND = torch.zeros(utterances, dimension, dtype=kind, device=device)
        self.seen_N = torch.zeros(utterances, dtype=torch.bool, device=device)
        self.assignments_N = torch.full((utterances,), -1, dtype=torch.int32, device=device)
        self.centroids_KD = torch.zeros(self.clusters, dimension, device=device)
        self.neighbours_KM = torch.zeros(self.clusters, config.neighbours, dtype=torch.int32, device=device)

    @property
    def are_complete(self) -> bool:
        """Was every utterance observed?"""
        return bool(self.seen_N.all())

    def observe(self, utterance_B: Tensor, reference_BD: Tensor) -> None:
        """Keep the embeddings of a batch (unit rows) for the next epoch's clusters."""
        self.embeddings_ND[utterance_B] = reference_BD.detach().to(self.embeddings_ND.dtype)
        self.seen_N[utterance_B] = True

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Cluster the embeddings seen so far; numbers to log."""
        rows = self.seen_N.nonzero()[:, 0]
        seen_ND = self.embeddings_ND if len(rows) == len(self.seen_N) else self.embeddings_ND[rows]
        initial_rows = random_rows(len(rows), self.clusters, self.seed, "kmeans", epoch)
        found = spherical_kmeans(seen_ND, initial_rows, self.config.iterations, self.config.kmeans_precision)
        self.assignments_N.fill_(-1)
        self.assignments_N[rows] = found.assignments_N.int()
        self.centroids_KD = found.centroids_KD
        self.neighbours_KM = nearest_clusters(found.centroids_KD, self.config.neighbours).int()
        self.epoch = epoch
        sizes_K = found.sizes_K
        return {
            "kmeans_objective": found.objective,
            "empty_clusters": float((sizes_K == 0).sum()),
            "largest_cluster": float(sizes_K.max()),
            "seen_share": len(rows) / len(self.seen_N),
        }

    def draw(self) -> tuple[Tensor, Tensor]:
        """For this epoch the cluster of each utterance's positive (-1 unknown), and a number in [0, 1) for a member.

        Both are (N,). The cluster is the own one if M = 0 (eq. 3), else one of the M nearest others (eq. 4 and 5).
        """
        cluster_N = self.assignments_N
        everyone = np.arange(len(cluster_N))
        draws_N2 = seeds.uniform(2, self.seed, "ssps", self.epoch, everyone)
        if self.config.neighbours > 0:
            which_N = torch.from_numpy(seeds.choose(self.config.neighbours, draws_N2[:, 0])).to(cluster_N.device)
            drawn_N = self.neighbours_KM[cluster_N.clamp(min=0), which_N]
            cluster_N = torch.where(cluster_N >= 0, drawn_N, cluster_N)
        if self.config.permuted:
            order = seeds.generator(self.seed, "permuted", self.epoch).permutation(len(everyone))
            cluster_N = cluster_N[torch.from_numpy(order).to(cluster_N.device)]
        return cluster_N, torch.from_numpy(draws_N2[:, 1].copy()).to(cluster_N.device)

    def cluster_of(self, utterance_B: Tensor) -> Tensor:
        """(B,) cluster of each utterance in this epoch; -1 where its embedding was not seen before the epoch."""
        return self.assignments_N[utterance_B.to(self.assignments_N.device)].long().to(utterance_B.device)

    def state_dict(self) -> dict[str, Any]:
        """Embeddings, clusters and the epoch they belong to (tensors are not copies)."""
        return {"epoch": self.epoch, **{name: getattr(self, name) for name in _TENSORS}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of the same training set, clusters and widths."""
        for name in _TENSORS:
            ours, theirs = getattr(self, name), state[name]
            if (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
                raise ValueError(
                    f"The saved references' {name} is {theirs.dtype} of shape {tuple(theirs.shape)}, expected "
                    f"{ours.dtype} of shape {tuple(ours.shape)}: it is of another training set or other settings. "
                    "Resume with those."
                )
        for name in _TENSORS:
            setattr(self, name, state[name].to(self.seen_N.device, copy=True))
        self.epoch = int(state["epoch"])


_TENSORS = ("embeddings_ND", "seen_N", "assignments_N", "centroids_KD", "neighbours_KM")
