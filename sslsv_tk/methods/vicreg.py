"""VICReg (Bardes, Ponce and LeCun, "VICReg: variance-invariance-covariance regularization", ICLR 2022) for speakers.

Weights and projector of the systems of the SSPS papers (arXiv 2501.17772). Shapes: B utterances, P width of a
projection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from sslsv_tk.distributed.collectives import gather
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method, Pairs, check_rows, projection_measures
from sslsv_tk.nn.heads import Views, mlp, over_views
from sslsv_tk.nn.precision import single
from sslsv_tk.segments import Segment

_FLOOR = 1e-4  # added to variances: the square root has a finite slope where a value is constant


@dataclass(frozen=True)
class VICRegConfig:
    """Settings of VICReg; the three weights count relative to one another."""

    invariance: float = 1.0  # weight of the distance between both views
    variance: float = 1.0  # weight of the hinge that keeps every value's standard deviation up to 1; 0 collapses
    covariance: float = 0.1  # weight of squared covariances between values; with SSPS 0.04 is the authors' choice
    hidden: int = 2048  # width of the two hidden layers of the projector
    output: int = 512  # P, width of a projection
    views: Views = "apart"
    """apart: each view goes through encoder and projector by itself, with batch statistics of its own, as in the
    authors' code; together: both in one pass with the statistics of both, which is faster."""
    segment_seconds: float = 2.0  # of each of the two views

    def __post_init__(self) -> None:
        if min(self.invariance, self.variance, self.covariance) < 0 or self.invariance == 0:
            raise ValueError(
                "vicreg needs invariance above 0, variance and covariance not negative; found "
                f"{self.invariance}, {self.variance} and {self.covariance}."
            )
        if min(self.hidden, self.output) < 1:
            raise ValueError(f"hidden and output of vicreg must be at least 1; found {self.hidden} and {self.output}.")


def invariance_term(z1_BP: Tensor, z2_BP: Tensor) -> Tensor:
    """Mean squared difference of both views, equation (5), per value."""
    return functional.mse_loss(z1_BP, z2_BP)


def variance_term(z_BP: Tensor) -> Tensor:
    """How far the standard deviation of a value over the batch stays below 1, mean over the values, equation (1)."""
    return functional.relu(1 - (z_BP.var(0) + _FLOOR).sqrt()).mean()


def covariance_term(z_BP: Tensor) -> Tensor:
    """Squared covariances of different values, summed and divided by P, equations (3) and (4)."""
    centred_BP = z_BP - z_BP.mean(0)
    squared_PP = (centred_BP.T @ centred_BP / (len(z_BP) - 1)).square()
    return (squared_PP.sum() - squared_PP.diagonal().sum()) / z_BP.shape[1]


def vicreg_loss(z1_BP: Tensor, z2_BP: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """The weighted sum of the three terms, equation (6); variance and covariance count for either view."""
    return (
        invariance * invariance_term(z1_BP, z2_BP)
        + variance * (variance_term(z1_BP) + variance_term(z2_BP))
        + covariance * (covariance_term(z1_BP) + covariance_term(z2_BP))
    )


def term_measures(z1_BP: Tensor, z2_BP: Tensor) -> dict[str, Tensor]:
    """The three terms without their weights, and what tells a collapse of projections.

    `variance` is near 2 when projections are constant, 0 at best; `projection_scale` is the mean standard deviation
    of their values, near 0 when they are constant.
    """
    return {
        "projection_scale": z1_BP.std(0).mean(),
        **projection_measures(z1_BP),
        "invariance": invariance_term(z1_BP, z2_BP),
        "variance": variance_term(z1_BP) + variance_term(z2_BP),
        "covariance": covariance_term(z1_BP) + covariance_term(z2_BP),
    }


class VICReg(Method):
    """Both views of an utterance lie near each other, while no value of a projection is constant or repeats another."""

    Config = VICRegConfig
    config: VICRegConfig
    collapse_remedies = (
        "a larger method.variance against method.invariance; where few directions are left, a larger method.covariance"
    )

    def __init__(self, encoder: Encoder, config: VICRegConfig, classes: int | None = None) -> None:
        super().__init__(encoder, config)
        self.segments = (Segment(config.segment_seconds, "anchor"), Segment(config.segment_seconds, "positive"))
        self.projection_dimension = config.output
        self.projector = mlp((encoder.dimension, config.hidden, config.hidden, config.output))

    def project(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Both views through encoder and projector."""
        how = self.config.views
        z_VBP = single(over_views(self.projector, self.encode(views, how), how))
        return z_VBP[:1], z_VBP[1:]

    def loss(self, pairs: Pairs) -> Tensor:
        """A batch of one utterance has no variance and is refused."""
        config = self.config
        z1_BP, z2_BP = gather(pairs.anchors_ABP[0]), gather(pairs.positives_SBP[0])
        check_rows("vicreg", z1_BP)
        self.measure(**term_measures(z1_BP.detach(), z2_BP.detach()))
        return vicreg_loss(z1_BP, z2_BP, config.invariance, config.variance, config.covariance)
