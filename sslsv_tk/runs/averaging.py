"""The mean of a system's last epochs, which extraction uses by default."""

import logging
from pathlib import Path

from sslsv_tk import digests
from sslsv_tk.kaldi import directories
from sslsv_tk.systems import checkpoints
from sslsv_tk.systems.on_disk import System

_log = logging.getLogger("train")


def write_average(system: System, epochs: int | None = None) -> None:
    """averaged.pt: the mean of the last `epochs` epoch files (fewer: all of them), unless it is there already.

    None means the training.average_epochs of the system's configuration.
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
    models = [checkpoints.read(folder.path_of(str(epoch)))["model"] for epoch in chosen]
    checkpoints.write(path, {"epochs": chosen, "inputs": inputs, "model": checkpoints.average(models)})
    _log.info("%s: mean of epochs %s", path, ", ".join(map(str, chosen)))


def _inputs_of(average: Path) -> str | None:
    """The digest of the epoch files that an average was made of; None where there is no whole average."""
    try:
        inputs = checkpoints.read(average).get("inputs")
    except (FileNotFoundError, checkpoints.DamagedCheckpoint):
        return None
    return None if inputs is None else str(inputs)
