"""The mean of a system's last epochs, which extraction uses by default."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sslsv_tk import digests, records
from sslsv_tk.kaldi import directories
from sslsv_tk.systems import checkpoints, listed
from sslsv_tk.systems.checkpoints import CheckpointFolder, DamagedCheckpoint
from sslsv_tk.systems.on_disk import System

_log = logging.getLogger("train")


def write_average(system: System, epochs: int | None = None) -> None:
    """averaged.pt: the mean of the last `epochs` epoch files (fewer: all of them), unless it is there already.

    None means as many as the system's configuration says for its stage: training.average_epochs, or
    training.continued_average_epochs. A file of the last epoch that is damaged or gone is made anew of latest.pt, which
    has the same weights; any other one is an error that says what can be done.
    """
    config = system.config()
    folder = system.checkpoints
    directories.remove_temporaries(folder.folder, "averaged.pt")
    _restore_last(folder)
    trained = [epoch for epoch in folder.epochs() if epoch > 0]
    if not trained:
        raise ValueError(f"{system.folder}: no epoch file to average. Let at least one epoch of training end.")
    wanted = config.training.averaged(trained[-1]) if epochs is None else epochs
    chosen = trained[-wanted:]
    path = folder.folder / "averaged.pt"
    missing = _missing_epochs(system, wanted) if wanted <= config.training.keep_epochs else []
    if missing and _keeps(path, missing):
        _log.warning("%s stays: the files of epochs %s, of which it is a mean, are gone", path, _words(missing))
        return
    if missing:
        raise ValueError(
            f"{folder.folder}: the files of epochs {_words(missing)} are gone, so the mean of the last {wanted} epochs "
            f"would be one of fewer. Put them back, or take the mean of fewer: --set training.average_epochs=N"
        )
    inputs = digests.of_files(folder.path_of(str(epoch)) for epoch in chosen)
    if _inputs_of(path) == inputs:
        _log.info("%s: complete", path)
        return
    models = _read_all(folder, chosen)
    inputs = digests.of_files(folder.path_of(str(epoch)) for epoch in chosen)
    checkpoints.write(path, {"epochs": chosen, "inputs": inputs, "model": checkpoints.average(models)})
    listed.add(folder.folder, path.name)
    _log.info("%s: mean of epochs %s", path, ", ".join(map(str, chosen)))


def _restore_last(folder: CheckpointFolder) -> None:
    """Write the file of the last epoch where it is gone and latest.pt is of the very end of that epoch."""
    there = folder.epochs()
    state = _state_at_the_end_of(_last_epoch(folder.folder / "latest.pt", -1), folder) if there else None
    if state is None or state["epoch"] in there:
        return
    try:
        names = checkpoints.read(folder.path_of(str(there[-1])), mapped=True)["model"]
    except DamagedCheckpoint:
        return
    _write_anew(folder, state, names)
    path = folder.path_of(str(state["epoch"]))
    _log.warning("%s was gone. Its weights stand in latest.pt as well: it was written anew.", path)


def _write_anew(folder: CheckpointFolder, state: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The file of the epoch at whose end the state was saved, with the tensors that epoch files have; its weights."""
    model = {name: state["model"][name] for name in names}
    checkpoints.write(folder.folder / f"{state['epoch']}epoch.pt", {"epoch": state["epoch"], "model": model})
    return model


def _read_all(folder: CheckpointFolder, chosen: list[int]) -> list[Any]:
    """The weights after each of the epochs."""
    models: dict[int, dict[str, Any]] = {}
    damaged: dict[int, DamagedCheckpoint] = {}
    for epoch in chosen:
        try:
            models[epoch] = checkpoints.read(folder.path_of(str(epoch)))["model"]
        except DamagedCheckpoint as error:
            damaged[epoch] = error
    for epoch, fault in damaged.items():
        state = _state_at_the_end_of(epoch, folder)
        if not models or state is None:
            raise ValueError(
                f"{fault} Restore it, train anew with --force true, or take the mean of fewer epochs: --set"
                f" training.average_epochs={max(1, chosen[-1] - epoch)}."
            ) from None
        models[epoch] = _write_anew(folder, state, next(iter(models.values())))
        _log.warning("%s Its weights stand in latest.pt as well: it was written anew.", fault)
    return [models[epoch] for epoch in chosen]


def _state_at_the_end_of(epoch: int, folder: CheckpointFolder) -> dict[str, Any] | None:
    """The state of training where it was saved at the very end of this epoch, which holds the epoch's weights."""
    try:
        state = folder.training_state()
    except DamagedCheckpoint:
        return None
    if state is None or state["epoch"] != epoch or state["step_in_epoch"] or state["passed"]:
        return None
    return state


def _missing_epochs(system: System, wanted: int) -> list[int]:
    """Which of the last epochs that the run has done have no file any more."""
    there = system.checkpoints.epochs()
    last = _last_epoch(system.checkpoints.folder / "latest.pt", there[-1])
    record = records.read(system.folder)
    before = int(record.inputs.get("epochs of stage 4", 0)) if record is not None else there[0] - 1
    return sorted(set(range(max(before, 0, last - wanted) + 1, last + 1)) - set(there))


def _last_epoch(latest: Path, otherwise: int) -> int:
    """How many epochs the run has done, as its last checkpoint says where it can be read."""
    try:
        return int(checkpoints.read(latest, mapped=True)["epoch"])
    except (FileNotFoundError, checkpoints.DamagedCheckpoint):
        return otherwise


def _keeps(average: Path, missing: list[int]) -> bool:
    """Is there a whole average that these epochs are part of?"""
    try:
        return set(missing) <= set(checkpoints.read(average)["epochs"])
    except (FileNotFoundError, checkpoints.DamagedCheckpoint, KeyError):
        return False


def _words(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs))


def _inputs_of(average: Path) -> str | None:
    """The digest of the epoch files that an average was made of; None where there is no whole average."""
    try:
        inputs = checkpoints.read(average).get("inputs")
    except (FileNotFoundError, checkpoints.DamagedCheckpoint):
        return None
    return None if inputs is None else str(inputs)
