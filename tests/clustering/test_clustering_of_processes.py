"""Points that lie on one, two or three processes are clustered, and their neighbours found, as those of one are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from sslsv_tk.clustering import products, shared_rows
from sslsv_tk.clustering.kmeans import Clustering, random_rows, spherical_kmeans
from sslsv_tk.clustering.neighbours import cohort_of, nearest_clusters, nearest_others
from sslsv_tk.clustering.shared_rows import SharedRows
from sslsv_tk.distributed import collectives
from sslsv_tk.sampling.clusters import ClusterConfig, Clusters
from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.references import ReferenceConfig, References


def unit_points(count: int, width: int = 8, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def around(centres: int, each: int, width: int = 16) -> torch.Tensor:
    """Points close to some directions, those of a direction not side by side."""
    return normalize(unit_points(centres, width).repeat(each, 1) + 0.05 * unit_points(centres * each, width, 1), dim=1)


def held(points_ND: torch.Tensor, owner: Callable[[int], int] = lambda row: row) -> SharedRows:
    """Rows on the processes that `owner` names, modulo their number; in one process all are its own."""
    owner_N = torch.tensor([owner(row) for row in range(len(points_ND))]) % collectives.processes()
    return SharedRows(points_ND[owner_N == collectives.rank()], owner_N)


def outcome(found: Clustering) -> dict[str, Any]:
    return {
        "centroids": found.centroids_KD,
        "assignments": found.assignments_N,
        "similarities": found.similarities_N,
        "objective": found.objective,
        "sizes": found.sizes_K,
    }


def refused(points_ND: torch.Tensor, rows: torch.Tensor) -> str:
    """The message, after which all processes still work together."""
    try:
        spherical_kmeans(held(points_ND), rows)
    except ValueError as error:
        collectives.summed(torch.ones(1))
        return str(error)
    return "none"


def spoilt(row: int, value: float) -> torch.Tensor:
    points = unit_points(20)
    points[row] = value
    return points


def clusterings() -> dict[str, Any]:
    separated, random = around(7, 9), unit_points(600, 16)
    two_points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    with_duplicates = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
    start = random_rows(600, 40, 1)
    return {
        "separated": outcome(spherical_kmeans(held(separated), torch.arange(7), 5)),
        "random": outcome(spherical_kmeans(held(random), start, 8)),
        "unequal": outcome(spherical_kmeans(held(random, lambda row: int(row > 500)), start, 8)),
        "one process has none": outcome(spherical_kmeans(held(random, lambda row: 0), start, 8)),
        "half precision": outcome(spherical_kmeans(held(separated.half()), torch.arange(7), 3)),
        "bf16 products": outcome(spherical_kmeans(held(separated), torch.arange(7), 3, products.BF16)),
        "fewer points than processes": outcome(spherical_kmeans(held(two_points), torch.tensor([1]), 2)),
        "all in one cluster": outcome(spherical_kmeans(held(random), torch.tensor([3]), 2)),
        "all equal": outcome(spherical_kmeans(held(two_points[:1].repeat(20, 1)), torch.arange(4))),
        "empty clusters": outcome(spherical_kmeans(held(with_duplicates), torch.tensor([0, 1, 2, 4]), 1)),
    }


def searches() -> dict[str, Any]:
    points, few = unit_points(90), unit_points(5)
    cohort = cohort_of(held(points), 20, chunk=11)
    return {
        "others": tuple(nearest_others(held(points), 6)),
        "unequal": tuple(nearest_others(held(points, lambda row: int(row > 60)), 6, chunk=7)),
        "one process has none": tuple(nearest_others(held(points, lambda row: 0), 6)),
        "cohort": tuple(cohort),
        "normalised": tuple(nearest_others(held(points), 6, cohort)),
        "all others": tuple(nearest_others(held(few), 4)),
        "clusters": nearest_clusters(SharedRows.dealt(points), 3),
        "no clusters": nearest_clusters(SharedRows.dealt(points), 0),
    }


def reference_state(batch: torch.Tensor) -> dict[str, Any]:
    """Whitened references of some utterances, clustered twice."""
    settings = {"reference_segments": 2, "whitening": "within_utterance"}
    segments = normalize(unit_points(50)[None] + 0.3 * torch.stack([unit_points(50, seed=s) for s in (1, 2)]), dim=2)
    facts = SamplerFacts(50, projection_dimension=1, embedding_dimension=8)
    references = References(ReferenceConfig(**settings), facts)
    clusters = Clusters(ClusterConfig(clusters=6, neighbours=2, **settings), facts)
    nobody = clusters.renew(*references.collect(), 0)
    for part in batch.split(9):
        references.observe(part, segments[:, part])
    rows, points = references.shared_points()
    numbers = [clusters.renew(rows, points, 0), clusters.renew(rows, points, 1)]
    return {
        "rows": rows,
        "points": points.gathered(points.own_OD),
        "some": points.at(torch.tensor([4, 4, 8, 0])),
        "kept": len(references.embeddings_ND),
        "numbers": [nobody, *numbers],
        "assignments": clusters.assignments_N,
        "neighbours": clusters.neighbours_KM,
        "drawn": clusters.draw(1),
    }


def everything(rank: int) -> dict[str, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        if collectives.processes() > 1:  # a process sends its points in several blocks, the last of them shorter
            patch.setattr(shared_rows, "_ROWS_SENT", 16)
        return everything_found()


def everything_found() -> dict[str, dict[str, Any]]:
    return {
        "clusterings": clusterings(),
        "searches": searches(),
        "references": reference_state(torch.randperm(50, generator=torch.Generator().manual_seed(0))[:43]),
        "references of one process": reference_state(torch.arange(0, 50, 6)),
        "errors": {
            "not finite": refused(spoilt(6, float("nan")), torch.arange(3)),
            "of another process": refused(spoilt(7, 2.0), torch.arange(3)),
            "too many clusters": refused(unit_points(4), torch.arange(5)),
        },
    }


@pytest.fixture(scope="module")
def one() -> dict[str, dict[str, Any]]:
    return everything(0)


@pytest.fixture(scope="module", params=[2, 3])
def several(request, pool) -> list[dict[str, dict[str, Any]]]:
    """What each of several processes found."""
    return pool.run(request.param, everything)


def largest_difference(mine: Any, theirs: Any) -> float:
    return float((torch.as_tensor(mine).double() - torch.as_tensor(theirs).double()).abs().max())


CLUSTERED = (
    "separated",
    "random",
    "unequal",
    "one process has none",
    "half precision",
    "bf16 products",
    "fewer points than processes",
    "all in one cluster",
    "all equal",
    "empty clusters",
)


@pytest.mark.parametrize("name", CLUSTERED)
def test_clusters_are_those_of_one_process(one, several, name):
    expected = one["clusterings"][name]
    for found in several:
        mine = found["clusterings"][name]
        assert torch.equal(mine["assignments"], expected["assignments"])
        assert torch.equal(mine["sizes"], expected["sizes"])
        assert largest_difference(mine["centroids"], expected["centroids"]) < 1e-6
        assert largest_difference(mine["similarities"], expected["similarities"]) < 1e-6
        assert abs(mine["objective"] - expected["objective"]) < 1e-6


def test_how_points_are_dealt_to_processes_was_not_the_same_and_clusters_were_many(one):
    """What the test before compares is no trivial case."""
    clusterings = one["clusterings"]
    assert torch.equal(clusterings["unequal"]["assignments"], clusterings["random"]["assignments"])
    assert (clusterings["random"]["sizes"] > 0).all() and len(clusterings["random"]["sizes"]) == 40
    assert clusterings["separated"]["assignments"].tolist() == list(range(7)) * 9
    assert clusterings["all equal"]["sizes"].tolist() == [20, 0, 0, 0]
    assert clusterings["empty clusters"]["sizes"].tolist() == [1, 3, 0, 1]


def test_all_processes_have_the_same_bits(several):
    first, *others = several
    for other in others:
        for name in CLUSTERED:
            for value in ("centroids", "assignments", "similarities"):
                assert torch.equal(first["clusterings"][name][value], other["clusterings"][name][value])
        assert torch.equal(first["references"]["neighbours"], other["references"]["neighbours"])
        assert torch.equal(first["searches"]["cohort"][1], other["searches"]["cohort"][1])


@pytest.mark.parametrize(
    "name, message",
    [
        ("not finite", "1 of 20 are not, first row 6 of length nan"),
        ("of another process", "1 of 20 are not, first row 7 of length 5.657"),
        ("too many clusters", "from 1 to 4 clusters"),
    ],
)
def test_an_error_is_raised_on_all_processes_alike_and_none_waits_for_the_others(one, several, name, message):
    assert message in one["errors"][name]
    assert [found["errors"][name] for found in several] == [one["errors"][name]] * len(several)


@pytest.mark.parametrize("name", ["others", "unequal", "one process has none", "normalised", "all others"])
def test_nearest_others_are_those_of_one_process(one, several, name):
    similarity_NK, index_NK = one["searches"][name]
    for found in several:
        assert torch.equal(found["searches"][name][1], index_NK)
        assert largest_difference(found["searches"][name][0], similarity_NK) < 1e-5


def test_cohorts_and_nearest_clusters_are_those_of_one_process(one, several):
    for found in several:
        for mine, theirs in zip(found["searches"]["cohort"], one["searches"]["cohort"], strict=True):
            assert largest_difference(mine, theirs) < 1e-6
        assert torch.equal(found["searches"]["clusters"], one["searches"]["clusters"])
        assert found["searches"]["no clusters"].shape == (90, 0)


@pytest.mark.parametrize("name, seen", [("references", 43), ("references of one process", 9)])
def test_references_are_shared_out_and_clustered_as_those_of_one_process(one, several, name, seen):
    """Of the nine all lie on the first process, whether there are two or three."""
    expected = one[name]
    kept = [len(range(rank, 50, len(several))) for rank in range(len(several))]
    assert [found[name]["kept"] for found in several] == kept
    for found in (each[name] for each in several):
        assert torch.equal(found["rows"], expected["rows"]) and len(found["rows"]) == seen
        for value in ("points", "some"):
            assert largest_difference(found[value], expected[value]) < 1e-5
        for value in ("assignments", "neighbours"):
            assert torch.equal(found[value], expected[value])
        assert all(torch.equal(*pair) for pair in zip(found["drawn"], expected["drawn"], strict=True))
        for mine, theirs in zip(found["numbers"], expected["numbers"], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-6)


def test_a_process_that_holds_all_rows_hands_out_its_own_tensors():
    """No copy of a million embeddings is made for the sake of other processes."""
    references = References(ReferenceConfig(), SamplerFacts(6, projection_dimension=1, embedding_dimension=8))
    references.observe(torch.arange(6), unit_points(6)[None])
    rows, points = references.shared_points()
    assert rows.tolist() == points.row_O.tolist() == list(range(6)) and len(points) == 6
    assert points.own_OD is references.embeddings_ND
    assert next(iter(points.blocks())).values_BD is references.embeddings_ND
    assert points.gathered(rows) is rows and points.summed(rows) is rows
    assert SharedRows.of(points) is points and SharedRows.dealt(points.own_OD).own_OD is points.own_OD
