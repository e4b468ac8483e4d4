"""False negatives in training: the sampler's clusters reach the loss, on one process or two, in stage 5."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from clustered_rows import make_moco, make_simclr
from process_pool import ProcessPool
from small_corpus import SSPS, SYSTEM, pack_all
from torch import Tensor
from two_processes import PROCESSES, numbers

from sslsv_tk.bin import train
from sslsv_tk.distributed import collectives
from sslsv_tk.methods.base import Pairs
from sslsv_tk.methods.moco import MoCo
from sslsv_tk.methods.simclr import SimCLR
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.schedules import Progress
from sslsv_tk.training.step import TrainingStep

ROWS, SPAN = 6, 20


# -- two processes -------------------------------------------------------------------------------------------------


def own(rows: Tensor, rank: int | None, dimension: int) -> Tensor:
    """The rows of a process; all of them where there is but one."""
    share = ROWS // PROCESSES
    return rows if rank is None else rows.narrow(dimension, rank * share, share)


MAKERS: dict[str, Callable[[], SimCLR | MoCo]] = {"simclr": make_simclr, "moco": make_moco}


def steps(make: Callable[[], SimCLR | MoCo], rank: int | None) -> dict[str, Tensor]:
    """Five steps over the begin of an epoch with the mean of the processes' gradients, and what they lead to."""
    method, means = make(), []
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.5)
    for step in range(5):
        progress = Progress(0.7 + 0.15 * step, SPAN)
        method.before_step(progress)
        views = [own(numbers(10 * step + view, ROWS, 3, 5), rank, 0).float() for view in range(2)]
        clusters_2B = torch.randint(-1, 3, (2, ROWS), generator=torch.Generator().manual_seed(step))
        loss = method.loss(Pairs(*method.project(views), clusters_2B=own(clusters_2B, rank, 1)))
        optimiser.zero_grad()
        loss.backward()
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter.grad = collectives.total(parameter.grad) / collectives.processes()
        optimiser.step()
        method.after_step(progress)
        measured = torch.stack([loss.detach(), method.measures()["masked_share"]])
        means.append(collectives.total(measured) / collectives.processes())
    return {"means": torch.stack(means), **method.state_dict()}


def everything(rank: int) -> dict[str, dict[str, Tensor]]:
    """What each of the two processes does."""
    gathered = collectives.gather(torch.arange(3) + 2**40 * rank)
    return {"gathered": {"numbers": gathered}, **{name: steps(make, rank) for name, make in MAKERS.items()}}


@pytest.fixture(scope="module")
def two(pool: ProcessPool) -> list[dict[str, dict[str, Tensor]]]:
    """What each of two processes found."""
    return pool.run(PROCESSES, everything)


@pytest.mark.parametrize("name", MAKERS)
def test_two_processes_lead_to_the_state_of_one(two: list[dict[str, dict[str, Tensor]]], name: str) -> None:
    one = steps(MAKERS[name], None)
    assert one["means"][:, 1].max() > 0.2, "negatives were left out"
    for found in two:
        assert found[name].keys() == one.keys()
        for entry, tensor in one.items():
            assert torch.allclose(found[name][entry].double(), tensor.double(), atol=1e-5), entry


def test_whole_numbers_are_gathered_exactly(two: list[dict[str, dict[str, Tensor]]]) -> None:
    for found in two:
        numbers_B = found["gathered"]["numbers"]
        assert numbers_B.dtype == torch.int64 and numbers_B.tolist() == [0, 1, 2, 2**40, 2**40 + 1, 2**40 + 2]


# -- from the sampler to the loss ----------------------------------------------------------------------------------


class Shifted(PositiveSampler):
    """The positive of an utterance is the next but one's; clusters are tens."""

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return positives_SBP, utterance_B + 2

    def cluster_of(self, utterance_B: Tensor) -> Tensor:
        return torch.where(utterance_B < 40, utterance_B // 10, -1)


def test_the_training_step_hands_over_the_clusters_of_anchors_and_of_what_was_chosen() -> None:
    method = make_simclr()
    views, utterance_B = [numbers(view, 5, 3, 9).float() for view in range(2)], torch.tensor([7, 8, 19, 39, 3])
    loss, chosen_B = TrainingStep(method, Shifted(None, SamplerFacts(50)))(views, utterance_B, None)
    assert chosen_B.tolist() == [9, 10, 21, 41, 5]
    clusters_2B = torch.tensor([[0, 0, 1, 3, 0], [0, 1, 2, -1, 0]])
    expected = method.loss(Pairs(*method.project(views), clusters_2B=clusters_2B))
    assert torch.equal(loss, expected) and not torch.equal(loss, method.loss(Pairs(*method.project(views))))


@pytest.mark.parametrize("method", [{"name": "simclr"}, {"name": "moco", "queue_size": 7}])
def test_stage_5_with_the_mask_goes_on_from_a_stage_4_without(tmp_path: Path, method: dict[str, Any]) -> None:
    inputs = pack_all(tmp_path / "inputs")
    plain = {**SYSTEM, "method": {**method, "segment_seconds": 0.4}}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(plain))
    (tmp_path / "masked.yaml").write_text(yaml.safe_dump({"method": {"mask_same_cluster": True}, "positives": SSPS}))
    words = ["--config", str(tmp_path / "plain.yaml"), "--train-set", str(inputs / "train"), "--device", "cpu"]
    words += ["--augmentation", str(inputs)]
    train.main([*words, "--out", str(tmp_path / "base")])
    words += ["--positives", str(tmp_path / "masked.yaml"), "--continue-from", str(tmp_path / "base")]
    train.main([*words, "--out", str(tmp_path / "masked")])
    lines = [json.loads(line) for line in (tmp_path / "masked" / "metrics.jsonl").read_text().splitlines()]
    shares = [line["masked_share"] for line in lines if line["kind"] == "epoch"]
    assert len(shares) == 2 and all(0 < share < 1 for share in shares)
