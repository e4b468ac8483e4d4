"""DINO: self-distillation with a teacher that is a moving average of the student.

Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021; for speakers as in equation (2)
of the SSPS paper (Lepage and Dehak, arXiv 2505.14561) and its authors' settings.
Shapes: B utterances, P width of the bottleneck, K prototypes; views of student and teacher are S and T in the loss,
A anchors and S slots in the class, as of every method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from sslsv_tk.distributed.collectives import processes, total
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs, encode
from sslsv_tk.nn.dino_head import DINOHead
from sslsv_tk.nn.heads import over_views
from sslsv_tk.nn.momentum import follow, frozen_copy
from sslsv_tk.schedules import Progress, cosine
from sslsv_tk.segments import Segment


@dataclass(frozen=True)
class DINOConfig:
    """Settings of DINO."""

    global_views: int = 2  # long segments, seen by teacher and student
    global_seconds: float = 4.0  # of each of them
    local_views: int = 4  # short segments, seen by the student alone
    local_seconds: float = 2.0  # of each of them
    hidden: int = 2048  # width of the two hidden layers of the head
    bottleneck: int = 256  # width of the unit rows that the prototypes are compared with
    prototypes: int = 65_536  # outputs; 2,048 are enough for thousands of utterances
    student_temperature: float = 0.1  # of the student's outputs
    teacher_temperature: float = 0.04  # of the teacher's outputs; lower: sharper targets
    teacher_temperature_start: float | None = None  # before its warm-up, a straight line; null: no warm-up
    teacher_temperature_epochs: float = 0.0  # of that warm-up; 0 where there is none
    centre_momentum: float = 0.9  # share of the old centre that a step keeps
    teacher_momentum: float = 0.996  # share of the old teacher that a step keeps, at first; a cosine to 1 over the span
    average_statistics: bool = False  # also average batch-norm statistics; false: the teacher's own passes make them
    frozen_epochs: float = 1.0  # the prototypes do not change for so long
    average_pairs: bool = True  # mean over the pairs of views (authors' code); false: their sum, equation (2)
    partner_views: Literal["teacher", "global"] = "teacher"
    """Which views positives that are cut from a partner's audio serve: the teacher's alone (the student sees global
    segments of its own, so two more segments are cut), or the global ones of both networks, so that only local views
    are the utterance's own (the authors' supervised positive sampling)."""
    queue_outputs: bool = False
    """Positives are the teacher's K outputs, as the authors' code keeps them, and not its bottleneck of P values: with
    65,536 prototypes a queue of 25,000 utterances then takes 13 GB and not 51 MB, and its rows stay those of the
    prototypes of their time."""

    def __post_init__(self) -> None:
        _check_views(self)
        _check_numbers(self)


def _check_views(config: DINOConfig) -> None:
    if config.global_views < 1 or config.local_views < 0 or config.global_views + config.local_views < 2:
        raise ValueError(
            "dino: expected at least one global view (the teacher's) and two views in all (the student's); found "
            f"global_views {config.global_views} and local_views {config.local_views}. The paper has 2 and 4."
        )
    if config.local_views and config.local_seconds > config.global_seconds:
        raise ValueError(
            "dino: local views are the short ones; found local_seconds "
            f"{config.local_seconds} above global_seconds {config.global_seconds}. The paper has 2 and 4."
        )


def _check_numbers(config: DINOConfig) -> None:
    start, epochs = config.teacher_temperature_start, config.teacher_temperature_epochs
    for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} of dino must be above 0; found {value}.")
    if epochs < 0 or (start is None) != (epochs == 0):
        raise ValueError(
            "dino: a warm-up of the teacher's temperature needs teacher_temperature_start and "
            f"teacher_temperature_epochs above 0, none of them otherwise; found {start} and {epochs}."
        )
    if not 0 <= config.centre_momentum <= 1:
        raise ValueError(f"centre_momentum of dino must be from 0 to 1; found {config.centre_momentum}.")
    if not 0 <= config.teacher_momentum < 1:
        raise ValueError(
            "teacher_momentum of dino must be from 0 to below 1 (the teacher, which is evaluated, would never move); "
            f"found {config.teacher_momentum}."
        )
    if config.hidden < 1 or config.bottleneck < 1 or config.prototypes < 2 or config.frozen_epochs < 0:
        raise ValueError(
            "dino: expected hidden and bottleneck of at least 1, at least 2 prototypes, frozen_epochs not negative; "
            f"found {config.hidden}, {config.bottleneck}, {config.prototypes} and {config.frozen_epochs}."
        )


def teacher_distribution(teacher_TBK: Tensor, centre_K: Tensor, temperature: float) -> Tensor:
    """The targets (T, B, K).

    Centring keeps one prototype from winning always, the low temperature all from being equal.
    """
    return torch.softmax((teacher_TBK - centre_K) / temperature, dim=-1)


def view_pair_cross_entropy(student_SBK: Tensor, target_TBK: Tensor, temperature: float, average: bool) -> Tensor:
    """Cross entropy of student views with the targets of teacher views, over all pairs but those of one segment.

    The first views of both are of the same segments. The cross entropy is linear in its target, so each student view
    meets the sum of the targets of its pairs once: S terms of K values and not one per pair.
    """
    views, batch = student_SBK.shape[:2]
    pairs = views * len(target_TBK) - min(views, len(target_TBK))
    if pairs < 1:
        raise ValueError("DINO pairs student and teacher views of different segments; found one view of each.")
    everyone_BK = target_TBK.sum(0)
    loss = student_SBK.new_zeros(())
    for view, student_BK in enumerate(student_SBK.unbind()):
        target_BK = everyone_BK - target_TBK[view] if view < len(target_TBK) else everyone_BK
        loss = loss + functional.cross_entropy(student_BK / temperature, target_BK, reduction="sum")
    return loss / (batch * pairs if average else batch)


def dino_loss(
    student_SBK: Tensor,
    teacher_TBK: Tensor,
    centre_K: Tensor,
    student_temperature: float,
    teacher_temperature: float,
    average: bool = True,
) -> Tensor:
    """Equation (2) of the SSPS paper: 1/B sum_i sum_t sum_{s != t} H((z'_it - c) / tau_t, z_is / tau_s).

    H(a, b) = -softmax(a) . log softmax(b). `average`: divided by the number of pairs (t, s), 10 of 2 and 6 views.
    No gradient flows into the teacher's outputs.
    """
    target_TBK = teacher_distribution(teacher_TBK.detach(), centre_K, teacher_temperature)
    return view_pair_cross_entropy(student_SBK, target_TBK, student_temperature, average)


def target_measures(target_TBK: Tensor) -> dict[str, Tensor]:
    """What the teacher's targets tell, in nats.

    `teacher_entropy`: mean entropy of a target, from 0 (one prototype takes all) to log K (all are equal).
    `teacher_information`: entropy of the mean target minus that mean: what a target tells of its utterance; 0 when
    all are the same, whichever way they collapsed, log(T B) at most.
    """
    entropy = torch.special.entr(target_TBK).sum(-1).mean()
    mean_K = target_TBK.mean((0, 1))
    return {"teacher_entropy": entropy, "teacher_information": torch.special.entr(mean_K).sum() - entropy}


class DINO(Method):
    """The student predicts, from each view, what the teacher says of the other global views."""

    Config = DINOConfig
    collapse_remedies: ClassVar[str] = (
        "where classes share all alike, a lower method.teacher_temperature or fewer method.prototypes; where one class "
        "takes all, a higher method.teacher_temperature or a lower method.centre_momentum; optimisation.warm_up_epochs"
    )
    follows_span: ClassVar[bool] = True
    training_only: ClassVar[tuple[str, ...]] = ("head.", "teacher_head.", "centre_K")
    config: DINOConfig
    centre_K: Tensor

    def __init__(self, encoder: Encoder, config: DINOConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        side: Literal["both", "positive"] = "both" if config.partner_views == "teacher" else "positive"
        self.segments = (
            *[Segment(config.global_seconds, side)] * config.global_views,
            *[Segment(config.local_seconds, "anchor")] * config.local_views,
        )
        self.slots = config.global_views
        self.projection_dimension = config.prototypes if config.queue_outputs else config.bottleneck
        self.head = DINOHead(encoder.dimension, config.hidden, config.bottleneck, config.prototypes)
        self.teacher_encoder, self.teacher_head = frozen_copy(encoder), frozen_copy(self.head)
        self.register_buffer("centre_K", torch.zeros(config.prototypes))
        self._batch_mean_K: Tensor | None = None  # from `loss` to `after_step` of the same step
        self._teacher_temperature = config.teacher_temperature

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Unit rows of the student (A, B, P) and of the teacher (S, B, P; with `queue_outputs` its outputs, S, B, K).

        Global segments that were cut a second time, from a partner, come last and are the teacher's.
        """
        self._check(views)
        count, planned = self.config.global_views, len(self.segments)
        seen = views[planned:] or views[:count]
        embeddings_ABD = self.encode(views[:planned])
        # Global and local views do not share statistics, as in the authors' code.
        parts = [part for part in (embeddings_ABD[:count], embeddings_ABD[count:]) if len(part)]
        anchors_ABP = torch.cat([over_views(self.head, part) for part in parts])
        with torch.no_grad():
            positives_SBP = over_views(self.teacher_head, encode(self.teacher_encoder, seen))
            if self.config.queue_outputs:
                positives_SBP = self.teacher_head.prototypes(positives_SBP)
        return anchors_ABP, positives_SBP

    def _check(self, views: Sequence[Tensor]) -> None:
        planned, count = len(self.segments), self.config.global_views
        again = count if self.config.partner_views == "teacher" else 0
        if len(views) not in (planned, planned + again):
            raise ValueError(
                f"DINO expected {planned} views in the order of its segments, or {planned + again} where the global "
                f"ones are cut a second time from a partner; found {len(views)}."
            )
        smallest = min(count, self.config.local_views or count) * len(views[0])
        if self.training and smallest < 2:
            raise ValueError(
                "The batch norms of DINO's heads need at least two segments of a kind; found one utterance with one "
                "global or one local view. Raise training.batch_size, or global_views and local_views."
            )

    def loss(self, pairs: Pairs) -> Tensor:
        config = self.config
        student_ABK = self.head.prototypes(pairs.anchors_ABP)
        with torch.no_grad():
            teacher_SBK = pairs.positives_SBP
            if not config.queue_outputs:
                teacher_SBK = self.teacher_head.prototypes(teacher_SBK)
            self._batch_mean_K = total(teacher_SBK.mean((0, 1))) / processes()
            target_SBK = teacher_distribution(teacher_SBK, self.centre_K, self._teacher_temperature)
        loss = view_pair_cross_entropy(student_ABK, target_SBK, config.student_temperature, config.average_pairs)
        self._measure(target_SBK, loss.detach())
        return loss

    def _measure(self, target_SBK: Tensor, loss: Tensor) -> None:
        """`kl`: mean divergence of teacher || student over the pairs, the part of the loss that can become 0."""
        numbers = target_measures(target_SBK)
        pairs = 1 if self.config.average_pairs else self.slots * (len(self.segments) - 1)
        numbers["kl"] = loss / pairs - numbers["teacher_entropy"]
        self.measure(**numbers, centre_norm=self.centre_K.norm())

    def scoring_encoder(self) -> Encoder:
        """The teacher's."""
        return self.teacher_encoder

    def before_step(self, progress: Progress) -> None:
        """The teacher's temperature, where it has a warm-up."""
        self._teacher_temperature = teacher_temperature(self.config, progress)

    def after_backward(self, progress: Progress) -> None:
        """The prototypes rest for the first epoch."""
        if progress.epochs < self.config.frozen_epochs:
            self.head.prototypes.weight.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        """The teacher follows; the centre takes in what the loss saw of the teacher, replaced rows included."""
        momentum = cosine(self.config.teacher_momentum, 1.0, progress.share)
        for teacher, student in ((self.teacher_encoder, self.encoder), (self.teacher_head, self.head)):
            follow(teacher, student, momentum, self.config.average_statistics)
        if self._batch_mean_K is not None:
            self.centre_K.lerp_(self._batch_mean_K, 1 - self.config.centre_momentum)
            self._batch_mean_K = None


def teacher_temperature(config: DINOConfig, progress: Progress) -> float:
    """A straight line from its start over its warm-up, then what it stays at."""
    if config.teacher_temperature_start is None:
        return config.teacher_temperature
    done = min(progress.epochs / config.teacher_temperature_epochs, 1.0)
    return config.teacher_temperature_start + (config.teacher_temperature - config.teacher_temperature_start) * done
