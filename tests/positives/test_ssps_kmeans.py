"""SSPS draws against loops over the batch, and what becomes of rows, queue and gradient."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from ssps_samplers import EMBEDDING, WIDTH, facts, filled, projections, references, restart
from torch.nn.functional import normalize

from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig


def slow_candidates(sampler: SSPSKMeans, anchor: int, queued: set[int]) -> list[list[int]]:
    """For each cluster that eq. (3) to (5) may draw, the queued members besides the anchor."""
    cluster_N = sampler.cluster_of(torch.arange(sampler.facts.utterances)).tolist()
    own, centroids = cluster_N[anchor], sampler.clusters.centroids_KD
    others = sorted((j for j in range(len(centroids)) if j != own), key=lambda j: -float(centroids[own] @ centroids[j]))
    clusters = others[: sampler.config.neighbours] if sampler.config.neighbours else [own]
    return [[u for u, k in enumerate(cluster_N) if k == c and u in queued and u != anchor] for c in clusters]


@pytest.mark.parametrize("neighbours", [0, 1, 3])
@pytest.mark.parametrize("queue_size", [40, 13])
def test_every_draw_is_a_queued_member_of_an_allowed_cluster_and_none_is_missed(neighbours, queue_size):
    sampler = filled(clusters=6, neighbours=neighbours, queue_size=queue_size)
    queued = set(range(40 - queue_size, 40))
    utterances = torch.arange(40)
    seen: dict[int, set[int]] = {}
    for epoch in range(25):
        sampler.start_epoch(epoch)
        _, chosen = sampler.replace(projections(utterances), utterances)
        for anchor, drawn in enumerate(chosen.tolist()):
            allowed = slow_candidates(sampler, anchor, queued)
            if drawn == anchor:
                assert any(not members for members in allowed)
            else:
                assert any(drawn in members for members in allowed)
            if all(allowed):
                assert drawn != anchor
                seen.setdefault(anchor, set()).add(drawn)
    assert np.mean([len(drawn) for drawn in seen.values()]) > 4


@pytest.mark.parametrize("neighbours", [0, 1, 3])
@pytest.mark.parametrize("queue_size", [60, 30])
def test_clusters_and_members_are_drawn_uniformly(neighbours, queue_size):
    sampler = filled(60, clusters=5, neighbours=neighbours, queue_size=queue_size, iterations=2)
    queued, utterances = set(range(60 - queue_size, 60)), torch.arange(60)
    cluster_counts, half_counts = np.zeros(max(1, neighbours)), np.zeros(2)
    for epoch in range(60):
        sampler.start_epoch(epoch)
        _, chosen = sampler.replace(projections(utterances), utterances)
        for anchor, drawn in enumerate(chosen.tolist()):
            allowed = slow_candidates(sampler, anchor, queued)
            which = [i for i, members in enumerate(allowed) if drawn in members]
            if not all(allowed) or not which:
                continue
            cluster_counts[which[0]] += 1
            members = allowed[which[0]]
            rank = members.index(drawn)
            if 2 * rank + 1 != len(members):  # the middle one of an odd number belongs to neither half
                half_counts[int(2 * rank + 1 > len(members))] += 1
    assert half_counts.sum() > 1000
    assert chisquare(half_counts).pvalue > 1e-3
    assert neighbours < 2 or chisquare(cluster_counts).pvalue > 1e-3


def test_a_drawn_cluster_with_nobody_queued_leaves_the_own_positive():
    sampler = filled(6, clusters=2, neighbours=1, queue_size=3)
    sampler.start_epoch(0)
    sampler.clusters.assignments_N[:] = torch.tensor([0, 0, 0, 1, 1, 1])  # queued are 3, 4 and 5
    restart(sampler)
    utterances = torch.arange(6)
    replaced, chosen = sampler.replace(projections(utterances), utterances)
    assert chosen[3:].tolist() == [3, 4, 5]
    assert set(chosen[:3].tolist()) <= {3, 4, 5}
    torch.testing.assert_close(replaced[0, :, 0], chosen.float())


def test_with_the_strict_fallback_a_drawn_member_outside_the_queue_keeps_the_own_positive():
    utterances, kept, drawn = torch.arange(40), 0, set()
    sampler = filled(clusters=4, neighbours=1, queue_size=10, candidates="all")
    for epoch in range(20):
        sampler.start_epoch(epoch)
        _, chosen = sampler.replace(projections(utterances), utterances)
        kept += int((chosen == utterances).sum())
        drawn |= set(chosen[chosen != utterances].tolist())
    assert 0.6 < kept / 800 < 0.9  # three of four members are not queued
    assert drawn == set(range(30, 40))


def test_the_queue_moves_with_every_batch_and_draws_follow():
    sampler = filled(12, clusters=1, neighbours=0, queue_size=4)
    sampler.start_epoch(0)
    queue = [8, 9, 10, 11]
    for batch in ([0, 1, 2], [3], [1, 5, 6, 7, 2, 4], [4, 4, 9], [10, 4, 10]):
        utterances = torch.tensor(batch)
        _, chosen = sampler.replace(projections(utterances), utterances)
        for anchor, drawn in zip(batch, chosen.tolist(), strict=True):
            assert drawn in set(queue) - {anchor}
        sampler.observe(projections(utterances), utterances, references(len(batch), seed=len(batch)))
        queue = (queue + batch)[-4:]
    utterances = torch.arange(12)
    drawn = set()
    for seed in range(40):
        other = SSPSKMeans(sampler.config, facts(12, seed))
        other.load_state_dict(copy.deepcopy(sampler.state_dict()))
        drawn |= set(other.replace(projections(utterances), utterances)[1].tolist())
    assert drawn == set(queue)


def test_an_utterance_whose_projection_is_renewed_gives_the_newest_one():
    sampler = filled(5, clusters=1, neighbours=0, queue_size=5)
    sampler.start_epoch(0)
    sampler.observe(torch.full((1, 2, WIDTH), 50.0), torch.tensor([2, 3]), references(2))
    utterances = torch.arange(5)
    replaced, chosen = sampler.replace(projections(utterances), utterances)
    expected = [50.0 if drawn in (2, 3) else float(drawn) for drawn in chosen.tolist()]
    assert replaced[0, :, 0].tolist() == expected


def test_rows_that_are_kept_have_a_gradient():
    sampler = filled(6, clusters=6, neighbours=0)  # every utterance is alone in its cluster
    sampler.start_epoch(0)
    utterances = torch.arange(6)
    positives = projections(utterances).requires_grad_()
    replaced, chosen = sampler.replace(positives, utterances)
    assert torch.equal(chosen, utterances)
    replaced.sum().backward()
    assert torch.equal(positives.grad, torch.ones_like(positives))


def test_what_is_queued_is_constant_and_replacing_keeps_the_precision_of_the_batch():
    sampler = filled(8, clusters=1, neighbours=0)
    sampler.start_epoch(0)
    utterances = torch.arange(8)
    positives = projections(utterances).bfloat16().requires_grad_()
    replaced, _ = sampler.replace(positives, utterances)
    assert replaced.dtype == torch.bfloat16
    sampler.observe(positives, utterances, references(8))
    assert not sampler.queue.rows.requires_grad


def test_draws_depend_on_seed_and_epoch():
    outcomes, utterances = set(), torch.arange(40)
    for seed, epoch in [(0, 3), (0, 4), (1, 3)]:
        other = filled(clusters=5, neighbours=2, queue_size=40, seed=seed)
        other.start_epoch(epoch)
        outcomes.add(tuple(other.replace(projections(utterances), utterances)[1].tolist()))
    assert len(outcomes) == 3


def test_utterances_never_seen_keep_their_own_and_are_never_chosen_until_the_next_epoch():
    sampler = SSPSKMeans(SSPSKMeansConfig(clusters=3, neighbours=1, queue_size=20), facts(20))
    seen = torch.arange(0, 20, 2)
    sampler.observe(projections(seen), seen, references(10))
    assert sampler.start_epoch(0)["seen_share"] == 0.5
    everyone = torch.arange(20)
    unseen = everyone[1::2]
    assert sampler.cluster_of(unseen).tolist() == [-1] * 10
    sampler.observe(projections(unseen), unseen, references(10, seed=1))
    _, chosen = sampler.replace(projections(everyone), everyone)
    assert torch.equal(chosen[unseen], unseen)
    assert set(chosen[seen].tolist()) <= set(seen.tolist())
    assert (chosen[seen] != seen).any()
    assert sampler.start_epoch(1)["seen_share"] == 1.0
    assert (sampler.cluster_of(everyone) >= 0).all()


def test_centroids_replace_positives_without_a_queue_entry():
    settings = SSPSKMeansConfig(clusters=3, neighbours=1, positive="centroid")
    sampler = SSPSKMeans(settings, facts(30, projection=EMBEDDING))
    everyone = torch.arange(30)
    assert sampler.pass_before(0) == "references" and not sampler.keeps_projections
    sampler.observe(None, everyone, references(30))
    sampler.start_epoch(0)
    replaced, chosen = sampler.replace(torch.zeros(1, 30, EMBEDDING), everyone)
    cluster_of_chosen = sampler.cluster_of(chosen)
    assert (cluster_of_chosen != sampler.cluster_of(everyone)).all()
    torch.testing.assert_close(replaced[0], sampler.clusters.centroids_KD[cluster_of_chosen])


def test_centroids_are_refused_for_a_method_with_a_projector():
    with pytest.raises(ValueError, match=r"centroid is an embedding of 4 values.*projections of 3.*positive: member"):
        SSPSKMeans(SSPSKMeansConfig(clusters=2, positive="centroid"), facts(5))
    as_wide = dataclasses.replace(facts(5, projection=EMBEDDING), projections_are_embeddings=False)
    with pytest.raises(ValueError, match=r"projections of 4 by a projector"):
        SSPSKMeans(SSPSKMeansConfig(clusters=2, positive="centroid"), as_wide)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"whitening": "within_utterance", "reference_segments": 2}, "are no embeddings that a loss could compare"),
        ({"queue_size": 9}, "a centroid comes from no queue"),
        ({"candidates": "all"}, "a centroid comes from no queue"),
    ],
)
def test_settings_that_do_not_go_with_centroids_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SSPSKMeansConfig(clusters=3, positive="centroid", **settings)
    SSPSKMeansConfig(clusters=3, **settings)


def test_permuted_choices_replace_as_many_with_no_regard_to_clusters():
    groups = torch.arange(60) % 3
    utterances, shares, coverage = torch.arange(60), {}, {}
    for permuted in (False, True):
        settings = SSPSKMeansConfig(clusters=3, neighbours=0, queue_size=60, permuted=permuted)
        sampler = SSPSKMeans(settings, facts(60))
        tight = normalize(torch.eye(3, EMBEDDING)[groups] + 0.01 * references(60), dim=2)
        sampler.observe(projections(utterances), utterances, tight)
        sampler.start_epoch(0)
        sampler.clusters.assignments_N[:] = groups.int()
        same = []
        for epoch in range(20):
            sampler.prepare(epoch)
            _, chosen = sampler.replace(projections(utterances), utterances)
            same.append((groups[chosen] == groups).float())
            coverage.setdefault(permuted, []).append((chosen != utterances).float().mean().item())
        shares[permuted] = torch.stack(same).mean().item()
    assert shares[False] == 1.0
    assert 0.25 < shares[True] < 0.42
    assert coverage[True] == coverage[False] == [1.0] * 20


def test_start_epoch_tells_what_the_clusters_are_like():
    sampler = SSPSKMeans(SSPSKMeansConfig(clusters=4, neighbours=1), facts(10))
    everyone = torch.arange(10)
    sampler.observe(projections(everyone), everyone, references(1).repeat(1, 10, 1))
    numbers = sampler.start_epoch(0)
    assert numbers == {
        "kmeans_objective": pytest.approx(1.0),
        "empty_clusters": 3.0,
        "largest_cluster": 10.0,
        "median_cluster": 10.0,
        "alone_share": 0.0,
        "seen_share": 1.0,
    }
    _, chosen = sampler.replace(projections(everyone), everyone)
    assert torch.equal(chosen, everyone)  # the neighbours of the one full cluster are empty


def test_clusters_are_those_of_k_means_over_the_references_in_either_precision():
    groups = torch.arange(30) % 3
    for kind in ("float32", "float16"):
        settings = SSPSKMeansConfig(clusters=3, neighbours=0, reference_dtype=kind, iterations=10)
        for seed in range(20):  # until the three initial rows lie in three groups
            sampler = SSPSKMeans(settings, facts(30, seed))
            everyone = torch.arange(30)
            tight = normalize(torch.eye(3, EMBEDDING)[groups] + 0.01 * references(30), dim=2)
            sampler.observe(projections(everyone), everyone, tight)
            if sampler.start_epoch(0)["largest_cluster"] == 10:
                break
        cluster = sampler.cluster_of(everyone)
        assert torch.equal(cluster[:, None] == cluster[None, :], groups[:, None] == groups[None, :])
        assert sampler.references.embeddings_ND.dtype == getattr(torch, kind)


def test_a_batch_larger_than_the_queue_leaves_its_last_rows_inside():
    sampler = filled(40, clusters=1, neighbours=0, queue_size=6)
    sampler.start_epoch(0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    sampler.observe(projections(order), order, references(40))
    _, chosen = sampler.replace(projections(order), order)
    assert set(chosen.tolist()) <= set(order[-6:].tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_chooses_as_the_cpu_does():
    cpu = filled(clusters=5, queue_size=20)
    cpu.start_epoch(0)
    there = SamplerFacts(40, 0, torch.device("cuda"), WIDTH, EMBEDDING)
    gpu = SSPSKMeans(cpu.config, there)
    gpu.load_state_dict(cpu.state_dict())
    for part in torch.randperm(40, generator=torch.Generator().manual_seed(1)).split(7):
        mine = cpu.replace(projections(part), part)
        theirs = gpu.replace(projections(part).cuda(), part.cuda())
        assert all(torch.equal(a, b.cpu()) for a, b in zip(mine, theirs, strict=True))
        cpu.observe(projections(part), part, references(len(part)))
        gpu.observe(projections(part).cuda(), part.cuda(), references(len(part)).cuda())
    assert gpu.start_epoch(1) == pytest.approx(cpu.start_epoch(1), rel=1e-4)
