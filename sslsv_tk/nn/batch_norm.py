"""Batch normalisation over the rows of all processes, on GPUs and on CPUs (torch's own refuses tensors of the CPU).

Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift", ICML
2015. Shapes: B rows of this process, C channels, then any; n values of a channel over all processes.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from sslsv_tk.distributed.collectives import processes, summed
from sslsv_tk.nn.precision import single


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """In training the mean and variance are those of all processes' rows; otherwise an ordinary batch norm.

    The processes may bring different numbers of rows. The state has the names of an ordinary one.
    """

    def _check_input_dim(self, rows: Tensor) -> None:
        if rows.ndim < 2:
            raise ValueError(f"Expected rows of channels, (B, C, ...), found shape {tuple(rows.shape)}.")

    def forward(self, rows: Tensor) -> Tensor:
        """The rows, normalised."""
        if not self.training or processes() == 1:
            own: Tensor = super().forward(rows)
            return own
        self._check_input_dim(rows)
        normalised: Tensor = self._over_processes(rows)
        return normalised

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch gives it no types
    def _over_processes(self, rows: Tensor) -> Tensor:
        results = _Normalise.apply(rows, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        normalised, mean_C, variance_C, count = cast(tuple[Tensor, Tensor, Tensor, Tensor], results)
        self._follow(mean_C, variance_C, count)
        return normalised

    @torch.no_grad()
    def _follow(self, mean_C: Tensor, variance_C: Tensor, count: Tensor) -> None:
        """Move the running statistics; that of the variance is the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), share)
        unbiased_C = variance_C * (count / (count - 1).clamp(min=1))
        self.running_var.lerp_(unbiased_C.to(self.running_var.dtype), share)


class _Normalise(torch.autograd.Function):
    """y = weight (x - mean) / sqrt(variance + eps) + bias, with one all-reduce each way.

    With x^ the normalised values and g the gradient of y, that of x is
    weight / sqrt(variance + eps) (g - mean(g) - x^ mean(g x^)), the means taken over all processes. Those of weight
    and bias are the sums over this process's rows alone, since whoever averages gradients adds the others.
    """

    @staticmethod
    def forward(
        context: Any, rows: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean_C, variance_C, count = _statistics(rows)
        rate_C = (variance_C + eps).rsqrt()
        gain_C = rate_C if weight_C is None else rate_C * weight_C
        offset_C = -mean_C * gain_C if bias_C is None else bias_C - mean_C * gain_C
        context.save_for_backward(rows, mean_C, rate_C, gain_C, count)
        context.needs = (weight_C, bias_C)
        context.mark_non_differentiable(mean_C, variance_C, count)
        found = torch.addcmul(_wide(offset_C, rows), rows, _wide(gain_C, rows)).to(rows.dtype)
        return found, mean_C, variance_C, count

    @staticmethod
    def backward(context: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        rows, mean_C, rate_C, gain_C, count = context.saved_tensors
        weight_C, bias_C = context.needs
        gradient = single(gradient)
        normal = (single(rows) - _wide(mean_C, rows)) * _wide(rate_C, rows)
        sums_2C = torch.stack([_over_rows(gradient), _over_rows(gradient * normal)])
        means_2C = summed(sums_2C.clone()) / count
        to_rows = gradient - _wide(means_2C[0], rows) - normal * _wide(means_2C[1], rows)
        to_rows = (to_rows * _wide(gain_C, rows)).to(rows.dtype)
        to_weight = None if weight_C is None else sums_2C[1].to(weight_C.dtype)
        to_bias = None if bias_C is None else sums_2C[0].to(bias_C.dtype)
        return to_rows, to_weight, to_bias, None


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and number of values of a channel over all processes, float32.

    The processes' means and squared deviations are merged as Chan, Golub and LeVeque ("Updating formulae and a pairwise
    algorithm for computing sample variances", 1979) do: a mean of squares less a squared mean would cancel out.
    """
    values = single(rows)
    count = values.new_full((), values.numel() // values.shape[1])  # made on its device: nothing waits
    sums_C = _over_rows(values)
    own_mean_C = sums_C / count.clamp(min=1)
    deviations_C = _over_rows((values - _wide(own_mean_C, rows)).square())
    own = torch.cat([own_mean_C, deviations_C, count[None]])
    parts = own.new_empty(processes() * len(own))
    torch.distributed.all_gather_into_tensor(parts, own)
    means_WC, deviations_WC, counts_W1 = parts.view(processes(), -1).split([len(sums_C), len(sums_C), 1], dim=1)
    count = counts_W1.sum()
    mean_C = (means_WC * counts_W1).sum(0) / count
    variance_C = (deviations_WC + counts_W1 * (means_WC - mean_C).square()).sum(0) / count
    return mean_C, variance_C, count


def _over_rows(values: Tensor) -> Tensor:
    """(C,) sum over everything but the channels."""
    return values.sum([axis for axis in range(values.ndim) if axis != 1])


def _wide(numbers_C: Tensor, rows: Tensor) -> Tensor:
    """A number of each channel in the shape that meets the rows."""
    return numbers_C.view(1, -1, *[1] * (rows.ndim - 2))


def synchronise(module: nn.Module) -> None:
    """Let every batch norm of a module look at the rows of all processes from now on; parameters stay the same."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, SynchronisedBatchNorm):
            part.__class__ = SynchronisedBatchNorm


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Make running statistics that each process took of its own rows those of all: their mean."""
    found = [b for n, b in module.named_buffers() if n.endswith(("running_mean", "running_var"))]
    if processes() == 1 or not found:
        return
    numbers = summed(torch.cat([buffer.flatten() for buffer in found]))
    for buffer, part in zip(found, (numbers / processes()).split([b.numel() for b in found]), strict=True):
        buffer.copy_(part.view_as(buffer))
