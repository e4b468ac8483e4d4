"""Two processes that each hold half of the rows do what one process does with all of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from process_pool import ProcessPool
from torch import Tensor, nn
from torch.nn.functional import normalize
from two_processes import PROCESSES, Means, numbers

from sslsv_tk.distributed import collectives
from sslsv_tk.methods.base import Method, Pairs
from sslsv_tk.methods.byol import BYOL, BYOLConfig
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig, nt_xent_loss
from sslsv_tk.methods.simsiam import SimSiam, SimSiamConfig
from sslsv_tk.nn.sinkhorn import sinkhorn
from sslsv_tk.schedules import Progress

ROWS, WIDTH = 6, 4
SHARE = ROWS // PROCESSES


def own(rows: Tensor, rank: int | None, dimension: int = 0) -> Tensor:
    """The rows of a process; all of them where there is but one."""
    return rows if rank is None else rows.narrow(dimension, rank * SHARE, SHARE)


def gathered(rank: int | None) -> dict[str, Any]:
    rows = own(numbers(0, ROWS, WIDTH), rank).clone().requires_grad_()
    everyone = collectives.gather(rows)
    weights = numbers(1, ROWS, WIDTH)
    (everyone * weights).sum().backward()
    return {"rows": everyone.detach(), "gradient": rows.grad}


def totalled(rank: int | None) -> dict[str, Any]:
    rows = own(numbers(0, ROWS, WIDTH), rank).clone().requires_grad_()
    total = collectives.total(rows.sum(0))
    total.square().sum().backward()
    return {"total": total.detach(), "gradient": rows.grad, "largest": collectives.largest(rows.detach().amax(0))}


def shared_out(rank: int | None) -> dict[str, Any]:
    everyone = torch.arange(7)
    own, counts = collectives.own_share(everyone), [4, 3] if rank is not None else [7]
    parts = collectives.gather_parts(own[:, None] * torch.ones(1, 2), counts)
    return {
        "share": own,
        "rows": list(collectives.own_rows(7)),
        "processes": collectives.processes(),
        "parts": [part[:, 1].tolist() for part in parts],
        "nothing": [len(part) for part in collectives.gather_parts(torch.empty(0, 3), [0] * len(counts))],
        "summed": collectives.summed(torch.stack([everyone, everyone])[:, :3] + collectives.rank()).tolist(),
        "sent": collectives.sent(torch.full((2,), collectives.rank()), collectives.processes() - 1).tolist(),
    }


def balanced(rank: int | None) -> dict[str, Any]:
    scores = own(numbers(2, ROWS, 5) * torch.tensor([1.0, 9.0, 1.0, 1.0, 20.0, 1.0]).double()[:, None], rank)
    return {"assignments": sinkhorn(scores, 3, 0.05)}


def contrasted(rank: int | None) -> dict[str, Any]:
    """The gradient that the processes get together, as their mean."""
    encoder = Means(WIDTH)
    with torch.no_grad():
        encoder.linear.weight.copy_(numbers(3, WIDTH, 3))
        encoder.linear.bias.zero_()
    method = SimCLR(encoder, SimCLRConfig(temperature=0.3, margin=0.1))
    loss = method.loss(Pairs(*method.project([own(numbers(seed, ROWS, 3, 5), rank).float() for seed in (4, 5)])))
    loss.backward()
    return {"loss": loss.detach(), "parameter": encoder.linear.weight.grad}


def stepped(make: Callable[[], Any], rank: int | None) -> dict[str, Any]:
    """Three steps with the mean of the processes' gradients; the weights and queues that they lead to."""
    torch.manual_seed(0)
    method = make()
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    progress, losses = Progress(5.0, span=20), []
    for step in range(3):
        method.before_step(progress)
        views = [own(numbers(10 * step + view, ROWS, 3, 5), rank).float() for view in range(2)]
        loss = method.loss(Pairs(*method.project(views)))
        optimiser.zero_grad()
        loss.backward()
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter.grad = collectives.total(parameter.grad) / collectives.processes()
        method.after_backward(progress)
        optimiser.step()
        method.after_step(progress)
        losses.append((collectives.total(loss.detach()) / collectives.processes()).item())
    return {"losses": torch.tensor(losses), **method.state_dict()}


def without_norms(method: Method) -> Method:
    """A batch norm looks at the rows of its own process."""
    for module in list(method.modules()):
        for name, part in module.named_children():
            if isinstance(part, nn.BatchNorm1d):
                setattr(module, name, nn.Identity())
    return method


def make_byol() -> Method:
    return without_norms(BYOL(Means(WIDTH), BYOLConfig(hidden=6, output=5, momentum=0.5, whitened_targets=True)))


def make_simsiam() -> Method:
    settings = SimSiamConfig(hidden=6, output=5, bottleneck=6, whitened_targets=True)
    return without_norms(SimSiam(Means(WIDTH), settings))


METHODS: dict[str, Callable[[], Method]] = {"byol": make_byol, "simsiam": make_simsiam}
"""With targets that are whitened over all rows."""


def everything(rank: int | None) -> dict[str, dict[str, Any]]:
    return {
        "gather": gathered(rank),
        "total": totalled(rank),
        "share": shared_out(rank),
        "sinkhorn": balanced(rank),
        "simclr": contrasted(rank),
        **{name: stepped(make, rank) for name, make in METHODS.items()},
    }


@pytest.fixture(scope="module")
def two(pool: ProcessPool) -> list[dict[str, dict[str, Any]]]:
    """What each of two processes found."""
    return pool.run(PROCESSES, everything)


@pytest.fixture(scope="module")
def one() -> dict[str, dict[str, Any]]:
    return everything(None)


def test_every_process_gathers_all_rows_in_the_order_of_their_ranks(one, two) -> None:
    for found in two:
        assert torch.equal(found["gather"]["rows"], one["gather"]["rows"])


def test_the_gradient_goes_back_to_the_process_of_each_row(one, two) -> None:
    """Every process makes the same loss of the gathered rows, so a row's gradient comes from each of them."""
    found = torch.cat([part["gather"]["gradient"] for part in two]) / PROCESSES
    assert torch.allclose(found, one["gather"]["gradient"])


def test_a_total_is_that_of_all_processes_with_its_gradient(one, two) -> None:
    for found in two:
        assert torch.allclose(found["total"]["total"], one["total"]["total"])
        assert torch.equal(found["total"]["largest"], one["total"]["largest"])
    gradient = torch.cat([part["total"]["gradient"] for part in two]) / PROCESSES
    assert torch.allclose(gradient, one["total"]["gradient"])


def test_every_row_is_the_share_of_one_process(one, two) -> None:
    assert [found["share"]["processes"] for found in two] == [2, 2] and one["share"]["processes"] == 1
    assert one["share"]["share"].tolist() == list(range(7))
    assert [found["share"]["share"].tolist() for found in two] == [[0, 2, 4, 6], [1, 3, 5]]
    assert [found["share"]["rows"] for found in two] == [[0, 2, 4, 6], [1, 3, 5]]
    assert one["share"]["rows"] == list(range(7))


def test_parts_sums_and_what_one_process_sends_are_known_to_all(one, two) -> None:
    for found in two:
        assert found["share"]["parts"] == [[0, 2, 4, 6], [1, 3, 5]] and found["share"]["nothing"] == [0, 0]
        assert found["share"]["summed"] == [[1, 3, 5]] * 2
        assert found["share"]["sent"] == [1, 1]
    assert one["share"]["parts"] == [list(range(7))] and one["share"]["nothing"] == [0]
    assert one["share"]["summed"] == [[0, 1, 2]] * 2 and one["share"]["sent"] == [0, 0]


def test_in_one_process_all_are_the_identity() -> None:
    rows = numbers(0, 3, 2)
    identities = ("gather", "total", "largest", "summed", "own_share")
    assert all(getattr(collectives, name)(rows) is rows for name in identities)
    assert collectives.sent(rows, 0) is rows and collectives.gather_parts(rows, [3])[0] is rows
    assert collectives.rank() == 0 and collectives.own_rows(3) == range(3)


def test_assignments_are_balanced_over_the_rows_of_all_processes(one, two) -> None:
    found = torch.cat([part["sinkhorn"]["assignments"] for part in two])
    assert torch.allclose(found, one["sinkhorn"]["assignments"], atol=1e-12)
    apart = torch.cat([sinkhorn(rows, 3, 0.05) for rows in numbers(2, ROWS, 5).split(SHARE)])
    assert not torch.allclose(found, apart, atol=1e-3)


def test_simclr_has_the_negatives_and_the_gradient_of_all_processes(one, two) -> None:
    for found in two:
        assert torch.allclose(found["simclr"]["loss"], one["simclr"]["loss"])
    mean = sum(found["simclr"]["parameter"] for found in two) / PROCESSES
    assert torch.allclose(mean, one["simclr"]["parameter"], atol=1e-6)
    z = [normalize(numbers(seed, ROWS, 3, 5).mean(2) @ numbers(3, WIDTH, 3).T, dim=1) for seed in (4, 5)]
    assert torch.allclose(one["simclr"]["loss"].double(), nt_xent_loss(*z, 0.3, margin=0.1), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_steps_of_two_processes_lead_to_the_state_of_one(one, two, method: str) -> None:
    """Targets are whitened over the rows of both; test_method_contract_of_processes.py has every method."""
    for found in two:
        assert found[method].keys() == one[method].keys()
        for name, tensor in one[method].items():
            assert torch.allclose(found[method][name].double(), tensor.double(), atol=1e-5), name
