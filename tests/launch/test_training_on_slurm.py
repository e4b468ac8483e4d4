"""Training on two nodes of a real Slurm: the numbers of one process, through preemption and the death of a node."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from slurm_cluster import ROOT, Cluster, until

SETTINGS = ("training.batch_size=6", "training.log_steps=1", "training.epochs=40", "training.checkpoint_minutes=0")


def words(inputs: Path, system: Path, *settings: str) -> list[str]:
    """The command that trains the small system."""
    places = ["--train-set", str(inputs / "train"), "--augmentation", str(inputs), "--out", str(system)]
    given = ["--config", str(inputs / "system.yaml"), *places, "--device", "cpu", "--set", *SETTINGS, *settings]
    return [sys.executable, "-m", "sslsv_tk.bin.train", *given]


def losses(system: Path) -> list[float]:
    """Of every epoch."""
    lines = [json.loads(line) for line in (system / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "epoch"]


def weights(system: Path) -> dict[str, torch.Tensor]:
    """Of the last epoch."""
    return torch.load(system / "checkpoints/40epoch.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def undisturbed(running_cluster: Cluster, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system that two processes of this machine have trained without a disturbance."""
    system = tmp_path_factory.mktemp("exp") / "system"
    start = [sys.executable, "-m", "sslsv_tk.bin.run_processes", "--processes", "2"]
    environment = {**running_cluster.environment, "OMP_NUM_THREADS": "1"}
    subprocess.run([*start, *words(inputs, system)], check=True, env=environment, cwd=ROOT)
    return system


def test_two_nodes_train_what_one_process_trains(cluster: Cluster, inputs: Path) -> None:
    settings = ("optimisation.optimiser=sgd", "optimisation.learning_rate=0.00001", "training.epochs=3")
    one, two = Path("one").resolve(), Path("two").resolve()
    environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}
    subprocess.run(words(inputs, one, *settings), check=True, env=environment)
    assert cluster.run("--num-nodes", "2", "x.log", *words(inputs, two, *settings))[0] == 0
    assert "processes: 2" in (two / "environment.txt").read_text()
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)


@pytest.mark.parametrize("what", ["a request to stop", "the death of a node"])
def test_training_goes_on_by_itself_to_the_same_bits(
    cluster: Cluster, inputs: Path, undisturbed: Path, what: str
) -> None:
    system = Path("system").resolve()
    launcher = cluster.start("--num-nodes", "2", "x.log", *words(inputs, system))
    until(lambda: Path("x.log").exists() and "epoch=5 " in Path("x.log").read_text(errors="replace"))
    if what == "the death of a node":
        cluster.script("kill-node", "--node", "n2")
        until(lambda: "went back into the queue" in launcher.said())
        cluster.script("start-node", "--node", "n2")
    else:
        job = launcher.said().partition("as Slurm job ")[2].split()[0]
        cluster.ask("scancel", "--batch", "--signal=USR1", f"{job}_1")
    assert launcher.ended() == 0, launcher.said()
    assert "going on from step" in Path("x.log").read_text(errors="replace")
    assert losses(system) == losses(undisturbed)
    expected = weights(undisturbed)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(system).items())
