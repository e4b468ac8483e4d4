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

    None means as many as the system's configuration says for its stage: training.average_epochs, or
    training.continued_average_epochs.
    """
    config = system.config()
    folder = system.checkpoints
    directories.remove_temporaries(folder.folder, "averaged.pt")
    trained = [epoch for epoch in folder.epochs() if epoch > 0]
    if not trained:
        raise ValueError(f"{system.folder}: no epoch file to average. Let at least one epoch of training end.")
    chosen = trained[-(config.training.averaged(trained[-1]) if epochs is None else epochs) :]
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
