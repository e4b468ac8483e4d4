"""BYOL (Grill et al., "Bootstrap your own latent", NeurIPS 2020) for speakers.

Shapes: V views, A anchors and S slots (2 each), B utterances, P width of a projection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs, encode, projection_measures
from sslsv_tk.nn.heads import mlp, over_views
from sslsv_tk.nn.momentum import follow, frozen_copy
from sslsv_tk.nn.precision import single
from sslsv_tk.nn.whitening import batch_whitened
from sslsv_tk.schedules import Progress, cosine
from sslsv_tk.segments import Segment


@dataclass(frozen=True)
class BYOLConfig:
    """Settings of BYOL; hidden layers are a quarter as wide as in the paper, like embeddings (512 for 2048)."""

    momentum: float = 0.99  # of the target, rising to 1 over the span; paper: 0.99 for 300 epochs, 0.996 for 1000
    hidden: int = 1024  # width of the hidden layer of projector and predictor; 4096 in the paper
    output: int = 256  # P, width of a projection, as in the paper
    output_norm: bool = False
    """A batch norm without scale and offset ends the projector, as SimSiam's does: projections then tell utterances
    apart from the first step on, though an untrained encoder's embeddings share a large mean."""
    whitened_targets: bool = False
    """Whiten the targets over the batch (`nn.whitening`), so that predictions need every direction of a projection.
    For few steps: plain targets then lie in the few directions that are learnt first, such as that of the pitch."""
    segment_seconds: float = 2.0  # of each of the two views

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum of byol must be from 0 to 1; found {self.momentum}.")
        if min(self.hidden, self.output) < 1:
            raise ValueError(f"hidden and output of byol must be at least 1; found {self.hidden} and {self.output}.")


def byol_loss(predictions_ABP: Tensor, targets_SBP: Tensor) -> Tensor:
    """Squared distance of unit predictions from unit targets, 2 - 2 cos, equation (2).

    Mean over the batch, summed over both directions as in the paper: 0 when every prediction points where its
    target does (also when all are equal), 4 when they are at right angles.
    """
    cosines_AB = functional.cosine_similarity(predictions_ABP, targets_SBP.detach(), dim=-1)
    return (2 - 2 * cosines_AB).sum(0).mean()


class BYOL(Method):
    """Each view predicts the projection that a slowly following target network makes of the other view.

    Anchor a is the prediction from view a, slot a the target's projection of the other view. The trained network,
    not the target, is what is scored.
    """

    Config = BYOLConfig
    config: BYOLConfig
    collapse_remedies = "method.whitened_targets, or a larger method.momentum, so that the target follows more slowly"
    follows_span = True
    training_only = ("target_encoder.", "target_projector.")
    slots = 2

    def __init__(self, encoder: Encoder, config: BYOLConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        self.segments = (Segment(config.segment_seconds, "both"), Segment(config.segment_seconds, "both"))
        self.projection_dimension = config.output
        self.projector = mlp((encoder.dimension, config.hidden, config.output), last_norm=config.output_norm)
        self.predictor = mlp((config.output, config.hidden, config.output))
        self.target_encoder = frozen_copy(self.encoder)
        self.target_projector = frozen_copy(self.projector)

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predictions from the utterance's two cuts; targets from the same, or from the partner's where there are."""
        own, partner = views[:2], views[2:]
        predictions_ABP = over_views(self.predictor, over_views(self.projector, self.encode(own)))
        with torch.no_grad():
            targets_VBP = over_views(self.target_projector, encode(self.target_encoder, partner or own))
            if self.config.whitened_targets:
                targets_VBP = over_views(batch_whitened, targets_VBP)
        return single(predictions_ABP), single(targets_VBP).flip(0)

    def loss(self, pairs: Pairs) -> Tensor:
        self.measure(**projection_measures(pairs.positives_SBP.flatten(0, 1)))
        return byol_loss(pairs.anchors_ABP, pairs.positives_SBP)

    def target_momentum(self, progress: Progress) -> float:
        """How much of itself the target keeps at a step: a cosine from the first value to 1 (section 3.2)."""
        return cosine(self.config.momentum, 1.0, progress.share)

    def after_step(self, progress: Progress) -> None:
        """Let the target follow."""
        momentum = self.target_momentum(progress)
        follow(self.target_encoder, self.encoder, momentum)
        follow(self.target_projector, self.projector, momentum)
