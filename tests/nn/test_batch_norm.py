"""Batch norm over two processes against torch's own over all rows, and gradients of whole methods with it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from process_pool import ProcessPool
from small_settings import SYNCHRONISED, small_encoder, small_method
from torch import Tensor, nn
from two_processes import PROCESSES, numbers

from sslsv_tk.distributed import collectives
from sslsv_tk.methods.base import Method
from sslsv_tk.nn.batch_norm import SynchronisedBatchNorm, average_statistics, synchronise
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.schedules import Progress
from sslsv_tk.training.optimisation import clip_gradients
from sslsv_tk.training.step import TrainingStep, over_processes

ROWS, CHANNELS = 6, 3
SHARES = (slice(0, 4), slice(4, 6))
"""Uneven ones."""
SHAPES = ((ROWS, CHANNELS), (ROWS, CHANNELS, 5), (ROWS, CHANNELS, 4, 2))


def normalised(norm: nn.Module, rank: int | None, shape: tuple[int, ...], offset: float) -> dict[str, Tensor]:
    """Outputs, gradients and running statistics after two steps of this process's rows."""
    rows = SHARES[rank] if rank is not None else slice(None)
    for step in range(2):
        whole = numbers(step, *shape) * 3 + offset
        own = whole[rows].clone().requires_grad_()
        norm.zero_grad()
        found = norm(own)
        (found.square() * numbers(9, *shape)[rows]).sum().backward()
    weights = {} if norm.weight is None else {"weight": norm.weight.grad, "bias": norm.bias.grad}
    return {"found": found.detach(), "gradient": own.grad, **weights, **dict(norm.named_buffers())}


def norms() -> dict[str, tuple[nn.Module, tuple[int, ...], float]]:
    """Every kind that is used, as torch has it, in double precision."""
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    made: dict[str, tuple[nn.Module, tuple[int, ...], float]] = {}
    for shape in SHAPES:
        norm = kinds[len(shape)](CHANNELS).double()
        with torch.no_grad():
            norm.weight.copy_(numbers(3, CHANNELS))
            norm.bias.copy_(numbers(4, CHANNELS))
        made[f"{len(shape)} axes"] = (norm, shape, 0.0)
    made["without weights"] = (nn.BatchNorm1d(CHANNELS, affine=False).double(), SHAPES[0], 0.0)
    made["cumulative"] = (nn.BatchNorm1d(CHANNELS, momentum=None).double(), SHAPES[1], 0.0)
    made["far from zero"] = (nn.BatchNorm1d(CHANNELS).double(), SHAPES[1], 1e6)
    return made


def make(name: str) -> Method:
    """A small method with the real encoder, on all processes the same, in double precision."""
    torch.manual_seed(0)
    return small_method(name, small_encoder()).double()


def gradients(name: str, rank: int | None) -> dict[str, Tensor]:
    """The loss of a step as training makes it, and the gradients that it leaves with each of the processes."""
    method = make(name)
    if rank is not None:
        synchronise(method)
    step = over_processes(TrainingStep(method, PositiveSampler(None, SamplerFacts(ROWS))), torch.device("cpu"))
    share = slice(None) if rank is None else slice(rank * ROWS // PROCESSES, (rank + 1) * ROWS // PROCESSES)
    views = [numbers(seed, ROWS, 40, 30)[share] for seed in range(len(method.segments))]
    method.before_step(Progress(1.0, span=20))
    labels_B = torch.arange(ROWS)[share] % 3 if method.needs_labels else None
    loss, _ = step(views, torch.arange(ROWS)[share], None, labels_B)
    loss.backward()
    clip_gradients(method.parameters(), 0.5)
    of_all = {"loss": collectives.total(loss.detach()) / collectives.processes()}
    of_all.update({name: tensor.grad for name, tensor in method.named_parameters() if tensor.grad is not None})
    return {**of_all, **{n: b for n, b in method.named_buffers() if "running" in n}}


def averaged(rank: int) -> dict[str, Tensor]:
    """Running statistics that were taken of each process's own rows, averaged."""
    norm = nn.BatchNorm1d(CHANNELS)
    norm(numbers(0, ROWS, CHANNELS)[SHARES[rank]].float())
    own = norm.running_mean.clone()
    average_statistics(nn.Sequential(norm))
    return {"own": own, "average": norm.running_mean}


def everything(rank: int) -> dict[str, dict[str, Any]]:
    found = {"averaged": averaged(rank)}
    for name, (norm, shape, offset) in norms().items():
        synchronise(norm)
        found[name] = normalised(norm, rank, shape, offset)
    return {**found, **{name: gradients(name, rank) for name in SYNCHRONISED}}


@pytest.fixture(scope="module")
def two(pool: ProcessPool) -> list[dict[str, dict[str, Any]]]:
    """What each of two processes found."""
    return pool.run(PROCESSES, everything)


@pytest.mark.parametrize("name", norms())
def test_rows_are_normalised_over_all_processes(two, name: str) -> None:
    one = normalised(*norms()[name][:1], None, *norms()[name][1:])
    close: Callable[..., None] = torch.testing.assert_close
    for entry in ("found", "gradient"):
        close(torch.cat([part[name][entry] for part in two]), one[entry], rtol=1e-7, atol=1e-9)
    for entry in {"weight", "bias"} & one.keys():
        close(sum(part[name][entry] for part in two), one[entry], rtol=1e-7, atol=1e-9)
    for part in two:
        for entry in ("running_mean", "running_var", "num_batches_tracked"):
            close(part[name][entry], one[entry], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_every_method_has_the_loss_and_the_gradients_of_one_process(two, name: str) -> None:
    """With the real encoder, so through all its batch norms."""
    one = gradients(name, None)
    for part in two:
        assert part[name].keys() == one.keys()
        scale = max(float(tensor.abs().max()) for entry, tensor in one.items() if entry != "loss")
        for entry, tensor in one.items():
            torch.testing.assert_close(part[name][entry], tensor, rtol=1e-7, atol=1e-8 * scale, msg=entry)


def test_running_statistics_can_be_averaged(two) -> None:
    mean = (two[0]["averaged"]["own"] + two[1]["averaged"]["own"]) / 2
    assert not torch.allclose(two[0]["averaged"]["own"], mean)
    for part in two:
        torch.testing.assert_close(part["averaged"]["average"], mean)


def test_one_process_has_an_ordinary_batch_norm() -> None:
    norm, rows = nn.BatchNorm1d(CHANNELS), numbers(0, ROWS, CHANNELS).float()
    expected, state = norm(rows), norm.state_dict()
    synchronise(norm)
    norm.reset_running_stats()
    assert isinstance(norm, SynchronisedBatchNorm) and torch.equal(norm(rows), expected)
    assert norm.state_dict().keys() == state.keys()
    with pytest.raises(ValueError, match=r"expected|Expected"):
        norm(rows[0])
