"""Which device a command computes on, and which GPUs there are."""

from pathlib import Path

import pytest
import torch

from sslsv_tk import gpus
from sslsv_tk.distributed import devices


@pytest.fixture(autouse=True)
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver without GPUs, whatever this machine has; tests write what it says into the file."""
    said = tmp_path / "said"
    said.touch()
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/nvidia-smi"
    script.write_text(f'#!/bin/sh\ncase $1 in --list-gpus) cat "{said}" ;; *) echo 470.82.01 ;; esac\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return said


@pytest.fixture
def two_gpus(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is too old for torch offers two GPUs."""
    nvidia_smi.write_text(
        "GPU 0: NVIDIA A100 (UUID: GPU-8932f937)\n  MIG 1g.5gb\nGPU 1: NVIDIA A100 (UUID: GPU-46b2)\n"
    )

    def ones(*size: int, device: str) -> torch.Tensor:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nMore.")

    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("gpu", "name", "kind"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")]
)
def test_auto_takes_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, name: str, kind: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert devices.choose(name) == torch.device(kind)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device cuda: no GPU is visible here\. Use --device cpu"):
        devices.choose("cuda")


@pytest.mark.parametrize(("local_rank", "gpus", "found"), [(0, 1, 0), (3, 4, 3), (2, 1, 0)])
def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch, local_rank: int, gpus: int, found: int) -> None:
    """A scheduler may show each process its own one alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, number in {"RANK": local_rank, "WORLD_SIZE": 4, "LOCAL_RANK": local_rank}.items():
        monkeypatch.setenv(name, str(number))
    assert devices.choose("auto") == torch.device("cuda", found)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, number in {"RANK": 2, "WORLD_SIZE": 4, "LOCAL_RANK": 2}.items():
        monkeypatch.setenv(name, str(number))
    with pytest.raises(ValueError, match=r"process 3 on its machine, which shows 2 GPUs"):
        devices.choose("cuda")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ["0", "1"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),
        ("1, 0", ["1", "0"]),
        ("3,,4", ["3"]),
        ("0,0", []),
        ("GPU-8932f937,MIG-46b2", ["GPU-8932f937", "MIG-46b2"]),
    ],
)
def test_gpus_are_read_as_cuda_reads_them(monkeypatch: pytest.MonkeyPatch, named: str | None, found: list[str]) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible_gpus() == found


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.visible_gpus() == []
    assert gpus.unusable() is None


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_gpus_that_the_driver_offers_and_torch_cannot_use_stop_the_command(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(ValueError, match=r"driver \(470\.82\.01\) offers 2 GPU \(NVIDIA A100\)") as caught:
        devices.choose(name)
    assert f"torch {torch.__version__}, built for CUDA 13.0, cannot use it: The NVIDIA driver" in str(caught.value)
    assert "found version 11040). Update the driver" in str(caught.value)
    assert "--ngpu 0" in str(caught.value)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in str(gpus.unusable())


@pytest.mark.usefixtures("two_gpus")
def test_who_asks_for_the_cpu_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.choose("cpu") == torch.device("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as the launcher says with --ngpu 0
    assert devices.choose("auto") == torch.device("cpu")


@pytest.mark.usefixtures("two_gpus")
def test_gpus_that_torch_can_use_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *size, device: torch.zeros(1))
    assert gpus.unusable() is None
