"""Draws among the members of clusters against lists and counting by hand."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.clustering.members import ClusterMembers, SortedPlaces, _merged_by_copies, _merged_by_sort

ASSIGNMENTS = torch.tensor(
    [1, 1, 2, 2, 0, 1, 2, 0, -1], dtype=torch.int32
)  # the drawing in members.py, and one unknown
MARKED = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0, 1], dtype=torch.bool)


def every_draw(size: int) -> torch.Tensor:
    """One draw in the middle of each of `size` equal parts of [0, 1)."""
    return (torch.arange(size, dtype=torch.float64) + 0.5) / size


@settings(max_examples=60, deadline=None)
@given(
    taken=st.lists(st.booleans(), min_size=1, max_size=70),
    batches=st.lists(st.sets(st.integers(0, 69), max_size=30), max_size=6),
    merge=st.sampled_from([_merged_by_copies, _merged_by_sort]),
)
def test_sorted_places_count_and_find_as_a_list_does(taken, batches, merge):
    """By the way of a CPU, and by that of a GPU with as much room as it may need."""
    places = SortedPlaces(torch.tensor(taken))
    room = torch.full((len(taken) + 1 - sum(taken),), 2**31 - 1, dtype=torch.int32)
    places.places = torch.cat([places.places[:-1], room])
    for batch in batches:
        changed = torch.tensor([place % len(taken) for place in batch if place < len(taken)], dtype=torch.int32)
        kind = torch.tensor([place % 3 > 0 for place in changed.tolist()])
        change = torch.tensor([-1 if taken[place] else 1 for place in changed.tolist()]) * kind
        places.places = merge(places.places, changed, change)
        for place, is_changed in zip(changed.tolist(), kind.tolist(), strict=True):
            taken[place] ^= is_changed
    everywhere = torch.arange(len(taken) + 1)
    assert places.before(everywhere).tolist() == [sum(taken[:p]) for p in range(len(taken) + 1)]
    ones = [p for p, is_taken in enumerate(taken) if is_taken]
    assert places.find(torch.arange(len(ones))).tolist() == ones


def test_members_lie_cluster_after_cluster_without_those_of_no_cluster():
    members = ClusterMembers(ASSIGNMENTS, 3, MARKED)
    assert members.members.tolist() == [4, 7, 0, 1, 5, 2, 3, 6]
    assert members.first_K.tolist() == [0, 2, 5, 8]
    assert members.place_N.tolist() == [2, 3, 5, 6, 0, 4, 7, 1, -1]


def test_equal_parts_of_the_draw_go_to_each_other_member_once():
    members = ClusterMembers(ASSIGNMENTS, 3, MARKED)
    for cluster, besides, expected in [(1, 1, [0, 5]), (1, 3, [0, 1, 5]), (0, 8, [4, 7]), (2, 6, [2, 3])]:
        count = len(expected)
        clusters, left_out = torch.full((count,), cluster), torch.full((count,), besides)
        assert members.draw(members.spans(clusters, left_out), every_draw(count)).tolist() == expected


def test_a_cluster_without_another_member_gives_minus_one():
    members = ClusterMembers(torch.tensor([0, 1, 1]), 3, torch.zeros(3, dtype=torch.bool))
    assert members.draw(members.spans(torch.tensor([0, 2]), torch.tensor([0, 0])), every_draw(2)).tolist() == [-1, -1]
    spans = members.spans(torch.tensor([1]), torch.tensor([0]))
    assert members.draw_marked(spans, every_draw(1), torch.tensor([False])).tolist() == [-1]


def test_while_nobody_has_a_cluster_there_is_nobody_to_draw():
    members = ClusterMembers(torch.full((3,), -1), 2, torch.zeros(3, dtype=torch.bool))
    cluster, own = torch.tensor([0, 1, 0]), torch.arange(3)
    assert members.draw(members.spans(cluster, own), every_draw(3)).tolist() == [-1] * 3
    members.mark(own, torch.tensor([1, 0, 1]))
    is_marked = torch.tensor([True, False, True])
    assert members.draw_marked(members.spans(cluster, own), every_draw(3), is_marked).tolist() == [-1] * 3


def test_marks_decide_who_is_drawn_and_can_be_moved():
    members = ClusterMembers(ASSIGNMENTS, 3, MARKED)
    own = torch.tensor([3])

    def draw(cluster: int) -> torch.Tensor:
        spans = members.spans(torch.tensor([cluster]), own)
        return members.draw_marked(spans, every_draw(1), torch.tensor([False]))

    assert [draw(k).item() for k in range(3)] == [4, 5, -1]
    members.mark(torch.tensor([4, 5, 6, 1, 8]), torch.tensor([-1, 0, 1, 0, -1]))
    assert [draw(k).item() for k in range(3)] == [-1, 5, 6]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), clusters=st.integers(1, 6), count=st.integers(1, 40))
def test_marked_draws_are_uniform_over_the_members_that_a_loop_finds(seed, clusters, count):
    random = np.random.default_rng(seed)
    assignments = random.integers(-1, clusters, count)
    assignments[0] = 0
    marked = random.random(count) < 0.5
    members = ClusterMembers(torch.from_numpy(assignments), clusters, torch.from_numpy(marked))
    for cluster in range(clusters):
        own = int(random.integers(count))
        expected = sorted(u for u in range(count) if assignments[u] == cluster and marked[u] and u != own)
        draws = max(1, len(expected))
        own_B = torch.full((draws,), own)
        is_marked_B = torch.full((draws,), bool(marked[own]))
        spans = members.spans(torch.full((draws,), cluster), own_B)
        drawn = members.draw_marked(spans, every_draw(draws), is_marked_B)
        assert drawn.tolist() == (expected or [-1])
