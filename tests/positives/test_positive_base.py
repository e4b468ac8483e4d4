"""What every sampler asks of the loop before an epoch, and parts that several share."""

import dataclasses

import numpy as np
import pytest
import torch
from ssps_samplers import facts, projections, read_back, references

from sslsv_tk import registry
from sslsv_tk.positives.base import PositiveSampler, put_rows

SETTINGS = {"ssps_kmeans": {"clusters": 3}, "ssps_live": {"clusters": 3}, "ssps_knn": {"nearest": 3}}


def made(name: str, **settings) -> PositiveSampler:
    kind = registry.find("sslsv_tk.positives", name, PositiveSampler)
    codes = (np.arange(12) // 6).astype(np.int32)
    told = dataclasses.replace(
        facts(12), speakers=codes if kind.needs_labels else None, recordings=codes if kind.needs_recordings else None
    )
    return kind(kind.Config(**SETTINGS.get(name, {}), **settings), told)


def follow(sampler: PositiveSampler, epochs: int) -> list[str]:
    """Do as the loop does; what was asked before each epoch. In between, every state is read back."""
    asked = []
    for epoch in range(3, 3 + epochs):
        wanted = sampler.pass_before(epoch)
        asked.append(wanted)
        if wanted != "nothing":
            for part in torch.arange(12).split(5):
                rows = projections(part) if wanted == "everything" else None
                sampler = read_back(sampler)
                sampler.observe(rows, part, references(len(part), epoch, max(1, sampler.reference_segments)))
                assert sampler.pass_before(epoch) == wanted
            sampler.end_pass(epoch)
            sampler = read_back(sampler)
            assert sampler.pass_before(epoch) == "nothing"
        sampler.start_epoch(epoch)
        for part in torch.arange(10).split(5):  # the last short batch is left out
            reference_RBD = references(5, epoch, max(1, sampler.reference_segments))
            needed = reference_RBD if sampler.reference_segments and sampler.reference_in_steps else None
            sampler.replace(projections(part), part, needed)
            sampler.observe(projections(part), part, needed)
            sampler = read_back(sampler)
        assert sampler.pass_before(epoch) == "nothing", "no epoch that was started asks for a pass again"
    return asked


EVERYTHING, REFERENCES = ["everything", "nothing", "nothing"], ["references", "nothing", "nothing"]


@pytest.mark.parametrize(
    "name, settings, asked",
    [
        ("same_utterance", {}, ["nothing"] * 3),
        ("same_speaker", {}, ["nothing"] * 3),
        ("same_speaker", {"source": "queue"}, EVERYTHING),
        ("ssps_kmeans", {}, EVERYTHING),
        ("ssps_kmeans", {"filling": "epoch"}, ["nothing"] * 3),
        ("ssps_kmeans", {"refresh": "epochs"}, ["everything", "references", "references"]),
        ("ssps_kmeans", {"refresh": "epochs", "filling": "epoch"}, ["nothing", "references", "references"]),
        ("ssps_live", {}, REFERENCES),
        ("ssps_live", {"filling": "epoch"}, ["nothing"] * 3),
        ("ssps_live", {"refresh": "epochs"}, ["references"] * 3),
        ("ssps_live", {"refresh": "epochs", "filling": "epoch"}, ["nothing", "references", "references"]),
        ("ssps_knn", {}, EVERYTHING),
        ("ssps_knn", {"queue_size": 4}, EVERYTHING),
        ("ssps_knn", {"filling": "epoch"}, ["nothing"] * 3),
        ("ssps_live_knn", {}, REFERENCES),
        ("ssps_live_knn", {"filling": "epoch"}, ["nothing"] * 3),
        ("ssps_live_knn", {"refresh": "epochs", "reference_segments": 2}, ["references"] * 3),
        ("ssps_live_knn", {"refresh": "epochs", "filling": "epoch"}, ["nothing", "references", "references"]),
        ("ssps_live_recordings", {}, REFERENCES),
        ("ssps_live_recordings", {"refresh": "epochs"}, ["references"] * 3),
    ],
)
def test_what_is_asked_before_each_of_three_epochs(name, settings, asked):
    assert follow(made(name, **settings), 3) == asked


def test_an_oracle_that_knows_no_recordings_says_what_that_means(caplog):
    codes = np.arange(12, dtype=np.int32) // 6
    kind = registry.find("sslsv_tk.positives", "same_speaker", PositiveSampler)
    for recordings in (codes, None):
        kind(kind.Config(), dataclasses.replace(facts(12), speakers=codes, recordings=recordings))
    assert caplog.messages == [
        "same_speaker: the training set has no utt2rec, so positives may be of the same recording"
    ]


@pytest.mark.parametrize("name", ["ssps_kmeans", "ssps_live", "ssps_live_knn", "ssps_live_recordings"])
def test_an_epoch_that_is_the_filling_keeps_all_positives_and_the_next_one_replaces(name):
    sampler, everyone = made(name, filling="epoch"), torch.arange(12)
    assert sampler.start_epoch(0) == {"seen_share": 0.0}
    replaced, chosen = sampler.replace(projections(everyone), everyone)
    assert torch.equal(chosen, everyone) and torch.equal(replaced, projections(everyone))
    sampler.observe(projections(everyone), everyone, references(12))
    assert sampler.start_epoch(1)["seen_share"] == 1.0
    assert (sampler.replace(projections(everyone), everyone)[1] != everyone).any()


@pytest.mark.parametrize("name", ["ssps_kmeans", "ssps_live", "ssps_live_knn", "ssps_live_recordings"])
def test_references_that_come_in_passes_are_not_asked_for_in_steps(name):
    sampler, everyone = made(name, refresh="epochs"), torch.arange(12)
    assert not sampler.reference_in_steps and made(name).reference_in_steps
    sampler.observe(projections(everyone), everyone, references(12))
    before = sampler.references.embeddings_ND.clone()
    sampler.start_epoch(0)
    sampler.observe(projections(everyone), everyone)
    assert torch.equal(sampler.references.embeddings_ND, before)


def test_rows_are_put_in_the_place_of_those_to_replace_as_constants():
    positives = torch.zeros(2, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    rows_BSP = torch.arange(24.0).view(3, 2, 4)
    put = put_rows(positives, rows_BSP, torch.tensor([True, False, True]))
    assert put.dtype == torch.bfloat16
    assert torch.equal(put[:, 0], rows_BSP[0].bfloat16()) and torch.equal(put[:, 2], rows_BSP[2].bfloat16())
    put.sum().backward()
    assert positives.grad.sum(-1).tolist() == [[0, 4, 0], [0, 4, 0]]
