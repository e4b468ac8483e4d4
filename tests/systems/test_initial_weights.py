"""--init-from: what is taken from another system, what stays as it was drawn, and that a run goes on exactly."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.bin import train
from sslsv_tk.systems import checkpoints


def weights(system: Path, epoch: int) -> dict[str, torch.Tensor]:
    return checkpoints.read(system / "checkpoints" / f"{epoch}epoch.pt")["model"]


@pytest.fixture
def begin(workspace, caplog) -> Callable[..., tuple[Path, list[str]]]:
    """begin(NAME, METHOD, CHECKPOINT): a system trained for an epoch from there, and its lines of progress."""

    def run(name: str, method: dict[str, object], checkpoint: Path | None) -> tuple[Path, list[str]]:
        own = workspace.systems / f"{name}.yaml"
        own.write_text(yaml.safe_dump({"method": method, "training": {"epochs": 1}}))
        words = workspace.options(name)
        words.insert(words.index("--config") + 2, str(own))
        caplog.clear()
        with caplog.at_level(logging.INFO):
            train.main([*words, *(["--init-from", str(checkpoint)] if checkpoint else [])])
        lines = [record.getMessage() for record in caplog.records if record.name == "progress"]
        return workspace.systems / name, lines

    return run


@pytest.fixture
def checkpoint(stage4) -> Path:
    """The last epoch of a trained SimCLR."""
    return stage4 / "checkpoints" / "3epoch.pt"


def test_all_of_the_same_method_is_taken(begin, stage4, checkpoint):
    system, lines = begin("again", {}, checkpoint)
    before, begun = weights(stage4, 3), weights(system, 0)
    assert begun.keys() == before.keys() and all(torch.equal(begun[name], before[name]) for name in before)
    assert lines[0] == f"begins with {len(before)} tensors of {checkpoint} (encoder: {len(before)})"
    assert lines[1].startswith("simclr with fast_resnet34 on cpu"), "nothing was left out"
    assert yaml.safe_load((system / "config.yaml").read_text())["training"]["init_from"] == str(checkpoint)


def test_the_copies_of_an_encoder_begin_as_it_does(begin, stage4, checkpoint, monkeypatch):
    from sslsv_tk.methods.moco import MoCo

    steps = []
    monkeypatch.setattr(
        MoCo,
        "before_step",
        lambda self, progress: steps.append(
            all(
                torch.equal(key, own)
                for key, own in zip(
                    self.key_encoder.state_dict().values(), self.encoder.state_dict().values(), strict=True
                )
            )
        ),
    )
    system, _ = begin("moco", {"name": "moco", "queue_size": 8, "segment_seconds": 0.4}, checkpoint)
    assert steps[0] and not steps[-1]
    assert all(torch.equal(tensor, weights(stage4, 3)[name]) for name, tensor in weights(system, 0).items())


def test_what_the_other_system_lacks_stays_as_it_was_drawn_and_is_listed(begin, stage4, checkpoint):
    method = {"name": "vicreg", "hidden": 8, "output": 8, "segment_seconds": 0.4}
    system, lines = begin("vicreg", method, checkpoint)
    drawn, begun = weights(begin("plain", method, None)[0], 0), weights(system, 0)
    projector = [name for name in begun if not name.startswith("encoder.")]
    assert projector and all(torch.equal(begun[name], drawn[name]) for name in projector)
    assert lines[1] == f"drawn, since they are not there: {', '.join(projector)}"
    _, lines = begin("back", {}, system / "checkpoints" / "1epoch.pt")
    assert lines[1] == f"not taken, since this system has no such tensors: {', '.join(projector)}"
    _, lines = begin("wider", method | {"output": 16}, system / "checkpoints" / "1epoch.pt")
    assert lines[1].startswith("drawn, since they have another shape there: projector")
    assert "((8, 8), here (16, 8))" in lines[1]


def test_another_method_takes_the_encoder_that_is_scored(begin):
    dino = {"name": "dino", "prototypes": 8, "hidden": 8, "bottleneck": 4, "teacher_momentum": 0.5}
    dino |= {"global_seconds": 0.4, "local_views": 0}
    trained, _ = begin("dino", dino, None)
    theirs, ours = weights(trained, 1), weights(begin("simclr", {}, trained / "checkpoints" / "1epoch.pt")[0], 0)
    teacher = {name: tensor for name, tensor in theirs.items() if name.startswith("teacher")}
    assert len(teacher) == len(ours)
    assert all(torch.equal(*pair) for pair in zip(teacher.values(), ours.values(), strict=True))
    assert any(not torch.equal(theirs[name], tensor) for name, tensor in ours.items()), "the student is another"


def test_a_run_that_was_stopped_goes_on_exactly_and_other_weights_make_another(
    workspace, stage4, checkpoint, outcome, assert_same, tmp_path, caplog
):
    words = ["--init-from", str(checkpoint)]
    train.main([*workspace.options("whole"), *words])
    train.main([*workspace.options("parts", "training.epochs=2"), *words])
    moved = tmp_path / "moved.pt"
    shutil.copy(checkpoint, moved)  # where the checkpoint lies decides nothing
    with caplog.at_level(logging.INFO):
        train.main([*workspace.options("parts"), "--init-from", str(moved)])
    assert_same(outcome(workspace.systems / "parts"), outcome(workspace.systems / "whole"))
    assert "begins with" not in caplog.text
    for other in ([], ["--init-from", str(stage4 / "checkpoints" / "2epoch.pt")]):
        with pytest.raises(StaleArtifact, match=r"weights that training begins with \(--init-from\): was"):
            train.main([*workspace.options("parts"), *other])


def test_a_checkpoint_of_another_encoder_is_refused(workspace, checkpoint):
    words = workspace.options("narrow", "encoder.widths=[12,12,12,12]", "encoder.dimension=20")
    with pytest.raises(ValueError, match=r"--init-from .*3epoch.pt: nothing in it fits the encoder fast_resnet34"):
        train.main([*words, "--init-from", str(checkpoint)])
    with pytest.raises(FileNotFoundError):
        train.main([*workspace.options("gone"), "--init-from", "nowhere.pt"])
