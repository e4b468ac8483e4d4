"""MoCo (He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020) for speakers.

Symmetric: each view's query is compared with the other view's key, and with a queue of earlier keys of that view.
Shapes: B utterances, V = 2 views, A = 2 queries, S = 2 keys, D width of an embedding (P = D), K rows of a queue.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sslsv_tk.distributed.collectives import exchange, gather, processes, shared_permutation
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs, encode, evaluation_mode, same_cluster
from sslsv_tk.nn.heads import Views
from sslsv_tk.nn.momentum import follow, frozen_copy
from sslsv_tk.nn.row_queue import RowQueue
from sslsv_tk.schedules import Progress
from sslsv_tk.segments import Segment


@dataclass(frozen=True)
class MoCoConfig:
    """Settings of MoCo."""

    temperature: float = 0.03  # of the cosines in InfoNCE
    queue_size: int = 32_768  # earlier keys that are negatives, for each of the two views
    momentum: float = 0.999  # share of its own weights that the key encoder keeps at each step
    key_statistics: Literal["batch", "average"] = "batch"
    """What the key encoder's batch norms use: mean and variance of the keys themselves, as in the paper (which shuffles
    them over GPUs, so that a query and its key do not share the statistics of one batch), or moving averages of the
    other encoder's statistics, which say nothing of the batch (Cai et al., "Exponential moving average normalization
    for self-supervised and semi-supervised learning", CVPR 2021). Those begin at 0 and 1, so a momentum near 1 gives
    useless keys for the first 1 / (1 - momentum) steps."""
    mask_same_cluster: bool = False
    """Leave out keys in the queue from the cluster of the query or of its positive, which are likely false negatives;
    only with positives that have clusters (ssps_kmeans, ssps_live), and among the keys of the same epoch."""
    views: Views = "apart"
    """apart: each view goes through an encoder by itself, with batch statistics of its own, as in the SSPS
    authors' code; together: both in one pass with the statistics of both, which is faster."""
    segment_seconds: float = 2.0  # of each of the two views

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature of moco must be above 0; found {self.temperature}.")
        if self.queue_size < 1:
            raise ValueError(f"queue_size of moco must be at least 1, or it has no negatives; found {self.queue_size}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"momentum of moco must be from 0 (the key encoder is the other one) to below 1 (it never moves); "
                f"found {self.momentum}."
            )


def info_nce_loss(
    query_BD: Tensor, key_BD: Tensor, queue_DK: Tensor, temperature: float, masked_BK: Tensor | None = None
) -> Tensor:
    """Cross entropy of each query's own key against the queue, over cosines (equation 1 of He et al., 2020).

    `queue_DK` holds unit columns; queries and keys of any length are normalised here. Negatives that are `masked_BK`
    are left out.
    """
    query_BD, key_BD = functional.normalize(query_BD, dim=-1), functional.normalize(key_BD, dim=-1)
    positive_B1 = (query_BD * key_BD).sum(1, keepdim=True)
    negatives_BK = query_BD @ queue_DK
    if masked_BK is not None:
        negatives_BK = negatives_BK.masked_fill(masked_BK, -torch.inf)
    logits = torch.cat([positive_B1, negatives_BK], dim=1) / temperature
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64))


def cosine_measures(query_BD: Tensor, key_BD: Tensor, queue_DK: Tensor) -> dict[str, Tensor]:
    """Mean cosine of the queries with their keys, and with all rows of the queue."""
    query_BD, key_BD = functional.normalize(query_BD, dim=-1), functional.normalize(key_BD, dim=-1)
    return {
        "positive_cosine": (query_BD * key_BD).sum(1).mean(),
        "negative_cosine": query_BD.mean(0) @ queue_DK.mean(1),
    }


class MoCo(Method):
    """The key of the other view is the positive; keys of earlier steps, by a slowly moving encoder, are negatives."""

    Config = MoCoConfig
    config: MoCoConfig
    slots = 2
    projects_embeddings = True
    needs_clusters = ("mask_same_cluster",)
    training_only = ("key_encoder.", "queue_")
    synchronised_batch_norm = False  # the statistics of a batch would tell which key is whose

    def __init__(self, encoder: Encoder, config: MoCoConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        self.segments = (Segment(config.segment_seconds, "both"), Segment(config.segment_seconds, "both"))
        self.projection_dimension = encoder.dimension
        self.key_encoder = frozen_copy(encoder)
        self.queue_1 = _random_queue(config.queue_size, encoder.dimension)
        self.queue_2 = _random_queue(config.queue_size, encoder.dimension)
        self.queue_clusters = QueuedClusters(config.queue_size) if config.mask_same_cluster else None
        self._keys_SBD: Tensor | None = None
        self._cluster_B: Tensor | None = None
        self.register_load_state_dict_pre_hook(_fit_clusters)  # type: ignore[no-untyped-call]

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Queries of both views, and for each the key of the other view.

        With partners there are four views, and the keys are those of the last two, cut from the partner.
        """
        queries_ABD = self.encode(views[:2], self.config.views)
        average = self.config.key_statistics == "average"
        with torch.no_grad(), evaluation_mode(self.key_encoder) if average else contextlib.nullcontext():
            keys_VBD = self._keys(views[-2:])
        return queries_ABD, keys_VBD.flip(0)

    def _keys(self, views: Sequence[Tensor]) -> Tensor:
        """(V, B, D) keys. The rows of several processes are exchanged before and brought back after they are encoded.

        So a query and its key do not share the statistics of a batch (section 3.3 of He et al.).
        """
        if processes() == 1:
            return encode(self.key_encoder, views, self.config.views)
        order = shared_permutation(len(views[0]) * processes(), views[0].device)
        exchanged = [exchange(view, order) for view in views]
        keys_BVD = encode(self.key_encoder, exchanged, self.config.views).transpose(0, 1)
        return exchange(keys_BVD, order.argsort()).transpose(0, 1)

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean of both directions; the keys (also replaced ones) are kept aside for the queues."""
        self._keys_SBD = functional.normalize(pairs.positives_SBP.detach(), dim=-1)
        masked_BK = self._mask(pairs.anchors_ABP.shape[1], pairs.clusters_2B)
        losses, measured = [], []
        queues = (self.queue_1, self.queue_2)
        for query_BD, key_BD, queue in zip(pairs.anchors_ABP, pairs.positives_SBP, queues, strict=True):
            queue_DK = queue.rows_QP.T
            losses.append(info_nce_loss(query_BD, key_BD, queue_DK, self.config.temperature, masked_BK))
            measured.append(cosine_measures(query_BD.detach(), key_BD.detach(), queue_DK))
        self.measure(**{name: (measured[0][name] + measured[1][name]) / 2 for name in measured[0]})
        return (losses[0] + losses[1]) / 2

    def _mask(self, batch: int, clusters_2B: Tensor | None) -> Tensor | None:
        """(B, K) keys in the queues to leave out, and `masked_share` of them all; None without the option.

        The clusters of this step's keys are kept aside for the queue.
        """
        if self.queue_clusters is None:
            return None
        if clusters_2B is None:
            clusters_2B = self.queue_clusters.head.new_full((2, batch), -1)
        self._cluster_B = clusters_2B[1]
        masked_BK = same_cluster(clusters_2B, self.queue_clusters.rows_QP[:, 0])
        self.measure(masked_share=masked_BK.float().mean())
        return masked_BK

    def before_step(self, progress: Progress) -> None:
        """The key encoder follows what the last step made of the encoder, before it makes new keys."""
        average = self.config.key_statistics == "average"
        follow(self.key_encoder, self.encoder, self.config.momentum, buffers=average)
        if self.queue_clusters is not None:
            self.queue_clusters.start_epoch(int(progress.epochs))

    def after_step(self, progress: Progress) -> None:
        """The keys of the step, of all processes, enter the queues."""
        if self._keys_SBD is None:
            return
        for queue, keys_BD in zip((self.queue_1, self.queue_2), self._keys_SBD, strict=True):
            queue.push(gather(keys_BD))
        if self.queue_clusters is not None and self._cluster_B is not None:
            self.queue_clusters.push(gather(self._cluster_B)[:, None])
        self._keys_SBD = self._cluster_B = None


class QueuedClusters(RowQueue):
    """The clusters of the utterances whose keys are in the queues, -1 unknown; they are one epoch's."""

    epoch: Tensor

    def __init__(self, size: int) -> None:
        super().__init__(size, 1, torch.int64)
        self.rows_QP.fill_(-1)
        self.register_buffer("epoch", torch.full((), -1))

    def start_epoch(self, epoch: int) -> None:
        """Forget the clusters of another epoch: utterances were clustered anew. The device is not waited for."""
        self.rows_QP.masked_fill_(self.epoch != epoch, -1)
        self.epoch.fill_(epoch)


def _fit_clusters(moco: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """A state made without the mask gets unknown clusters beside its keys, so that the mask may come with stage 5."""
    ours, keys = f"{prefix}queue_clusters.", f"{prefix}queue_1."
    if isinstance(moco.queue_clusters, QueuedClusters) and f"{ours}epoch" not in state and f"{keys}head" in state:
        state.update(QueuedClusters(len(moco.queue_clusters.rows_QP)).state_dict(prefix=ours))
        state.update({f"{ours}{name}": state[f"{keys}{name}"] for name in ("head", "entered")})


def _random_queue(size: int, width: int) -> RowQueue:
    """A queue of random unit rows, so that there are negatives from the first step on."""
    queue = RowQueue(size, width)
    queue.rows_QP.copy_(functional.normalize(torch.randn_like(queue.rows_QP), dim=-1))
    return queue
