"""The reference embeddings of all utterances, the newest of each, and what of them is noise.

Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for Robust Self-Supervised Speaker Verification",
Interspeech 2025, arXiv 2505.14561. N utterances, B batch, R reference segments of an utterance, D embedding.
Of W processes, process r keeps the embeddings of the utterances i with i % W == r, O of them, in row i // W.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk.clustering.shared_rows import SharedRows
from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.shards import ShardNames
from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.filling import FilledBy, Refresh
from sslsv_tk.sampling.part import Part

_log = logging.getLogger("train")
_ROWS_AT_ONCE = 2**15  # of embeddings whitened in fp32: 64 MiB at 512 values


@dataclass(frozen=True, kw_only=True)
class ReferenceConfig:
    """Settings of reference embeddings; the defaults are the paper's."""

    filling: FilledBy = "pass"
    """Where the first references, and rows of a queue, come from: a pass over all utterances in evaluation mode before
    the first epoch, or that epoch itself, in which every utterance then keeps its own positive."""
    refresh: Refresh = "steps"
    """When references are renewed: each in the step that trains on its utterance, so that they are of encoders of a
    whole epoch, or all of them by one encoder in a pass before every epoch, for the same work."""
    reference_segments: int = 1
    """R: a reference is the mean of the embeddings of so many segments."""
    whitening: Literal["none", "within_utterance"] = "none"
    """within_utterance: distances are measured where the segments of an utterance differ equally in all directions
    (within-class covariance normalisation with utterances as classes), so that what changes within an utterance
    counts less. Needs two reference segments."""
    shrinkage: float = 0.3
    """Share of a multiple of the identity in the covariance within utterances, 0 to 1."""
    reference_dtype: Literal["float32", "float16"] = "float32"
    """How reference embeddings are stored (N x D values)."""

    def __post_init__(self) -> None:
        if self.reference_segments < 1:
            raise ValueError(f"reference_segments: expected at least 1, found {self.reference_segments}.")
        if self.whitening != "none" and self.reference_segments < 2:
            raise ValueError(
                "whitening: within_utterance looks at how the segments of an utterance differ; found "
                f"reference_segments = {self.reference_segments}. Set it to 2 or more."
            )
        if not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage: expected a share from 0 to 1, found {self.shrinkage}.")


class References(Part):
    """One reference embedding per utterance, the newest; every process keeps its share of them."""

    saved = ("embeddings_ND", "seen_N", "scatter_DD", "scattered")
    shards = ShardNames(sharded=("embeddings_ND",), summed=("scatter_DD",))

    def __init__(self, config: ReferenceConfig, facts: SamplerFacts) -> None:
        facts.check_positives()
        self.config = config
        dimension, device = facts.embedding_dimension, facts.device
        kind = torch.float16 if config.reference_dtype == "float16" else torch.float32
        own = len(collectives.own_rows(facts.utterances))
        self.embeddings_ND = torch.zeros(own, dimension, dtype=kind, device=device)
        """(O, D) this process's share of them."""
        self.seen_N = torch.zeros(facts.utterances, dtype=torch.bool, device=device)
        width = dimension if config.whitening != "none" else 0
        self.scatter_DD = torch.zeros(width, width, device=device)
        """Sum of outer products of segments about their utterance's mean, since `collect`: the part of the
        utterances that are this process's."""
        self.scattered = 0
        """Degrees of freedom of the whole sum."""

    def observe(self, utterance_B: Tensor, reference_RBD: Tensor | None) -> None:
        """Keep the mean embeddings of a batch, of unit length; the segments' own rows have unit length, too.

        Every process is shown the whole batch and keeps its share. None, in a step, is right where references are
        renewed in passes alone.
        """
        if reference_RBD is None:
            if self.config.refresh == "epochs":
                return
            raise ValueError("These positives need the embeddings of reference segments with every batch, found none.")
        self.seen_N[utterance_B] = True
        if len(self.scatter_DD):
            self.scattered += (len(reference_RBD) - 1) * len(utterance_B)
        place_B, reference_RBD = _own(utterance_B, reference_RBD.detach())
        self.embeddings_ND[place_B] = mean_reference(reference_RBD).to(self.embeddings_ND.dtype)
        if len(self.scatter_DD):
            reference_RBD = reference_RBD.float()
            apart_D = (reference_RBD - reference_RBD.mean(0)).flatten(0, 1)
            self.scatter_DD.addmm_(apart_D.T, apart_D)

    def collect(self) -> tuple[Tensor, SharedRows]:
        """For an epoch: all utterances seen, the same on every process, and their references; all call this together.

        Each reference is a unit row on the process that keeps it, in coordinates where they are to be compared. What
        whitens the next epoch's is that of newer encoders alone.
        """
        rows, points = self.shared_points()
        self.scatter_DD.zero_()
        self.scattered = 0
        return rows, points

    def points(self) -> tuple[Tensor, Tensor]:
        """Those of the utterances seen that are this process's, and their embeddings where they are to be compared.

        The embeddings are unit rows; all processes call this together.
        """
        seen_O = collectives.own_share(self.seen_N)
        place_O = seen_O.nonzero()[:, 0]
        points_OD = self.embeddings_ND if len(place_O) == len(seen_O) else self.embeddings_ND[place_O]
        if len(self.scatter_DD) and self.scattered:
            within_DD = collectives.summed(self.scatter_DD / self.scattered)
            if not within_DD.trace() > 0:
                _log.warning(
                    "whitening does nothing: the reference segments of an utterance are the same, as they are where "
                    "none is longer than a segment"
                )
            points_OD = whitened(points_OD, within_DD, self.config.shrinkage)
        return place_O * collectives.processes() + collectives.rank(), points_OD

    def shared_points(self) -> tuple[Tensor, SharedRows]:
        """All utterances seen, the same on every process, and their embeddings, each on the process that keeps it."""
        own_rows, points_OD = self.points()
        if collectives.processes() == 1:
            return own_rows, SharedRows(points_OD)
        rows = self.seen_N.nonzero()[:, 0]
        return rows, SharedRows(points_OD, rows % collectives.processes())


def _own(utterance_B: Tensor, reference_RBD: Tensor) -> tuple[Tensor, Tensor]:
    """Of a batch what this process keeps: places in its share, and reference segments."""
    if collectives.processes() == 1:
        return utterance_B, reference_RBD
    is_own_B = utterance_B % collectives.processes() == collectives.rank()
    return utterance_B[is_own_B] // collectives.processes(), reference_RBD[:, is_own_B]


def mean_reference(reference_RBD: Tensor) -> Tensor:
    """(B, D) unit rows: the mean of each utterance's segments."""
    return normalize(reference_RBD.detach().float().mean(0), dim=1)


def whitened(points_ND: Tensor, within_DD: Tensor, shrinkage: float) -> Tensor:
    """Centred points, unit rows again, in coordinates in which the covariance `within` is the identity.

    With C the inverse of (1 - shrinkage) within + shrinkage mean(diag(within)) I and C = L L', a point x becomes
    L' (x - mean), so that cosines are those of Hatch, Kajarekar and Stolcke, "Within-class covariance normalization for
    SVM-based speaker recognition", Interspeech 2006. Points all of whose differences vanish stay where they are.
    The mean is that of the points of all processes, which call this together.
    """
    within_DD = within_DD.double()
    level = within_DD.diagonal().mean()
    if not level > 0:
        return points_ND
    identity_DD = torch.eye(len(within_DD), dtype=torch.float64, device=within_DD.device)
    shrunk_DD = (1 - shrinkage) * within_DD + max(shrinkage, 1e-6) * level * identity_DD
    turn_DD = torch.linalg.cholesky(torch.linalg.inv(shrunk_DD)).float()
    mean_D = _mean(points_ND)
    parts = [normalize((part.float() - mean_D) @ turn_DD, dim=1) for part in points_ND.split(_ROWS_AT_ONCE)]
    return torch.cat(parts)


def _mean(points_ND: Tensor) -> Tensor:
    """(D,) float32: the mean of the points of all processes, of which some may have none."""
    if collectives.processes() == 1:
        return points_ND.mean(0, dtype=torch.float32)
    sum_D = points_ND.sum(0, dtype=torch.float32)
    count_1 = torch.full_like(sum_D[:1], len(points_ND), dtype=torch.float64)
    return collectives.summed(sum_D) / collectives.summed(count_1).float()
