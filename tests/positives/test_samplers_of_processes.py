"""Every sampler chooses on several processes what it chooses on one, and goes on with another number of them."""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ssps_samplers import EMBEDDING, WIDTH, projections
from torch.nn.functional import normalize

from sslsv_tk import registry
from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.shards import reshard
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts

UTTERANCES, BATCH = 45, 8  # six steps, the last one of five utterances
EPOCHS, SAVED_EPOCH, SAVED_STEP = 3, 1, 3
CLUSTERS = {"clusters": 6, "queue_size": 14}
WHITENED = {"reference_segments": 2, "whitening": "within_utterance"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "same_utterance": ("same_utterance", {}),
    "same_speaker": ("same_speaker", {}),
    "same_speaker, queue": ("same_speaker", {"source": "queue"}),
    "ssps_kmeans": ("ssps_kmeans", {**CLUSTERS, "neighbours": 2}),
    "ssps_kmeans, all members": ("ssps_kmeans", {**CLUSTERS, "candidates": "all", "neighbours": 0}),
    "ssps_kmeans, epoch": ("ssps_kmeans", {**CLUSTERS, "filling": "epoch", "reference_dtype": "float16"}),
    "ssps_kmeans, permuted": ("ssps_kmeans", {**CLUSTERS, **WHITENED, "permuted": True}),
    "ssps_kmeans, passes": ("ssps_kmeans", {**CLUSTERS, **WHITENED, "refresh": "epochs"}),
    "ssps_knn": ("ssps_knn", {"nearest": 4, "queue_size": 14}),
    "ssps_live": ("ssps_live", {"clusters": 6}),
    "ssps_live_knn": ("ssps_live_knn", {"nearest": 4}),
    "ssps_live_knn, normalised": ("ssps_live_knn", {"nearest": 3, "cohort": 9, "kept_share": 0.6, "mutual": False}),
    "ssps_live_knn, whitened": ("ssps_live_knn", {"nearest": 4, **WHITENED, "reference_dtype": "float16"}),
    "ssps_live_recordings": ("ssps_live_recordings", {"nearest": 2, "mutual": False, "refresh": "epochs"}),
    "ssps_live_recordings, normalised": ("ssps_live_recordings", {"nearest": 3, "cohort": 5}),
}


def made(kind: str) -> PositiveSampler:
    name, settings = KINDS[kind]
    found = registry.find("sslsv_tk.positives", name, PositiveSampler)
    everyone = np.arange(UTTERANCES)
    known = {
        "speakers": (everyone % 5).astype(np.int32) if found.needs_labels else None,
        "recordings": (everyone % 10).astype(np.int32) if found.needs_labels or found.needs_recordings else None,
    }
    facts = SamplerFacts(UTTERANCES, projection_dimension=WIDTH, embedding_dimension=EMBEDDING, slots=1, **known)
    return found(found.Config(**settings), facts)


def references(sampler: PositiveSampler, utterance_B: torch.Tensor, epoch: int) -> torch.Tensor:
    """(R, B, D): others in every epoch; of one speaker they are near each other."""
    generator = torch.Generator().manual_seed(epoch)
    speaker_ND = torch.eye(5, EMBEDDING)[torch.arange(UTTERANCES) % 5]
    noise = torch.randn(sampler.reference_segments, UTTERANCES, EMBEDDING, generator=generator)
    return normalize(speaker_ND + 0.5 * noise, dim=2)[:, utterance_B]


def batches(epoch: int) -> list[torch.Tensor]:
    return list(torch.randperm(UTTERANCES, generator=torch.Generator().manual_seed(100 + epoch)).split(BATCH))


def show_everyone(sampler: PositiveSampler, epoch: int) -> None:
    wanted = sampler.pass_before(epoch)
    if wanted == "nothing":
        return
    for utterance_B in batches(epoch + 50):
        rows = projections(utterance_B) if wanted == "everything" else None
        sampler.observe(rows, utterance_B, references(sampler, utterance_B, epoch))
    sampler.end_pass(epoch)


def step(sampler: PositiveSampler, utterance_B: torch.Tensor, epoch: int) -> dict[str, torch.Tensor]:
    """A step of the loop: this process has its share of the batch, and all observe the whole of it."""
    in_step = sampler.reference_segments and sampler.reference_in_steps
    reference_RBD = references(sampler, utterance_B, 10 + epoch) if in_step else None
    positives = projections(utterance_B) + 0.1 * epoch
    own = torch.arange(len(utterance_B)).tensor_split(collectives.processes())[collectives.rank()]
    own_reference = None if reference_RBD is None else reference_RBD[:, own]
    replaced, chosen = sampler.replace(positives[:, own], utterance_B[own], own_reference)
    sampler.observe(positives, utterance_B, reference_RBD)
    cluster = sampler.cluster_of(chosen)
    return {"replaced": replaced[0], "chosen": chosen, "cluster": chosen * 0 if cluster is None else cluster}


def begin(sampler: PositiveSampler, epoch: int) -> dict[str, Any]:
    show_everyone(sampler, epoch)
    numbers = sampler.start_epoch(epoch)
    return {"numbers": numbers, "partners": told(sampler)}


def told(sampler: PositiveSampler) -> list[int] | None:
    partners = sampler.partners()
    return None if partners is None else partners.tolist()


def whole_run(kind: str) -> dict[str, Any]:
    """All epochs; the state in the middle of one."""
    sampler, begun, steps, saved = made(kind), [], [], {}
    for epoch in range(EPOCHS):
        begun.append(begin(sampler, epoch))
        for number, utterance_B in enumerate(batches(epoch)):
            if (epoch, number) == (SAVED_EPOCH, SAVED_STEP):
                saved = copy.deepcopy(sampler.state_dict())
            steps.append(step(sampler, utterance_B, epoch))
    return {"begun": begun, "steps": steps, "saved": saved}


def rest_of_run(kind: str, states: list[dict[str, Any]]) -> dict[str, Any]:
    """From the saved states of all processes of a run on."""
    sampler = made(kind)
    sampler.load_state_dict(reshard(states, sampler.shard_names, collectives.rank(), collectives.processes()))
    steps = [step(sampler, part, SAVED_EPOCH) for part in batches(SAVED_EPOCH)[SAVED_STEP:]]
    partners = told(sampler)
    begun = begin(sampler, SAVED_EPOCH + 1)
    steps += [step(sampler, part, SAVED_EPOCH + 1) for part in batches(SAVED_EPOCH + 1)]
    return {"partners": partners, "begun": [begun], "steps": steps}


def whole_runs(rank: int) -> dict[str, Any]:
    return {kind: whole_run(kind) for kind in KINDS}


def rests(folders: list[Path], rank: int) -> list[dict[str, Any]]:
    """What follows from the files of runs with other numbers of processes."""
    found = []
    for folder in folders:
        files = [torch.load(file, weights_only=True, mmap=True) for file in sorted(folder.glob("*.pt"))]
        found.append({kind: rest_of_run(kind, [file[kind]["saved"] for file in files]) for kind in KINDS})
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Where runs of one and of two processes left what they found."""
    return [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")]


@pytest.fixture(scope="module")
def one(folders) -> dict[str, Any]:
    found = whole_runs(0)
    torch.save(found, folders[0] / "0.pt")
    return found


@pytest.fixture(scope="module")
def two(folders, pool) -> list[dict[str, Any]]:
    found = pool.run(2, whole_runs)
    for rank, runs in enumerate(found):
        torch.save(runs, folders[1] / f"{rank}.pt")
    return found


@pytest.fixture(scope="module", params=[1, 2, 3])
def going_on(request, one, two, folders, pool) -> list[list[dict[str, Any]]]:
    """By process, by run that is gone on with: what one, two and three processes find from the saved states on."""
    if request.param == 1:
        return [rests(folders, 0)]
    return pool.run(request.param, functools.partial(rests, folders))


def check_same(expected: dict[str, Any], found: list[dict[str, Any]], first_step: int = 0) -> None:
    """Are the choices of one process those of several, whose shares of a batch are put together?"""
    for mine in found:
        for ours, theirs in zip(mine["begun"], expected["begun"][-len(mine["begun"]) :], strict=True):
            assert ours["partners"] == theirs["partners"]
            assert ours["numbers"] == pytest.approx(theirs["numbers"], abs=1e-6)
    for number, theirs in enumerate(expected["steps"][first_step:]):
        for name in ("chosen", "cluster", "replaced"):
            together = torch.cat([mine["steps"][number][name] for mine in found])
            torch.testing.assert_close(together, theirs[name], rtol=0, atol=1e-6 if name == "replaced" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_choose_what_one_chooses(one, two, kind):
    check_same(one[kind], [found[kind] for found in two])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_gone_on_with_by_another_number_of_processes(one, going_on, kind):
    """From the states of one process, and of two."""
    first_step = SAVED_EPOCH * len(batches(0)) + SAVED_STEP
    for run in range(2):
        found = [process[run][kind] for process in going_on]
        check_same(one[kind], found, first_step)
        assert all(mine["partners"] == one[kind]["begun"][SAVED_EPOCH]["partners"] for mine in found)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "same_utterance"])
def test_positives_are_other_utterances_after_the_first_epoch(one, kind):
    """What the tests before compare is no trivial case."""
    chosen = torch.cat([step["chosen"] for step in one[kind]["steps"][len(batches(0)) :]])
    own = torch.cat([part for epoch in range(1, EPOCHS) for part in batches(epoch)])
    assert (chosen != own).double().mean() > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_process_saves_what_one_alone_saves_and_the_second_only_its_share_of_the_references(one, two, kind):
    alone, (first, second) = one[kind]["saved"], [found[kind]["saved"] for found in two]
    assert first.keys() == alone.keys()
    shards = {"references.embeddings_ND", "references.scatter_DD"} & alone.keys()
    assert second.keys() == shards
    for name, value in alone.items():
        if name == "references.embeddings_ND":
            assert torch.equal(first[name], value[0::2]) and torch.equal(second[name], value[1::2])
        elif name == "references.scatter_DD":
            torch.testing.assert_close(first[name] + second[name], value)
        elif name == "references.centroids_KD":
            torch.testing.assert_close(first[name], value)
        else:
            assert torch.equal(torch.as_tensor(first[name]), torch.as_tensor(value)), name
