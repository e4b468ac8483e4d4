"""SwAV (Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", NeurIPS 2020).

Each view predicts the prototypes that the other one is assigned to. Shapes: B utterances, V = 2 views, D width of an
embedding, P width of a projection, K prototypes, Q rows of a queue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sslsv_tk.distributed.collectives import gather, own_share
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs
from sslsv_tk.nn.heads import Views, mlp, over_views
from sslsv_tk.nn.precision import single
from sslsv_tk.nn.prototypes import ScaledPrototypes
from sslsv_tk.nn.row_queue import RowQueue
from sslsv_tk.nn.sinkhorn import sinkhorn
from sslsv_tk.schedules import Progress
from sslsv_tk.segments import Segment


@dataclass(frozen=True)
class SwAVConfig:
    """Settings of SwAV."""

    hidden: tuple[int, ...] = (2048, 2048)  # widths inside the projector, each with batch norm and ReLU
    projection: int = 512  # width of a projection
    prototypes: int = 6000  # a few times the number of speakers that one expects
    prototype_length: Literal["unit", "learned"] = "unit"
    """unit: scores are cosines, as in the paper; learned: prototypes have lengths that are trained, .577 at first, as
    in the SSPS authors' code. Shorter ones soften predictions and assignments alike."""
    frozen_epochs: float = 1.0  # the prototypes stay as they are for so long
    temperature: float = 0.1  # of the cosines with the prototypes, in the prediction
    sinkhorn_iterations: int = 3
    sinkhorn_epsilon: float = 0.05  # softness of the assignments; 0.03 where all rows get the same one
    queue_size: int = 3840  # earlier projections of each view that are assigned with the batch; 0: none
    queue_epoch: float = 15.0  # epochs done before the queues are used, as soon as they are full
    queue_from_start: bool = False  # projections enter the queues from the first step, as in the SSPS authors' code;
    # false: from queue_epoch on
    queue_rows: Literal["seen", "own"] = "seen"  # seen: the positives of the loss; own: those before replacement
    views: Views = "apart"
    """apart: each view goes through encoder and projector by itself, with batch statistics of its own, as in the
    authors' code; together: both in one pass with the statistics of both, which is faster."""
    segment_seconds: float = 2.0  # of each of the two views

    def __post_init__(self) -> None:
        for name in ("temperature", "sinkhorn_epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} of swav must be above 0; found {getattr(self, name)}.")
        if min(*self.hidden, self.projection, self.sinkhorn_iterations) < 1:
            raise ValueError("hidden, projection and sinkhorn_iterations of swav must be at least 1.")
        if self.prototypes < 2:
            raise ValueError(
                f"prototypes of swav: one alone predicts nothing; expected 2 or more, found {self.prototypes}."
            )
        if min(self.queue_size, self.queue_epoch, self.frozen_epochs) < 0:
            raise ValueError("queue_size, queue_epoch and frozen_epochs of swav must not be negative.")


def swapped_prediction_loss(
    scores_1_BK: Tensor, scores_2_BK: Tensor, assignments_1_BK: Tensor, assignments_2_BK: Tensor, temperature: float
) -> Tensor:
    """Cross entropy of each view's scores with the other view's assignments, mean of both directions.

    Equations (1) and (2) of Caron et al., 2020; the scores are cosines with the prototypes.
    """
    log_1_BK = functional.log_softmax(scores_1_BK / temperature, dim=1)
    log_2_BK = functional.log_softmax(scores_2_BK / temperature, dim=1)
    return -((assignments_2_BK * log_1_BK).sum(1) + (assignments_1_BK * log_2_BK).sum(1)).mean() / 2


def assignment_measures(assignments_BK: Tensor) -> dict[str, Tensor]:
    """How sharp assignments are, and how many prototypes they use.

    `assignment_entropy`: mean entropy of a row in nats: 0 for one prototype each, log K for all of them alike.
    `used_prototypes`: exponential of the entropy of the mean row: 1 where all rows get one prototype, up to K.
    `assignment_information`: what an assignment tells of its row, in nats: 0 where all rows get the same one.
    """
    entropy = torch.special.entr(assignments_BK).sum(1).mean()
    of_mean = torch.special.entr(assignments_BK.mean(0)).sum()
    return {
        "assignment_entropy": entropy,
        "used_prototypes": of_mean.exp(),
        "assignment_information": of_mean - entropy,
    }


class SwAV(Method):
    """Two augmented segments of one utterance; each is to predict the other's balanced prototypes."""

    Config = SwAVConfig
    config: SwAVConfig
    training_only = ("queue_",)
    collapse_remedies = "a lower sinkhorn_epsilon (sharper assignments), prototypes that stay frozen for longer"

    def __init__(self, encoder: Encoder, config: SwAVConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        self.segments = (Segment(config.segment_seconds, "anchor"), Segment(config.segment_seconds, "positive"))
        self.projection_dimension = config.projection
        self.projector = mlp((encoder.dimension, *config.hidden, config.projection))
        is_unit = config.prototype_length == "unit"
        shape = config.projection, config.prototypes
        self.prototypes: nn.Module = nn.Linear(*shape, bias=False) if is_unit else ScaledPrototypes(*shape)
        self.queue_1 = RowQueue(config.queue_size, config.projection)
        self.queue_2 = RowQueue(config.queue_size, config.projection)
        self._own_BP: Tensor | None = None
        self._seen_VBP: tuple[Tensor, Tensor] | None = None
        self._epochs = 0.0  # done before the step at hand
        self._normalise_prototypes()

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Both views through encoder and projector."""
        how = self.config.views
        anchor_BP, positive_BP = single(over_views(self.projector, self.encode(views, how), how))
        self._own_BP = positive_BP.detach()
        return anchor_BP.unsqueeze(0), positive_BP.unsqueeze(0)

    def loss(self, pairs: Pairs) -> Tensor:
        config = self.config
        z1_BP = functional.normalize(pairs.anchors_ABP[0], dim=-1)
        z2_BP = functional.normalize(pairs.positives_SBP[0], dim=-1)
        scores_1_BK, scores_2_BK = self.prototypes(z1_BP), self.prototypes(z2_BP)
        assignments_1_BK = self._assign(scores_1_BK.detach(), self.queue_1)
        assignments_2_BK = self._assign(scores_2_BK.detach(), self.queue_2)
        self._seen_VBP = z1_BP.detach(), z2_BP.detach()
        loss = swapped_prediction_loss(scores_1_BK, scores_2_BK, assignments_1_BK, assignments_2_BK, config.temperature)
        self._measure(loss.detach(), torch.cat([assignments_1_BK, assignments_2_BK]))
        return loss

    def _measure(self, loss: Tensor, assignments_BK: Tensor) -> None:
        """Health of the step; `divergence`: of the predictions from the assignments (Kullback-Leibler, nats)."""
        assert self._seen_VBP is not None
        first_BP, second_BP = self._seen_VBP
        measured = assignment_measures(assignments_BK)
        cosine = (first_BP * second_BP).sum(1).mean()
        self.measure(positive_cosine=cosine, divergence=loss - measured["assignment_entropy"], **measured)

    @torch.no_grad()
    def _assign(self, scores_BK: Tensor, queue: RowQueue) -> Tensor:
        """Assignments (B, K) of the batch, balanced together with the rows of the queue where it is used."""
        together, config = scores_BK, self.config
        is_due = self._epochs >= config.queue_epoch or not config.queue_from_start  # else what is full is due
        if config.queue_size and is_due and queue.is_full():
            together = torch.cat([scores_BK, self.prototypes(own_share(queue.rows_QP))])
        return sinkhorn(together, self.config.sinkhorn_iterations, self.config.sinkhorn_epsilon)[: len(scores_BK)]

    def before_step(self, progress: Progress) -> None:
        """Note how far training is, and make prototypes of unit length such again."""
        self._epochs = progress.epochs
        self._normalise_prototypes()

    @torch.no_grad()
    def _normalise_prototypes(self) -> None:
        if isinstance(self.prototypes, nn.Linear):
            weight_KP = self.prototypes.weight
            weight_KP.copy_(functional.normalize(weight_KP, dim=1))

    def after_backward(self, progress: Progress) -> None:
        """At first the projections arrange themselves around prototypes that stand still."""
        if progress.epochs < self.config.frozen_epochs:
            for parameter in self.prototypes.parameters():
                parameter.grad = None

    def after_step(self, progress: Progress) -> None:
        """The projections of the step, of all processes, enter the queues."""
        if self._seen_VBP is None:
            return
        (first_BP, second_BP), own_BP = self._seen_VBP, self._own_BP
        self._seen_VBP = self._own_BP = None
        config = self.config
        if not config.queue_size or (progress.epochs < config.queue_epoch and not config.queue_from_start):
            return
        if config.queue_rows == "own" and own_BP is not None:
            second_BP = functional.normalize(own_BP, dim=-1)
        for queue, rows_BP in zip((self.queue_1, self.queue_2), (first_BP, second_BP), strict=True):
            queue.push(gather(rows_BP))
