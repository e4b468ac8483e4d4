"""Whitening of targets, so that predicting them needs every direction of a projection.

Shapes: B rows, P width of a projection.
"""

import torch
from torch import Tensor

from sslsv_tk.distributed.collectives import gather

_FLOOR = 0.01  # share of the mean variance that is added to every direction: what has none is not blown up to noise
_TINY = 1e-12  # so that rows that are all equal come out as zeros


@torch.no_grad()
def batch_whitened(rows_BP: Tensor) -> Tensor:
    """Rows with mean zero and covariance (nearly) identity over the batch of all processes; float32, a constant.

    Of all such transforms the one that moves rows least (the inverse root of the covariance, ZCA), so that targets of
    one batch and the next are comparable. A prediction of whitened targets is one side of the whitening loss of
    Ermolov et al. ("Whitening for self-supervised representation learning", ICML 2021), and keeps a projection from
    falling onto few directions: Weng et al., "An investigation into whitening loss", NeurIPS 2022, section 3.
    """
    with torch.autocast(rows_BP.device.type, enabled=False):
        everyone_BP = gather(rows_BP.double())
        mean_P = everyone_BP.mean(0)
        centred_BP = everyone_BP - mean_P
        covariance_PP = centred_BP.T @ centred_BP / len(centred_BP)
        # The decomposition raises where a number is not finite. No row is finite then, and training names the step.
        values_P, vectors_PP = torch.linalg.eigh(covariance_PP.nan_to_num(posinf=0.0, neginf=0.0))
        gains_P = (values_P + _FLOOR * values_P.mean()).clamp(min=_TINY).rsqrt()
        white_BP: Tensor = (rows_BP - mean_P) @ (vectors_PP * gains_P @ vectors_PP.T)
        return white_BP.float()
