"""The weights of another system with which training begins, as far as they fit: `--init-from`.

Tensors are taken by name and shape. The encoder of another method is the one that it is scored with, a teacher's for
example. A moving copy of a part (a target, a teacher, a key encoder) begins as that part does, here as always.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sslsv_tk.methods.base import Method
from sslsv_tk.systems import assembly, checkpoints
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.systems.on_disk import System

_log = logging.getLogger("progress")


@dataclass(frozen=True)
class Comparison:
    """Which tensors of a method a checkpoint has."""

    taken: dict[str, Tensor]
    misshapen: list[str]
    """Those that have another shape there, with both shapes."""
    missing: list[str]
    """Those that the checkpoint lacks."""
    left: list[str]
    """Those of the checkpoint for which the method has no place."""

    def lines(self, path: Path) -> list[str]:
        """What was taken and what was not, for a person."""
        parts: dict[str, int] = {}
        for name in self.taken:
            part = name.partition(".")[0]
            parts[part] = parts.get(part, 0) + 1
        counts = ", ".join(f"{part}: {count}" for part, count in parts.items())
        found = [f"begins with {len(self.taken)} tensors of {path} ({counts})"]
        for words, names in (
            ("drawn, since they have another shape there", self.misshapen),
            ("drawn, since they are not there", self.missing),
            ("not taken, since this system has no such tensors", self.left),
        ):
            found += [f"{words}: {', '.join(names)}"] if names else []
        return found


def weights_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names."""
    model = checkpoints.read(path).get("model")
    if not isinstance(model, dict):
        raise ValueError(f"{path}: holds no weights of a system. Give averaged.pt, latest.pt or <N>epoch.pt.")
    return model


def compare(method: Method, config: SystemConfig, path: Path) -> Comparison:
    """What the checkpoint has for the method; a ValueError where it has nothing for the encoder."""
    own, theirs = method.weights(), _as_seen_by(config, path)
    shared = [name for name in own if name in theirs]
    taken = {name: theirs[name] for name in shared if theirs[name].shape == own[name].shape}
    misshapen = [
        f"{name} ({tuple(theirs[name].shape)}, here {tuple(own[name].shape)})" for name in shared if name not in taken
    ]
    if not any(name.startswith("encoder.") and own[name].ndim > 1 for name in taken):  # kernels and matrices
        reason = misshapen[0] if misshapen else f"it has {', '.join(sorted(theirs)[:3]) or 'nothing'} and so on"
        raise ValueError(
            f"--init-from {path}: nothing in it fits the encoder {config.encoder.name} ({reason}). Give a checkpoint "
            "of the same encoder."
        )
    missing = [name for name in own if name not in theirs]
    return Comparison(taken, misshapen, missing, [name for name in theirs if name not in own])


def begin_with(method: Method, config: SystemConfig, path: Path) -> None:
    """Give a method that has just been built what the checkpoint has for it, and log what that is."""
    found = compare(method, config, path)
    copies = _copies(method)
    method.load_weights({**method.weights(), **found.taken})
    for copy, (part, source) in copies.items():
        if not any(name.startswith(f"{copy}.") for name in found.taken):
            part.load_state_dict(source.state_dict())
    for line in found.lines(path):
        _log.info("%s", line)


def _as_seen_by(config: SystemConfig, path: Path) -> Mapping[str, Tensor]:
    """The checkpoint's tensors; of another method the encoder is the one that is scored."""
    theirs, system = weights_of(path), System(path.absolute().parent.parent)
    if not system.config_file.is_file():
        return theirs
    other = assembly.resolve(system.config())
    if other.method.name == config.method.name:
        return theirs
    source = assembly.build_method(other)
    source.load_weights({**source.weights(), **{n: t for n, t in theirs.items() if n in source.weights()}})
    scored = source.scoring_encoder().state_dict()
    rest = {name: tensor for name, tensor in theirs.items() if not name.startswith("encoder.")}
    return {**{f"encoder.{name}": tensor for name, tensor in scored.items()}, **rest}


def _copies(method: Method) -> dict[str, tuple[nn.Module, nn.Module]]:
    """The parts that begin as copies of another part, by name, each with that part."""
    parts = dict(method.named_children())
    trained = {name: part for name, part in parts.items() if any(p.requires_grad for p in part.parameters())}
    found = {}
    for name, part in parts.items():
        if name in trained:
            continue
        for source in trained.values():
            if _equal(part.state_dict(), source.state_dict()):
                found[name] = (part, source)
    return found


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return bool(one) and one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
