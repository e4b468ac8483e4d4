"""The mean of a system's last epochs, which extraction uses by default."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslsv_tk import digests
from sslsv_tk.kaldi import directories
from sslsv_tk.systems import checkpoints
from sslsv_tk.systems.checkpoints import CheckpointFolder, DamagedCheckpoint
from sslsv_tk.systems.on_disk import System

_log = logging.getLogger("train")


def write_average(system: System, epochs: int | None = None) -> None:
    """averaged.pt: the mean of the last `epochs` epoch files (fewer: all of them), unless it is there already.

    None means the training.average_epochs of the system's configuration. A damaged file of the last epoch is made anew
    of latest.pt, which has the same weights; any other one is an error that says what can be done.
    """
    config = system.config()
    wanted = config.training.average_epochs if epochs is None else epochs
    folder = system.checkpoints
    directories.remove_temporaries(folder.folder, "averaged.pt")
    chosen = [epoch for epoch in folder.epochs() if epoch > 0][-wanted:]
    if not chosen:
        raise ValueError(f"{system.folder}: no epoch file to average. Let at least one epoch of training end.")
    path = folder.folder / "averaged.pt"
    inputs = digests.of_files(folder.path_of(str(epoch)) for epoch in chosen)
    if _inputs_of(path) == inputs:
        _log.info("%s: complete", path)
        return
    latest = folder.training_state()
    _say_missing(system, chosen, wanted, latest)
    models = _read_all(folder, chosen, latest)
    inputs = digests.of_files(folder.path_of(str(epoch)) for epoch in chosen)
    checkpoints.write(path, {"epochs": chosen, "inputs": inputs, "model": checkpoints.average(models)})
    _log.info("%s: mean of epochs %s", path, ", ".join(map(str, chosen)))


def _say_missing(system: System, chosen: list[int], wanted: int, latest: Mapping[str, Any] | None) -> None:
    """A warning where epochs that belong to the mean have no file: it is another mean without them."""
    last = chosen[-1] if latest is None else int(latest["epoch"])
    first = int(system.record.inputs.get("epochs of stage 4", 0)) + 1
    missing = [epoch for epoch in range(max(first, last - wanted + 1), last + 1) if epoch not in chosen]
    if missing:
        files = ", ".join(f"{epoch}epoch.pt" for epoch in missing)
        _log.warning("%s: %s not there; the mean is of %d epochs alone", system.checkpoints.folder, files, len(chosen))


def _read_all(folder: CheckpointFolder, chosen: list[int], latest: Mapping[str, Any] | None) -> list[Any]:
    """The weights after each of the epochs."""
    models: dict[int, dict[str, Any]] = {}
    damaged: dict[int, DamagedCheckpoint] = {}
    for epoch in chosen:
        try:
            models[epoch] = checkpoints.read(folder.path_of(str(epoch)))["model"]
        except DamagedCheckpoint as error:
            damaged[epoch] = error
    for epoch, fault in damaged.items():
        if not models or latest is None or latest["epoch"] != epoch or latest["step_in_epoch"] or latest["passed"]:
            raise ValueError(
                f"{fault} Restore it; or remove it, and the mean is of the other epochs; or train anew: --force true."
            ) from None
        models[epoch] = {name: latest["model"][name] for name in next(iter(models.values()))}
        checkpoints.write(folder.path_of(str(epoch)), {"epoch": epoch, "model": models[epoch]})
        _log.warning("%s Its weights stand in latest.pt as well: it was written anew.", fault)
    return [models[epoch] for epoch in chosen]


def _inputs_of(average: Path) -> str | None:
    """The digest of the epoch files that an average was made of; None where there is no whole average."""
    try:
        inputs = checkpoints.read(average).get("inputs")
    except (FileNotFoundError, checkpoints.DamagedCheckpoint):
        return None
    return None if inputs is None else str(inputs)
