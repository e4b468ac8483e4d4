"""Checkpoints that survive kill -9, full disks and damage.

    checkpoints/latest.pt      everything to go on from: model, optimiser, position in the run, running sums
    checkpoints/previous.pt    the one before, for the case that latest.pt is damaged
    checkpoints/coming.pt      the next latest.pt, where a run was killed between two renames
    checkpoints/sampler-<step>-<passed>.pt   queues and clusters that belong to the checkpoint of that step; of several
                               processes one file each, ...-<rank>of<processes>.pt
    checkpoints/<N>epoch.pt    the model after N epochs (0: untrained): for averaging and extraction
    checkpoints/averaged.pt    the mean of the last epochs
    checkpoints/best.pt        the model of the lowest validation EER, where one is asked for

Each appears by a rename. A sampler file is written before the checkpoint that names it and its checksum, and
removed after no checkpoint names it any more. Torch, seconds to load, is loaded where a file is read or written:
commands that find their work done look names up only.
"""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sslsv_tk import artifacts, digests
from sslsv_tk.stamps import distrust
from sslsv_tk.systems import listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_log = logging.getLogger("train")


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or does not hold what was written."""


def _damaged(path: Path, words: str) -> DamagedCheckpoint:
    distrust(path)
    return DamagedCheckpoint(f"{path}: {words}")


class _Unbroken:
    """A stream for torch.save, which would tell a full disk as a fault of its own container.

    After the first OSError it takes and drops what comes, and keeps the error.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, piece: Any) -> int:
        """The bytes of a piece, as if all were written."""
        try:
            if self.error is None:
                self._stream.write(piece)
        except OSError as error:
            self.error = error
        return len(piece)

    def flush(self) -> None:
        """Leave flushing to the end, where the errors count."""


def write(path: Path, state: Mapping[str, Any]) -> None:
    """torch.save through a temporary name; OSError where there is no room for it."""
    import torch

    with artifacts.replacing(path, "wb") as stream:
        unbroken = _Unbroken(stream)
        torch.save(dict(state), unbroken)  # type: ignore[arg-type]
        if unbroken.error is not None:
            raise unbroken.error


def read(path: Path, device: torch.device | str = "cpu", mapped: bool = False) -> dict[str, Any]:
    """torch.load of tensors and plain values only, after a look at every byte: torch compares no checksum.

    `mapped`: of tensors those bytes alone that are looked at, for files of which a digest was compared already.
    """
    import torch

    if not mapped:
        refuse_damage(path)
    try:
        state = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many kinds for a file that was cut short
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _damaged(path, f"not a checkpoint that can be read ({reason}).") from None
    if not isinstance(state, dict):
        raise _damaged(path, f"expected a table of states, found {type(state).__name__}.")
    return state


def refuse_damage(path: Path) -> None:
    """DamagedCheckpoint unless every tensor and value in the file has the checksum that was written with it."""
    try:
        with zipfile.ZipFile(path) as container:
            damaged = container.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile raises many kinds for a damaged directory
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _damaged(path, f"not a checkpoint that can be read ({reason}).") from None
    if damaged is not None:
        raise _damaged(path, f"damaged: {damaged} in it has another checksum than was written.")


class CheckpointFolder:
    """The checkpoints of one system."""

    def __init__(self, system: str | Path, keep_epochs: int = 10, keep_every: int = 10) -> None:
        self.folder = Path(system) / "checkpoints"
        self.keep_epochs, self.keep_every = keep_epochs, keep_every
        self._newest_samplers: set[str] = set()
        self._latest_is_damaged = False

    def save(self, state: Mapping[str, Any], sampler_state: Mapping[str, Any]) -> None:
        """Write a new latest.pt; the old one becomes previous.pt. Each process brings its own part of the sampler."""
        from sslsv_tk.distributed.collectives import processes, rank
        from sslsv_tk.distributed.processes import from_first, gather_objects, on_every

        part = "" if processes() == 1 else f"-{rank()}of{processes()}"
        sampler = self.folder / f"sampler-{state['step']}-{state['passed']}{part}.pt"
        on_every(lambda: write(sampler, sampler_state))
        parts = gather_objects({"file": sampler.name, "digest": digests.of_file(sampler)})
        from_first(lambda: self._save(state, parts))

    def _save(self, state: Mapping[str, Any], samplers: list[dict[str, str]]) -> None:
        """Write latest.pt, and remove sampler files that belong neither to it nor to previous.pt."""
        latest, previous, coming = (self.folder / f"{name}.pt" for name in ("latest", "previous", "coming"))
        # First, so that a disk without room for it leaves both generations.
        write(coming, {**state, "samplers": samplers})
        # A link and a rename rather than a rename alone: at no moment is there no latest.pt.
        if latest.exists() and not self._latest_is_damaged:
            link = self.folder / f".previous.pt.{os.getpid()}.tmp"
            link.unlink(missing_ok=True)
            os.link(latest, link)
            os.replace(link, previous)
            link.unlink(missing_ok=True)  # which stays where both names were one file already
        os.replace(coming, latest)
        self._latest_is_damaged = False
        # previous.pt names those of the save before; only what is older may go.
        names = {part["file"] for part in samplers}
        self._remove_samplers(names | self._newest_samplers)
        self._newest_samplers = names

    def _remove_samplers(self, keep: set[str]) -> None:
        for path in self.folder.glob("sampler-*.pt"):
            if path.name not in keep:
                path.unlink()

    def newest(self) -> str | None:
        """The name of the newest checkpoint that is whole, with all its sampler files; None: the run has not begun."""
        name_and_state = self._newest()
        return None if name_and_state is None else name_and_state[0]

    def training_state(self) -> dict[str, Any] | None:
        """What the newest whole checkpoint says but for the samplers; None: the run has not begun."""
        name_and_state = self._newest()
        return None if name_and_state is None else name_and_state[1]

    def _newest(self) -> tuple[str, dict[str, Any]] | None:
        problems = []
        for name in ("latest.pt", "previous.pt"):
            try:
                state = read(self.folder / name)
                self._check_samplers(state)
            except FileNotFoundError:
                continue
            except (DamagedCheckpoint, KeyError) as error:
                problems.append(str(error))
                _log.warning("%s", error)
                continue
            if problems:
                _log.warning("going on from %s, the checkpoint before (step %d)", name, state["step"])
            return name, state
        if problems:
            raise DamagedCheckpoint(
                f"{self.folder}: no checkpoint can be read ({'; '.join(problems)}). "
                "Restore one of the files, or train anew with --force true."
            )
        return None

    def read_whole(self, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The training state of a checkpoint that is whole, and the sampler states of the processes that wrote it."""
        from sslsv_tk.distributed.collectives import processes

        state = read(self.folder / name)
        self._latest_is_damaged = name == "previous.pt"
        samplers = state["samplers"]
        self._newest_samplers = {part["file"] for part in samplers}
        # Mapped where a process takes over a part: the samplers copy what they keep.
        mapped = len(samplers) > 1 or processes() > 1
        return state, [read(self.folder / part["file"], mapped=mapped) for part in samplers]

    def has_begun(self) -> bool:
        """Has a run written a checkpoint here, damaged or not?"""
        return any((self.folder / name).exists() for name in ("latest.pt", "previous.pt", "averaged.pt", "1epoch.pt"))

    def _check_samplers(self, state: Mapping[str, Any]) -> None:
        for part in state["samplers"]:
            path = self.folder / part["file"]
            if not path.exists():
                raise _damaged(path, f"not found, although the checkpoint of step {state['step']} names it.")
            if digests.of_file(path) != part["digest"]:
                raise _damaged(path, f"not the sampler state of step {state['step']} (another checksum).")

    def save_epoch(self, epoch: int, model: Mapping[str, Tensor]) -> None:
        """Write <epoch>epoch.pt, then remove those no longer wanted."""
        write(self.folder / f"{epoch}epoch.pt", {"epoch": epoch, "model": dict(model)})
        there = self.epochs()
        newest = there[-self.keep_epochs :][0]
        old = [epoch for epoch in there if epoch < newest and epoch % self.keep_every]
        self._list({*there, *self._listed_epochs()} - {*old}, newest)
        for epoch in old:
            (self.folder / f"{epoch}epoch.pt").unlink()

    def _listed_epochs(self) -> list[int]:
        """The epochs whose files were listed, here or deleted since; none where the list is damaged."""
        try:
            return [int(name.removesuffix("epoch.pt")) for name in listed.read(self.folder) if name[0].isdigit()]
        except ValueError as error:
            _log.warning("%s: it is written anew", error)
            return []

    def _list(self, epochs: Iterable[int], newest: int) -> None:
        """List the files of these epochs but for old ones of which none is kept, and the others that are there."""
        kept = [epoch for epoch in epochs if epoch >= newest or epoch % self.keep_every == 0]
        others = [name for name in ("latest.pt", "averaged.pt") if (self.folder / name).is_file()]
        listed.write(self.folder, [*(f"{epoch}epoch.pt" for epoch in kept), *others])

    def epochs(self) -> list[int]:
        """The epochs whose files are here, ascending."""
        matches = (re.fullmatch(r"(\d+)epoch\.pt", path.name) for path in self.folder.glob("*epoch.pt"))
        return sorted(int(match[1]) for match in matches if match)

    def path_of(self, which: str) -> Path:
        """The file of `averaged`, `latest`, `best` or an epoch number; a ValueError lists what there is."""
        name = f"{which}epoch.pt" if which.isdigit() else f"{which}.pt"
        path = self.folder / name
        if not re.fullmatch(r"\d+|averaged|latest|best", which) or not path.exists():
            choices = [name for name in ("latest", "best") if (self.folder / f"{name}.pt").exists()]
            choices += map(str, self.epochs())
            raise ValueError(
                f"{path}: no such checkpoint. There are: {', '.join(choices) or 'none; run stage 4 (and 5) first'}."
            )
        return path


def average(models: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor, batch-norm statistics included; whole-number counters are taken from the last."""
    import torch

    mean = {}
    for name, last in models[-1].items():
        if last.is_floating_point():
            mean[name] = torch.stack([model[name].double() for model in models]).mean(0).to(last.dtype)
        else:
            mean[name] = last
    return mean
