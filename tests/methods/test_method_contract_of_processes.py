"""Every method of the registry, plugins too, in two processes: each half of the rows, and what one does with all."""

import pytest
import torch
from process_pool import ProcessPool
from small_settings import METHODS, small_method
from torch import Tensor, nn
from two_processes import PROCESSES, Means, numbers

from sslsv_tk.distributed import collectives
from sslsv_tk.methods.base import Method
from sslsv_tk.nn.batch_norm import synchronise
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.schedules import Progress
from sslsv_tk.training.step import TrainingStep, over_processes

ROWS, STEPS = 6, 7
SHARE = ROWS // PROCESSES


def made(name: str) -> Method:
    """With an encoder that has no batch norm; a method that wants statistics of its own rows has none either."""
    torch.manual_seed(0)
    method = small_method(name, Means(8))
    if not method.synchronised_batch_norm:
        for module in list(method.modules()):
            for part, child in module.named_children():
                if isinstance(child, nn.modules.batchnorm._BatchNorm):
                    setattr(module, part, nn.Identity())
    elif collectives.processes() > 1:
        synchronise(method)
    return method


def trained(name: str, rank: int | None) -> dict[str, Tensor]:
    """Mean losses of a few steps as training makes them, and the state that they lead to."""
    method = made(name)
    step = over_processes(TrainingStep(method, PositiveSampler(None, SamplerFacts(ROWS))), torch.device("cpu"))
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.01)
    own_B = torch.arange(ROWS) if rank is None else torch.arange(ROWS)[rank * SHARE : (rank + 1) * SHARE]
    losses = []
    for number in range(STEPS):
        progress = Progress(1.0 + number / 2, span=20)
        method.before_step(progress)
        views = [numbers(10 * number + view, ROWS, 3, 5)[own_B].float() for view in range(len(method.segments))]
        loss, _ = step(views, own_B, None, own_B % 3 if method.needs_labels else None)
        optimiser.zero_grad()
        loss.backward()
        method.after_backward(progress)
        optimiser.step()
        method.after_step(progress)
        losses.append(collectives.total(loss.detach()) / collectives.processes())
    return {"losses": torch.stack(losses), **method.state_dict()}


def everything(rank: int) -> dict[str, dict[str, Tensor]]:
    return {name: trained(name, rank) for name in METHODS}


@pytest.fixture(scope="module")
def two(pool: ProcessPool) -> list[dict[str, dict[str, Tensor]]]:
    """What each of two processes found."""
    return pool.run(PROCESSES, everything)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_lead_to_the_losses_and_the_state_of_one(two, name: str) -> None:
    """Weights, teachers, centres and queues that have wrapped."""
    one = trained(name, None)
    for found in two:
        assert found[name].keys() == one.keys()
        for entry, tensor in one.items():
            torch.testing.assert_close(
                found[name][entry].double(),
                tensor.double(),
                rtol=1e-3,
                atol=1e-4,
                msg=lambda text, entry=entry: f"{entry}: {text}",
            )
