"""SimCLR (Chen et al., ICML 2020) for speakers, without a projector, as in the SSPS paper (arXiv 2505.14561).

Shapes: B utterances, P width of a projection, R rows that are anchors in turn, and their candidates: B, or 2B where
both views are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sslsv_tk.distributed.collectives import gather
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs, check_rows, same_cluster
from sslsv_tk.nn.heads import Views
from sslsv_tk.segments import Segment


@dataclass(frozen=True)
class SimCLRConfig:
    """Settings of SimCLR."""

    temperature: float = 0.03  # of the cosines in NT-Xent
    margin: float = 0.0  # taken from the cosine of each positive pair (additive margin); 0: none, 0.1 is typical
    symmetric: bool = True  # both views are anchors and negatives (2B rows); false: equation (1) of the paper
    mask_same_cluster: bool = False
    """Leave out negatives from the cluster of the anchor or of its positive, which are likely false ones; only with
    positives that have clusters (ssps_kmeans, ssps_live)."""
    views: Views = "apart"
    """apart: each view goes through the encoder by itself, with batch statistics of its own, as in the SSPS
    authors' code; together: both in one pass with the statistics of both, which is faster."""
    segment_seconds: float = 2.0  # of each of the two views

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature of simclr must be above 0; found {self.temperature}.")
        if not 0 <= self.margin < 2:
            raise ValueError(
                f"margin of simclr is taken from cosines: expected from 0 to below 2; found {self.margin}."
            )


def nt_xent_loss(
    z1_BP: Tensor,
    z2_BP: Tensor,
    temperature: float,
    symmetric: bool = True,
    margin: float = 0.0,
    masked_RR: Tensor | None = None,
) -> Tensor:
    """Normalised temperature-scaled cross entropy over cosines.

    One direction, equation (1) of the paper: for each row of z1 the row of z2 with its own index is the positive,
    the other rows of z2 are the negatives. Symmetric: all 2B rows are anchors in turn, and all the other rows,
    of either view, are candidates. `margin` is taken from the cosine of the positive pair (Lepage and Dehak,
    "Additive margin in contrastive self-supervised frameworks to learn discriminative speaker representations",
    Odyssey 2024). Negatives that are `masked_RR` (`false_negatives`) are left out.
    """
    z1_BP, z2_BP = functional.normalize(z1_BP, dim=-1), functional.normalize(z2_BP, dim=-1)
    own = torch.arange(len(z1_BP), device=z1_BP.device)
    if symmetric:
        z = torch.cat([z1_BP, z2_BP])
        cosines, positive = z @ z.T, torch.cat([own + len(own), own])
        cosines.fill_diagonal_(-torch.inf)
    else:
        cosines, positive = z1_BP @ z2_BP.T, own
    if masked_RR is not None:
        cosines = cosines.masked_fill(masked_RR, -torch.inf)
    if margin:
        cosines = cosines - margin * functional.one_hot(positive, cosines.shape[1]).to(cosines.dtype)
    return functional.cross_entropy(cosines / temperature, positive)


def false_negatives(clusters_2B: Tensor, symmetric: bool = True) -> Tensor:
    """(R, R): is a candidate a negative from the cluster of the anchor, or of its positive? See `Pairs`.

    A row of the first view is in the cluster of its utterance, one of the second in that of the positive.
    """
    pairs_2R = torch.cat([clusters_2B, clusters_2B.flip(0)], dim=1) if symmetric else clusters_2B
    masked_RR = same_cluster(pairs_2R, clusters_2B.flatten() if symmetric else clusters_2B[1])
    pair_R = torch.arange(len(masked_RR), device=masked_RR.device) % clusters_2B.shape[1]
    return masked_RR & (pair_R[:, None] != pair_R)  # neither itself nor its positive is a negative


def cosine_measures(z1_BP: Tensor, z2_BP: Tensor) -> dict[str, Tensor]:
    """Mean cosine of the rows of z1 with their positives in z2, and with all the other rows of z2.

    When both near 1 the embeddings have collapsed; when the first is far above the second the loss is small.
    """
    z1_BP, z2_BP = functional.normalize(z1_BP, dim=-1), functional.normalize(z2_BP, dim=-1)
    rows = len(z1_BP)
    pairs = (z1_BP * z2_BP).sum()
    others = z1_BP.sum(0) @ z2_BP.sum(0) - pairs
    return {"positive_cosine": pairs / rows, "negative_cosine": others / max(rows * (rows - 1), 1)}


class SimCLR(Method):
    """Two augmented segments of one utterance are a pair; every other row of the batch is a negative."""

    Config = SimCLRConfig
    config: SimCLRConfig
    projects_embeddings = True
    needs_clusters = ("mask_same_cluster",)

    def __init__(self, encoder: Encoder, config: SimCLRConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        self.segments = (Segment(config.segment_seconds, "anchor"), Segment(config.segment_seconds, "positive"))
        self.projection_dimension = encoder.dimension

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The embeddings themselves."""
        anchor_BP, positive_BP = self.encode(views, self.config.views)
        return anchor_BP.unsqueeze(0), positive_BP.unsqueeze(0)

    def loss(self, pairs: Pairs) -> Tensor:
        """A batch of one utterance has no negatives and is refused."""
        config = self.config
        z1_BP, z2_BP = gather(pairs.anchors_ABP[0]), gather(pairs.positives_SBP[0])
        check_rows("simclr", z1_BP)
        self.measure(**cosine_measures(z1_BP.detach(), z2_BP.detach()))
        masked_RR = self._mask(pairs.clusters_2B) if config.mask_same_cluster else None
        return nt_xent_loss(z1_BP, z2_BP, config.temperature, config.symmetric, config.margin, masked_RR)

    def _mask(self, clusters_2B: Tensor | None) -> Tensor | None:
        """(R, R) negatives of all processes to leave out, `masked_share` of them all; None without clusters."""
        if clusters_2B is None:
            self.measure(masked_share=torch.zeros(()))
            return None
        everyone_2B = gather(clusters_2B.T).T
        masked_RR = false_negatives(everyone_2B, self.config.symmetric)
        rows = len(masked_RR)
        negatives = rows * (rows - rows // everyone_2B.shape[1])
        self.measure(masked_share=masked_RR.sum() / negatives)
        return masked_RR
