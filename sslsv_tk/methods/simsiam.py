"""SimSiam (Chen and He, "Exploring simple Siamese representation learning", CVPR 2021) for speakers.

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
from sslsv_tk.nn.precision import single
from sslsv_tk.nn.whitening import batch_whitened
from sslsv_tk.segments import Segment


@dataclass(frozen=True)
class SimSiamConfig:
    """Settings of SimSiam; layers are a quarter as wide as in the paper, like embeddings (512 for 2048)."""

    hidden: int = 512  # width of the two hidden layers of the projector; the paper: that of the embedding, 2048
    output: int = 512  # P, width of a projection; 2048 in the paper
    bottleneck: int = 128  # width of the predictor's hidden layer, a quarter of the output as in the paper
    whitened_targets: bool = False
    """Whiten the targets over the batch (`nn.whitening`), so that predictions need every direction of a projection:
    the output must then be narrower than two batches, and the bottleneck no narrower than the output. For few steps."""
    segment_seconds: float = 2.0  # of each of the two views

    def __post_init__(self) -> None:
        if min(self.hidden, self.output, self.bottleneck) < 1:
            raise ValueError(
                "hidden, output and bottleneck of simsiam must be at least 1; found "
                f"{self.hidden}, {self.output} and {self.bottleneck}."
            )


def simsiam_loss(predictions_ABP: Tensor, targets_SBP: Tensor) -> Tensor:
    """Negative cosine of each prediction with its target, which is a constant; equations (1) and (4) of the paper.

    Mean over both directions: -1 when every prediction points where its target does, also when all are equal.
    """
    return -functional.cosine_similarity(predictions_ABP, targets_SBP.detach(), dim=-1).mean()


class SimSiam(Method):
    """Each view predicts the projection of the other, through which no gradient flows; no negatives, no teacher.

    Anchor a is the prediction from view a, slot a the projection of the other view.
    """

    Config = SimSiamConfig
    config: SimSiamConfig
    collapse_remedies = (
        "method.whitened_targets, a narrower method.bottleneck, a larger encoder (small ones collapse in part), or "
        "byol, which has a teacher"
    )
    slots = 2

    def __init__(self, encoder: Encoder, config: SimSiamConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        self.segments = (Segment(config.segment_seconds, "both"), Segment(config.segment_seconds, "both"))
        self.projection_dimension = config.output
        widths = (encoder.dimension, config.hidden, config.hidden, config.output)
        self.projector = mlp(widths, last_norm=True)
        self.predictor = mlp((config.output, config.bottleneck, config.output))

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predictions from the utterance's two cuts; targets from the same, or from the partner's where there are."""
        own, partner = views[:2], views[2:]
        embeddings_VBD = self.encode(own)
        z_VBP = over_views(self.projector, embeddings_VBD)
        predictions_ABP = over_views(self.predictor, z_VBP)
        if partner:
            with torch.no_grad():
                z_VBP = over_views(self.projector, encode(self.encoder, partner))
        targets_VBP = z_VBP.detach()
        if self.config.whitened_targets:
            targets_VBP = over_views(batch_whitened, targets_VBP)
        return single(predictions_ABP), single(targets_VBP).flip(0)

    def loss(self, pairs: Pairs) -> Tensor:
        self.measure(**projection_measures(pairs.positives_SBP.flatten(0, 1)))
        return simsiam_loss(pairs.anchors_ABP, pairs.positives_SBP)
