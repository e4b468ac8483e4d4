"""What every method is: a configuration, a loss and a class in one file.

Shapes: B utterances, V views, A anchors per utterance, S positive slots, P width of a projection, D width of an
embedding.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sslsv_tk.distributed.collectives import gather, processes
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.nn.heads import Views
from sslsv_tk.nn.precision import single
from sslsv_tk.nn.recomputation import in_parts
from sslsv_tk.schedules import Progress
from sslsv_tk.segments import SegmentPlan


@dataclass(frozen=True, eq=False)
class Pairs:
    """What a loss compares: projections of the rows of one process, and what is known of the utterances behind them."""

    anchors_ABP: Tensor
    """Projections that carry the gradient: (A, B, P), each method its own A."""
    positives_SBP: Tensor
    """What each utterance's anchors shall be near to: (S, B, P). Rows that a sampler put in are constants."""
    labels_B: Tensor | None = None
    """(B,) code of the true speaker, for methods with `needs_labels`; None for all others."""
    clusters_2B: Tensor | None = None
    """(2, B) cluster of the anchor's utterance, and of the utterance that the positive comes from: -1 unknown; None
    where the sampler has no clusters."""


class Method(nn.Module):
    """A way to train an encoder from pairs of segments.

    A subclass names its configuration dataclass as `Config` and sets `segments` (what the loader must cut from
    each utterance) and `projection_dimension` (P). A method never knows whether its positives were replaced.
    """

    Config: type[Any]
    needs_labels: ClassVar[bool] = False
    """Does the loss look at true speakers? Then the class gets their number, and `loss` their codes."""
    needs_clusters: ClassVar[tuple[str, ...]] = ()
    """Settings that do something only where positives have clusters: stage 5 may switch them on."""
    follows_span: ClassVar[bool] = False
    """Does a schedule of the method end with the span of the run?"""
    training_only: ClassVar[tuple[str, ...]] = ()
    """First words of the names of state that only further training reads (queues): epoch files do without it."""
    projects_embeddings: ClassVar[bool] = False
    """Are projections the embeddings themselves, so that a centroid of embeddings can stand for one?"""
    synchronised_batch_norm: ClassVar[bool] = True
    """Of several processes, do batch norms look at the rows of all? Else each at its own, and running statistics are
    averaged after every step."""
    collapse_remedies: ClassVar[str] = ""
    """What of the method's own settings may help when all embeddings become alike."""
    segments: SegmentPlan
    slots: int = 1  # S
    projection_dimension: int

    def __init__(self, encoder: Encoder, config: Any, classes: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self._measures: dict[str, Tensor] = {}
        self._spread: dict[str, Tensor] = {}

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Views in the order of `segments` to anchors (A, B, P) and positives (S, B, P)."""
        raise NotImplementedError

    def loss(self, pairs: Pairs) -> Tensor:
        """The scalar to minimise, in single precision. Writes nothing that another step reads."""
        raise NotImplementedError

    def encode(self, views: Sequence[Tensor], how: Views = "together") -> Tensor:
        """Embeddings (V, B, D) of the views by the encoder that is trained; their spread goes into the measures."""
        if how == "apart" and self.training:
            self._check_batch(len(views[0]))
        embeddings_VBD = encode(self.encoder, views, how)
        self._spread = spread_measures(embeddings_VBD.detach().flatten(0, 1))
        return embeddings_VBD

    def _check_batch(self, own: int) -> None:
        """Refuse views of one row, whose batch norms have no variance; `own` rows of this process."""
        rows = own * processes() if self.synchronised_batch_norm else own
        if rows < 2:
            raise ValueError(
                f"The method {type(self).__name__.lower()} passes each view through batch norms by itself, which need "
                f"at least 2 utterances of a batch; found {rows}. Raise training.batch_size."
            )

    @torch.no_grad()
    def embed_reference(self, reference: Tensor) -> Tensor:
        """Embeddings (B, D) of reference segments, unit length, in evaluation mode; no statistics change."""
        with evaluation_mode(self):
            return nn.functional.normalize(self.scoring_encoder()(reference).float(), dim=-1)

    def scoring_encoder(self) -> Encoder:
        """The encoder that extraction uses; for methods with a teacher, the teacher's."""
        return self.encoder

    def before_step(self, progress: Progress) -> None:
        """Set what follows a schedule."""

    def after_backward(self, progress: Progress) -> None:
        """Remove the gradients of what is frozen (None, since zero would still be decayed and carry momentum)."""

    def after_step(self, progress: Progress) -> None:
        """Once per optimiser step: moving averages, queues, centres."""

    def measure(self, **numbers: Tensor) -> None:
        """Keep numbers of this step for the log."""
        self._measures.update({name: number.detach() for name, number in numbers.items()})

    def measures(self) -> dict[str, Tensor]:
        """Detached numbers of the last step for the log."""
        return {**self._measures, **self._spread}

    def weights(self) -> dict[str, Tensor]:
        """The state without what only further training reads: what epoch files hold and what is averaged."""
        return {name: t for name, t in self.state_dict().items() if not name.startswith(self.training_only)}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Take over `weights`, or a whole state; a RuntimeError names what is missing or not ours."""
        kept = {name: t for name, t in self.state_dict().items() if name.startswith(self.training_only)}
        self.load_state_dict({**kept, **state})


def encode(encoder: Encoder, views: Sequence[Tensor], how: Views = "together") -> Tensor:
    """Embeddings (V, B, D) of views; together: neighbours of one length in one pass, so they share batch statistics."""
    if how == "apart":
        return single(torch.stack([_embed(encoder, view) for view in views]))
    embeddings = []
    for _, alike in itertools.groupby(views, key=lambda view: view.shape[-1]):
        group = list(alike)
        embeddings.append(single(_embed(encoder, torch.cat(group))).unflatten(0, (len(group), -1)))
    return torch.cat(embeddings)


def _embed(encoder: Encoder, rows: Tensor) -> Tensor:
    return in_parts(encoder, rows, encoder.parts if encoder.training else 1)


def check_rows(name: str, rows_BP: Tensor) -> None:
    """Refuse a batch of one utterance, for methods whose loss looks at other rows of the batch."""
    if len(rows_BP) < 2:
        raise ValueError(
            f"The method {name} compares the utterances of a batch, over all processes, and needs at least 2; found "
            f"{len(rows_BP)}. Raise training.batch_size."
        )


def same_cluster(clusters_2A: Tensor, candidate_C: Tensor) -> Tensor:
    """(A, C): is a candidate in the cluster of an anchor (first row), or in that of its positive (second row)?

    Unknown clusters (-1) are nobody's.
    """
    own_A1, chosen_A1 = clusters_2A[:, :, None]
    is_same_AC: Tensor = ((own_A1 == candidate_C) | (chosen_A1 == candidate_C)) & (candidate_C >= 0)
    return is_same_AC


def spread_measures(embeddings_BD: Tensor) -> dict[str, Tensor]:
    """How far embeddings, of all processes, are from one single point, where a method without labels can collapse to.

    `embedding_deviation`: standard deviation of each value of the unit-length rows over the batch, mean over the
    values, times sqrt(D): 0 when all rows are equal, 1 when their directions are uniform (Chen and He, "Exploring
    simple Siamese representation learning", CVPR 2021, section 4.1).
    `effective_rank`: 1 over the mean squared cosine of all pairs of rows (each with itself, too), which is the
    exponential of the order-2 entropy of the eigenvalues of their Gram matrix: 1 when all are equal, min(B, D) at most.
    """
    rows_BD = gather(nn.functional.normalize(embeddings_BD.float(), dim=-1))
    variance_D = rows_BD.var(0, unbiased=False)
    gram = rows_BD @ rows_BD.T if len(rows_BD) < rows_BD.shape[1] else rows_BD.T @ rows_BD
    return {
        "embedding_deviation": variance_D.sqrt().mean() * rows_BD.shape[1] ** 0.5,
        "effective_rank": len(rows_BD) ** 2 / gram.square().sum().clamp(min=1e-12),
    }


def projection_measures(rows_BP: Tensor) -> dict[str, Tensor]:
    """`spread_measures` of projections, as `projection_deviation` and `projection_rank`."""
    spread = spread_measures(rows_BP.detach())
    return {"projection_deviation": spread["embedding_deviation"], "projection_rank": spread["effective_rank"]}


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; each part gets its own mode back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
