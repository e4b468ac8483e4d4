"""How large a model would be, before it is built: a slip of the pen would else take all the memory of the machine."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

BYTES_OF_A_WEIGHT = 4
_IN_PLACE = ("normal", "uniform", "exponential", "random", "bernoulli", "erfinv", "clamp", "add", "mul", "copy")
_OF_SAME_SHAPE = (
    *(getattr(torch.Tensor, f"{name}_") for name in _IN_PLACE),
    *(torch.nn.functional.normalize, torch.randn_like, torch.rand_like),
)
"""What gives its first argument's shape."""


class _NoValues(TorchFunctionMode):
    """Leaves out what decides values alone: for tensors without memory it would load libraries that take seconds."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in _OF_SAME_SHAPE:
            return args[0]
        if func is torch.Tensor.norm and "dim" in given:
            shape = list(args[0].shape)
            del shape[given["dim"]]
            return args[0].new_empty(shape)
        if func in (torch.randn, torch.rand):
            func = torch.empty
            given.pop("generator", None)
        return func(*args, **given)


def count(build: Callable[[], nn.Module]) -> int | None:
    """Numbers in the weights and buffers of what `build` makes, of which nothing is allocated; None: it cannot tell.

    That is so for a model that looks at values while it is built.
    """
    try:
        with torch.device("meta"), _NoValues():
            made = build()
    except (RuntimeError, TypeError) as error:
        if "overflow" in str(error):
            return 2**63
        return None
    return sum(tensor.numel() for tensor in (*made.parameters(), *made.buffers()))


def refuse_too_large(build: Callable[[], nn.Module], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """ValueError where a model cannot fit into the memory of this machine; names the largest of the settings."""
    numbers = count(build)
    memory = _memory_bytes()
    if numbers is None or memory is None or numbers * BYTES_OF_A_WEIGHT <= memory:
        return
    sizes = [
        (size, f"{part}.{name}")
        for part, values in settings.items()
        for name, value in values.items()
        for size in _whole_numbers(value)
    ]
    largest = "" if not sizes else " The largest setting is {1} = {0}.".format(*max(sizes))
    needed = f"{numbers:.2g} weights, {numbers * BYTES_OF_A_WEIGHT / 1e9:,.0f} GB"
    raise ValueError(f"The model would have {needed}, and this machine has {memory / 1e9:,.0f} GB of memory.{largest}")


def _whole_numbers(value: Any) -> list[int]:
    if isinstance(value, list | tuple):
        return [number for item in value for number in _whole_numbers(item)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def _memory_bytes() -> int | None:
    with contextlib.suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
