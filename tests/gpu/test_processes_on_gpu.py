"""A group of one process that talks by NCCL: gradients, batch norm and every collective of distributed.py on a GPU.

A group of one has known answers. The functions are told that there are two processes, as they would do nothing for one.
"""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sslsv_tk.distributed import collectives, devices, processes
from sslsv_tk.nn.batch_norm import synchronise

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICE = torch.device("cuda", 0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A device, in a group of one that believes to be two; on the CPU gloo shows that the answers are right."""
    with _alone(devices.choose(request.param), monkeypatch) as found:
        monkeypatch.setattr(collectives, "processes", lambda: 2)
        yield found


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as one that was started alone in a group, with a GPU."""
    with _alone(devices.choose("auto"), monkeypatch):
        yield


@contextlib.contextmanager
def _alone(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    ranks = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in ranks.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    with processes.together(device):
        yield device


def test_rows_and_their_gradients_are_gathered(device: torch.device) -> None:
    rows = torch.arange(6.0, device=device).view(3, 2).requires_grad_()
    weights = torch.tensor([[1.0, 2], [3, 4], [5, 6]], device=device)
    gathered = collectives.gather(rows.t().contiguous().t())
    assert torch.equal(gathered, rows)
    (gathered * weights).sum().backward()
    assert torch.equal(rows.grad, weights)
    assert torch.equal(collectives.exchange(rows.detach(), torch.tensor([2, 0, 1], device=device)), rows[[2, 0, 1]])


def test_sums_and_their_gradients(device: torch.device) -> None:
    numbers = torch.tensor([1.0, -2], device=device, requires_grad=True)
    collectives.total(numbers).square().sum().backward()
    assert numbers.grad.tolist() == [2, -4]
    assert collectives.largest(numbers.detach()).tolist() == [1, -2]
    assert collectives.summed(torch.tensor(5, device=device)).item() == 5
    assert collectives.summed(torch.tensor([0.25], dtype=torch.float64, device=device)).tolist() == [0.25]


def test_parts_of_every_kind_travel(device: torch.device) -> None:
    for kind in (torch.float16, torch.float32, torch.int64):
        rows = torch.arange(6, device=device).view(3, 2).to(kind)
        assert torch.equal(collectives.sent(rows.clone(), 0), rows)
        (part,) = collectives.gather_parts(rows, [3])
        assert torch.equal(part, rows)
    assert collectives.gather_parts(torch.empty(3, 0, device=device), [3])[0].shape == (3, 0)
    assert sorted(collectives.shared_permutation(5, device).tolist()) == [0, 1, 2, 3, 4]


def test_words_travel_beside_the_rows(device: torch.device) -> None:
    assert processes.any_of(True, False) == (True, False)
    torch.distributed.barrier(processes.control())
    found = [None]
    torch.distributed.all_gather_object(found, {"step": 3}, group=processes.control())
    assert found == [{"step": 3}]


@needs_gpu
def test_batch_norm_over_processes_is_torch_s_own(group: None) -> None:
    torch.manual_seed(0)
    rows, norm = torch.randn(6, 3, 5, device=DEVICE), nn.BatchNorm1d(3).to(DEVICE)
    expected = norm(rows)
    again = nn.BatchNorm1d(3).to(DEVICE)
    synchronise(again)
    torch.testing.assert_close(again._over_processes(rows), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.running_var, norm.running_var, rtol=1e-4, atol=1e-5)


@needs_gpu
def test_gradients_go_through_the_group(group: None) -> None:
    layer = nn.Linear(3, 2).to(DEVICE)
    wrapped = nn.parallel.DistributedDataParallel(layer, device_ids=[0])
    wrapped(torch.ones(4, 3, device=DEVICE)).sum().backward()
    assert torch.equal(layer.weight.grad, torch.full((2, 3), 4.0, device=DEVICE))


@needs_gpu
def test_words_between_processes_do_not_need_the_gpu(group: None) -> None:
    numbers = torch.ones(2)
    torch.distributed.all_reduce(numbers, group=processes.control())
    assert numbers.tolist() == [1, 1] and torch.distributed.get_backend() == "nccl"
    assert collectives.rank() == 0
