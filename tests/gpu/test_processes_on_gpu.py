"""A group of one process that talks by NCCL: gradients, batch norm and the sampler's collectives on a GPU."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sslsv_tk import devices, distributed, processes
from sslsv_tk.nn.batch_norm import synchronise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICE = torch.device("cuda", 0)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as one that was started alone in a group."""
    ranks = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    for name, value in ranks.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    with processes.together(devices.choose("auto")):
        yield


def test_batch_norm_over_processes_is_torch_s_own(group: None) -> None:
    torch.manual_seed(0)
    rows, norm = torch.randn(6, 3, 5, device=DEVICE), nn.BatchNorm1d(3).to(DEVICE)
    expected = norm(rows)
    again = nn.BatchNorm1d(3).to(DEVICE)
    synchronise(again)
    torch.testing.assert_close(again._over_processes(rows), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.running_var, norm.running_var, rtol=1e-4, atol=1e-5)


def test_gradients_go_through_the_group(group: None) -> None:
    layer = nn.Linear(3, 2).to(DEVICE)
    wrapped = nn.parallel.DistributedDataParallel(layer, device_ids=[0])
    wrapped(torch.ones(4, 3, device=DEVICE)).sum().backward()
    assert torch.equal(layer.weight.grad, torch.full((2, 3), 4.0, device=DEVICE))


def test_words_between_processes_do_not_need_the_gpu(group: None) -> None:
    numbers = torch.ones(2)
    torch.distributed.all_reduce(numbers, group=processes.control())
    assert numbers.tolist() == [1, 1] and torch.distributed.get_backend() == "nccl"
    assert distributed.rank() == 0
