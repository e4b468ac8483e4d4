"""Barlow Twins (Zbontar et al., "Barlow Twins: self-supervised learning via redundancy reduction", ICML 2021).

Shapes: B utterances, P width of a projection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sslsv_tk.distributed.collectives import gather
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs, check_rows, projection_measures
from sslsv_tk.nn.heads import mlp, over_views
from sslsv_tk.segments import Segment

_FLOOR = 1e-5  # added to variances, as in a batch norm: a constant value correlates with nothing


@dataclass(frozen=True)
class BarlowTwinsConfig:
    """Settings of Barlow Twins; layers are a quarter as wide as in the paper, like embeddings (512 for 2048)."""

    redundancy: float = 0.005  # lambda, weight of the correlations between different values (section 2.1: 5e-3)
    hidden: int = 2048  # width of the two hidden layers of the projector; 8192 in the paper
    output: int = 2048  # P, width of a projection; the paper gains with width up to 16384 (figure 4)
    segment_seconds: float = 2.0  # of each of the two views

    def __post_init__(self) -> None:
        if self.redundancy < 0:
            raise ValueError(f"redundancy of barlow_twins must not be negative; found {self.redundancy}.")
        if min(self.hidden, self.output) < 1:
            raise ValueError(
                f"hidden and output of barlow_twins must be at least 1; found {self.hidden} and {self.output}."
            )


def cross_correlation(z1_BP: Tensor, z2_BP: Tensor) -> Tensor:
    """(P, P) correlations over the batch of each value of one view with each of the other, equation (2)."""
    first_BP, second_BP = (
        (z_BP - z_BP.mean(0)) / (z_BP.var(0, unbiased=False) + _FLOOR).sqrt() for z_BP in (z1_BP, z2_BP)
    )
    return first_BP.T @ second_BP / len(z1_BP)


def barlow_twins_terms(z1_BP: Tensor, z2_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of (1 - C_ii)^2, which is P when projections are constant; sum of C_ij^2 over i != j, equation (1)."""
    correlation_PP = cross_correlation(z1_BP, z2_BP)
    own_P = correlation_PP.diagonal()
    return (1 - own_P).square().sum(), correlation_PP.square().sum() - own_P.square().sum()


def barlow_twins_loss(z1_BP: Tensor, z2_BP: Tensor, redundancy: float) -> Tensor:
    """Distance of the cross-correlation of both views from the identity, equation (1)."""
    own, others = barlow_twins_terms(z1_BP, z2_BP)
    return own + redundancy * others


class BarlowTwins(Method):
    """Each value of a projection agrees over both views, and with no other value."""

    Config = BarlowTwinsConfig
    config: BarlowTwinsConfig
    collapse_remedies = "where few directions are left, a larger method.redundancy or method.output"

    def __init__(self, encoder: Encoder, config: BarlowTwinsConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        self.segments = (Segment(config.segment_seconds, "anchor"), Segment(config.segment_seconds, "positive"))
        self.projection_dimension = config.output
        self.projector = mlp((encoder.dimension, config.hidden, config.hidden, config.output))

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Both views through the projector in one pass."""
        z_VBP = over_views(self.projector, self.encode(views)).float()
        return z_VBP[:1], z_VBP[1:]

    def loss(self, pairs: Pairs) -> Tensor:
        """A batch of one utterance has no correlations and is refused."""
        z1_BP, z2_BP = gather(pairs.anchors_ABP[0]), gather(pairs.positives_SBP[0])
        check_rows("barlow_twins", z1_BP)
        invariance, redundancy = barlow_twins_terms(z1_BP, z2_BP)
        width = self.projection_dimension
        self.measure(invariance=invariance / width, redundancy=redundancy / max(width * (width - 1), 1))
        self.measure(**projection_measures(z1_BP))
        return invariance + self.config.redundancy * redundancy
