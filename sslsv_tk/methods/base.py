"""What every method is: a configuration, a loss and a class in one file.

Shapes: B utterances, A anchors per utterance, S positive slots, P width of a projection, D width of an embedding.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.segments import SegmentPlan


class Method(nn.Module):
    """A way to train an encoder from pairs of segments.

    A subclass names its configuration dataclass as `Config` and sets `segments` (what the loader must cut from
    each utterance) and `projection_dimension` (P). A method never knows whether its positives were replaced.
    """

    Config: type[Any]
    segments: SegmentPlan
    slots: int = 1  # S
    projection_dimension: int

    def __init__(self, encoder: Encoder, config: Any, classes: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self._measures: dict[str, Tensor] = {}

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Views in the order of `segments` to anchors (A, B, P) and positives (S, B, P)."""
        raise NotImplementedError

    def loss(
        self,
        anchors_ABP: Tensor,
        positives_SBP: Tensor,
        labels_B: Tensor | None = None,
        cluster_B: Tensor | None = None,
    ) -> Tensor:
        """The scalar to minimise. Writes nothing that another step reads."""
        raise NotImplementedError

    @torch.no_grad()
    def embed_reference(self, reference: Tensor) -> Tensor:
        """Embeddings (B, D) of reference segments, unit length, in evaluation mode; no statistics change."""
        with evaluation_mode(self):
            return nn.functional.normalize(self.scoring_encoder()(reference).float(), dim=-1)

    def scoring_encoder(self) -> Encoder:
        """The encoder that extraction uses; for methods with a teacher, the teacher's."""
        return self.encoder

    def before_step(self, progress: float) -> None:
        """Set what follows a schedule; `progress` is the number of epochs done, with its fraction."""

    def after_backward(self, progress: float) -> None:
        """Remove the gradients of what is frozen (None, since zero would still be decayed and carry momentum)."""

    def after_step(self, progress: float) -> None:
        """Once per optimiser step: moving averages, queues, centres."""

    def measures(self) -> dict[str, Tensor]:
        """Detached numbers of the last step for the log."""
        return self._measures


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
