"""Memory for time: activations that the backward pass computes again, instead of their being kept.

Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174. With the rows of a batch in parts the
whole batch still meets in the loss, as in Gao et al., "Scaling deep contrastive learning batch size under memory
limited setup", RepL4NLP 2021.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(blocks: list[nn.Module]) -> None:
    """From now on keep no activations within these blocks: gradients are the same to the bit.

    A copy of a block made after this would still compute the original's.
    """
    for block in blocks:
        block.forward = functools.partial(recomputed, block, block.forward)


def recomputed(module: nn.Module, forward: Any, *inputs: Tensor) -> Any:
    """What `forward` makes of the inputs; where a gradient is wanted only they are kept."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), still_statistics(module)),  # of the first pass and of the second
    )


@contextlib.contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """The running statistics of batch norms do not move inside the block."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counts = [None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)


def in_parts(module: nn.Module, rows: Tensor, parts: int) -> Tensor:
    """What the module makes of the rows, in so many parts one after the other, with the memory of one.

    Batch norms in training see a part at a time, and their running statistics move once for each.
    """
    if parts == 1:
        whole: Tensor = module(rows)
        return whole
    return torch.cat([recomputed(module, module, part) for part in rows.tensor_split(parts)])
