"""Draws of an epoch against lists of the members."""

import torch

from sslsv_tk.sampling.clusters import ClusterConfig, Clusters
from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.member_draws import MemberDraws

GROUPS = torch.arange(60) % 3
EVERYONE = torch.arange(60)


def grouped(seed: int = 0, **settings) -> Clusters:
    """Three clusters of twenty, none of which any reference has made."""
    config = ClusterConfig(clusters=3, **{"neighbours": 0, **settings})
    clusters = Clusters(config, SamplerFacts(60, seed, projection_dimension=1, embedding_dimension=4))
    clusters.assignments_N[:] = GROUPS
    return clusters


def test_everyone_draws_another_member_of_the_own_cluster_and_in_time_all_of_them():
    drawn = [set() for _ in range(60)]
    for epoch in range(300):
        for own, other in enumerate(MemberDraws(grouped(), epoch).of(EVERYONE).tolist()):
            drawn[own].add(other)
    assert drawn == [{u for u in range(60) if u % 3 == own % 3 and u != own} for own in range(60)]


def test_with_neighbours_the_cluster_is_one_of_those():
    clusters = grouped(neighbours=1)
    clusters.neighbours_KM[:, 0] = torch.tensor([1, 2, 0])
    assert torch.equal(GROUPS[MemberDraws(clusters, 0).of(EVERYONE)], (GROUPS + 1) % 3)


def test_those_of_no_cluster_and_those_alone_draw_nobody_and_are_drawn_by_nobody():
    clusters = grouped()
    clusters.assignments_N[:] = torch.where(EVERYONE < 50, 0, -1)
    clusters.assignments_N[7] = 2
    for epoch in range(20):
        drawn = MemberDraws(clusters, epoch).of(EVERYONE)
        assert (drawn[50:] == -1).all() and drawn[7] == -1
        assert (drawn < 50).all() and (drawn != 7).all()


def test_marked_members_alone_are_drawn_and_marks_are_kept_up_to_date():
    draws = MemberDraws(grouped(), 4, EVERYONE < 10)
    drawn = draws.of_marked(EVERYONE, EVERYONE < 10)
    assert (drawn < 10).all() and torch.equal(GROUPS[drawn], GROUPS) and (drawn != EVERYONE).all()
    draws.mark(torch.arange(10), torch.full((10,), -1, dtype=torch.int32))
    assert (draws.of_marked(EVERYONE, EVERYONE < 0) == -1).all()
    draws.mark(torch.tensor([41]), torch.tensor([1], dtype=torch.int32))
    assert draws.of_marked(EVERYONE, EVERYONE == 41).tolist() == [
        41 if u % 3 == 2 and u != 41 else -1 for u in range(60)
    ]


def test_permuted_draws_have_no_regard_to_clusters():
    shares = {}
    for permuted in (False, True):
        drawn = [MemberDraws(grouped(permuted=permuted), epoch).of(EVERYONE) for epoch in range(20)]
        assert all((found >= 0).all() for found in drawn)
        shares[permuted] = torch.stack([(GROUPS[found] == GROUPS).double().mean() for found in drawn]).mean()
    assert shares[False] == 1.0
    assert 0.25 < shares[True] < 0.42
