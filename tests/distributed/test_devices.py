"""Which device a command computes on."""

import pytest
import torch

from sslsv_tk.distributed import devices


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
