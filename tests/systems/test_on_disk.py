"""A system by its folder: its configuration, its checkpoints, and what training left."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sslsv_tk import config
from sslsv_tk.config import Component
from sslsv_tk.systems.configuration import SystemConfig, TrainingConfig
from sslsv_tk.systems.on_disk import System

CONFIG = SystemConfig(Component("fast_resnet34"), Component("simclr"), training=TrainingConfig(seed=3))


def test_the_configuration_that_was_written_is_read(tmp_path: Path) -> None:
    system = System(tmp_path / "exp" / "x")
    config.dump(CONFIG, system.config_file)
    assert system.config_file == tmp_path / "exp" / "x" / "config.yaml"
    assert system.config() == CONFIG


def test_files_above_the_configuration_win(tmp_path: Path) -> None:
    system = System(tmp_path)
    config.dump(CONFIG, system.config_file)
    (tmp_path / "oracle.yaml").write_text("positives: {name: same_speaker}\n")
    found = system.config(tmp_path / "oracle.yaml")
    assert found.positives == Component("same_speaker") and found.training == CONFIG.training


def test_a_folder_without_configuration_is_no_trained_system(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x: no config\.yaml, so not a trained system\. Run stage 4 \(or 5\) first"):
        System(tmp_path / "x").config()


def test_the_checkpoints_are_those_in_its_folder(tmp_path: Path) -> None:
    System(tmp_path).checkpoints.save_epoch(2, {"weight": torch.zeros(1)})
    assert (tmp_path / "checkpoints" / "2epoch.pt").exists() and System(tmp_path).checkpoints.epochs() == [2]


TRAINING = ("checkpoints/latest.pt", "tensorboard/events", "made.json", "metrics.jsonl", "config.yaml", "train.log")
KEPT = ("environment.txt", "scores/x.score", "embeddings/test/xvector.scp")


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def lay_out(folder: Path, word: str) -> None:
    for name in TRAINING:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(word)


@pytest.fixture
def trained(tmp_path: Path) -> System:
    lay_out(tmp_path, "old")
    for name in KEPT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("kept")
    return System(tmp_path)


def test_what_is_to_be_replaced_is_kept_until_the_new_is_complete(trained: System) -> None:
    kept = dict.fromkeys(KEPT, "kept")
    old = {f"replaced/{name}": "old" for name in TRAINING}
    trained.set_training_aside()
    assert files(trained.folder) == kept | old
    lay_out(trained.folder, "begun")
    trained.set_training_aside()
    assert files(trained.folder) == kept | old, "what was begun goes, the old stays"
    lay_out(trained.folder, "new")
    trained.forget_replaced()
    assert files(trained.folder) == kept | dict.fromkeys(TRAINING, "new")
    System(trained.folder / "nothing").set_training_aside()


def test_killed_while_it_is_set_aside_nothing_is_lost(trained: System, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rename = files(trained.folder), Path.rename
    for moves in range(len(TRAINING) + 1):
        done = 0

        def killed(path: Path, target: Path, moves: int = moves) -> Path:
            nonlocal done
            done += 1
            if done > moves:
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Path, "rename", killed)
            trained.set_training_aside()
        trained.undo_setting_aside()
        assert files(trained.folder) == before


def test_a_system_is_read_without_torch(tmp_path: Path) -> None:
    config.dump(CONFIG, tmp_path / "config.yaml")
    program = "import sys; sys.modules['torch'] = None; from pathlib import Path\n"
    program += "from sslsv_tk.systems.on_disk import System; print(System(Path(sys.argv[1])).config().training.seed)"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "3\n", done.stderr
