"""Training on true speakers with an additive angular margin: the upper bound beside the self-supervised methods.

AAM-softmax (Deng et al., "ArcFace: Additive angular margin loss for deep face recognition", CVPR 2019), with
sub-centres and the inter-top-k penalty as options. Shapes: B utterances, D width of an embedding, C speakers,
k sub-centres of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs
from sslsv_tk.nn.margins import narrow, nearest_sub_centers, widen
from sslsv_tk.segments import Segment


@dataclass(frozen=True)
class SupervisedConfig:
    """Settings of the supervised baseline."""

    scale: float = 30.0  # of the cosines in the softmax
    margin: float = 0.2  # added to the angle with the own speaker, radians
    sub_centers: int = 1  # centres of each speaker, of which the nearest counts; 3 is typical for noisy labels
    inter_top_k: int = 0  # so many nearest other speakers get a penalty; 0: none, 5 is typical
    inter_margin: float = 0.06  # of that penalty: taken from their angles, radians
    segment_seconds: float = 2.0  # of the one segment

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"scale of supervised must be above 0; found {self.scale}.")
        for name in ("margin", "inter_margin"):
            if not 0 <= getattr(self, name) < 1.5:
                raise ValueError(
                    f"{name} of supervised is an angle in radians: expected from 0 to below 1.5, 0.2 is typical; "
                    f"found {getattr(self, name)}."
                )
        if self.sub_centers < 1 or self.inter_top_k < 0:
            raise ValueError(
                "sub_centers of supervised must be at least 1, inter_top_k not negative; found "
                f"{self.sub_centers} and {self.inter_top_k}."
            )


def aam_softmax_loss(
    cosine_BC: Tensor,
    labels_B: Tensor,
    scale: float,
    margin: float,
    inter_top_k: int = 0,
    inter_margin: float = 0.06,
) -> Tensor:
    """Cross entropy over scaled cosines, where the angle with the own class is wider by `margin` radians.

    Equation (3) of Deng et al., 2019. `inter_top_k`: the angles with so many nearest other classes are taken as
    narrower by `inter_margin` (Zhao et al., "The SpeakIn system for VoxCeleb speaker recognition challenge 2021",
    arXiv 2109.01989).
    """
    own_BC = labels_B[:, None] == torch.arange(cosine_BC.shape[1], device=labels_B.device)
    logits_BC = torch.where(own_BC, widen(cosine_BC, margin), cosine_BC)
    if inter_top_k:
        nearest = cosine_BC.detach().masked_fill(own_BC, -torch.inf).topk(inter_top_k, dim=1).indices
        logits_BC = logits_BC.scatter(1, nearest, narrow(cosine_BC.gather(1, nearest), inter_margin))
    return functional.cross_entropy(scale * logits_BC, labels_B)


def classification_measures(cosine_BC: Tensor, labels_B: Tensor) -> dict[str, Tensor]:
    """Share of the utterances whose own speaker is the nearest, and the mean cosine with the own speaker."""
    return {
        "accuracy": (cosine_BC.argmax(1) == labels_B).float().mean(),
        "target_cosine": cosine_BC.gather(1, labels_B.unsqueeze(1)).mean(),
    }


class Supervised(Method):
    """One augmented segment of each utterance, and one or several centres for each speaker."""

    Config = SupervisedConfig
    config: SupervisedConfig
    needs_labels = True
    slots = 0

    def __init__(self, encoder: Encoder, config: SupervisedConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        if classes is None or classes < 2:
            raise ValueError(
                f"The method supervised needs the true speakers of the training set, two or more; found "
                f"{classes or 'none'}. Prepare the set with an utt2spk that has labels, or choose another method."
            )
        if config.inter_top_k >= classes:
            raise ValueError(
                f"inter_top_k of supervised counts other speakers: expected at most {classes - 1} with {classes} "
                f"speakers, found {config.inter_top_k}."
            )
        self.segments = (Segment(config.segment_seconds, "anchor"),)
        self.projection_dimension = encoder.dimension
        self.centers_CD = nn.Parameter(torch.empty(classes * config.sub_centers, encoder.dimension))
        nn.init.xavier_normal_(self.centers_CD)

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The embeddings as anchors; there are no positives (S = 0)."""
        embeddings_ABD = self.encode(views)
        return embeddings_ABD, embeddings_ABD.new_zeros(0, *embeddings_ABD.shape[1:])

    def loss(self, pairs: Pairs) -> Tensor:
        labels_B = pairs.labels_B
        if labels_B is None:
            raise ValueError("The loss of supervised needs the speaker of every utterance; found no labels.")
        config = self.config
        centers_CD = functional.normalize(self.centers_CD, dim=-1)
        cosine_BCk = functional.normalize(pairs.anchors_ABP[0], dim=-1) @ centers_CD.T
        cosine_BC = nearest_sub_centers(cosine_BCk, config.sub_centers)
        self.measure(**classification_measures(cosine_BC.detach(), labels_B))
        return aam_softmax_loss(
            cosine_BC, labels_B, config.scale, config.margin, config.inter_top_k, config.inter_margin
        )
