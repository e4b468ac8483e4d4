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


def test_all_that_training_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("checkpoints/latest.pt", "tensorboard/events", "made.json", "metrics.jsonl", "config.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("train.log", "environment.txt", "scores/x.score", "embeddings/test/xvector.scp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    System(tmp_path).remove_training()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "environment.txt",
        "x.score",
        "xvector.scp",
    }
    System(tmp_path / "nothing").remove_training()


def test_a_system_is_read_without_torch(tmp_path: Path) -> None:
    config.dump(CONFIG, tmp_path / "config.yaml")
    program = "import sys; sys.modules['torch'] = None; from pathlib import Path\n"
    program += "from sslsv_tk.systems.on_disk import System; print(System(Path(sys.argv[1])).config().training.seed)"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "3\n", done.stderr
