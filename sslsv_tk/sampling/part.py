"""A part of a positive sampler that keeps something from one step to the next, and how several are saved as one."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from sslsv_tk.distributed.shards import ShardNames, part_of, with_part


class Part:
    """Names the attributes with which a new part of the same settings goes on identically.

    They are tensors of a fixed shape and plain numbers. A sampler saves and loads every attribute of its own that is a
    part, so a part needs no code for it.
    """

    saved: ClassVar[tuple[str, ...]]
    """Attributes that make up the state."""
    shards: ClassVar[ShardNames] = ShardNames()
    """Those of them that differ between processes; the others are the same on all."""

    def state_dict(self) -> dict[str, Any]:
        """The state; tensors are not copies."""
        return {name: getattr(self, name) for name in self.saved}

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse a state with tensors of another shape or type, before anything is taken over."""
        for name in self.saved:
            ours, theirs = getattr(self, name), state[name]
            if isinstance(ours, Tensor) and (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
                raise ValueError(
                    f"The saved {name} is {theirs.dtype} of shape {tuple(theirs.shape)}, expected {ours.dtype} of "
                    f"shape {tuple(ours.shape)}: it is of another training set or other settings. Resume with those."
                )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a copy of a state; a ValueError where it does not fit, and then nothing has changed."""
        self.check_state(state)
        for name in self.saved:
            ours = getattr(self, name)
            if isinstance(ours, Tensor):
                ours.copy_(state[name])
            else:
                setattr(self, name, type(ours)(state[name]))


def parts_of(owner: object) -> dict[str, Part]:
    """The attributes of a sampler that are parts, by name."""
    return {name: value for name, value in vars(owner).items() if isinstance(value, Part)}


def shard_names(parts: Mapping[str, Part]) -> ShardNames:
    """Which entries of their state differ between processes."""
    return ShardNames(
        sharded=tuple(f"{name}.{entry}" for name, part in parts.items() for entry in part.shards.sharded),
        summed=tuple(f"{name}.{entry}" for name, part in parts.items() for entry in part.shards.summed),
    )


def state_of(parts: Mapping[str, Part]) -> dict[str, Any]:
    """All their states: entry `seen_N` of the part `references` is `references.seen_N`."""
    state: dict[str, Any] = {}
    for name, part in parts.items():
        state.update(with_part(name, part.state_dict()))
    return state


def load_state(parts: Mapping[str, Part], state: Mapping[str, Any]) -> None:
    """Take over a state with the entries of `state_of`; a ValueError where one does not fit, before any has changed."""
    for name, part in parts.items():
        part.check_state(part_of(state, name))
    for name, part in parts.items():
        part.load_state_dict(part_of(state, name))
