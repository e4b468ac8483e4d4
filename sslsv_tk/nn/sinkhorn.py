"""Balanced assignments of rows to prototypes (Cuturi, NeurIPS 2013). B rows of this process, K prototypes."""

import torch
from torch import Tensor

from sslsv_tk.distributed.collectives import largest, total


@torch.no_grad()
def sinkhorn(scores_BK: Tensor, iterations: int, epsilon: float) -> Tensor:
    """Assignments (B, K): rows sum to 1, and over the rows of all processes the prototypes get nearly equal shares.

    exp(scores / epsilon), its columns and then its rows scaled to sum to 1, `iterations` times over (Caron et al.,
    "Unsupervised learning of visual features by contrasting cluster assignments", NeurIPS 2020, section 3.1). A small
    epsilon gives nearly one-hot rows. In float32, the first time on logarithms so that no row or column vanishes:
    from then on each has a value of at least 1 / (rows of all processes * K).
    """
    log_BK = scores_BK.to(torch.promote_types(scores_BK.dtype, torch.float32)) / epsilon
    assignments_BK = torch.softmax(log_BK.sub_(_log_of_column_sums(log_BK)), dim=1)
    for _ in range(iterations - 1):
        assignments_BK /= total(assignments_BK.sum(0))
        assignments_BK /= assignments_BK.sum(1, keepdim=True)
    return assignments_BK


def _log_of_column_sums(log_BK: Tensor) -> Tensor:
    """(K,) over the rows of all processes."""
    highest_K = largest(log_BK.amax(0))
    return highest_K + total((log_BK - highest_K).exp_().sum(0)).log()
