"""Who is in which cluster, and uniform draws among all members or among the marked ones, for a batch at once.

N utterances, K clusters, B draws. Members are kept in one array, cluster after cluster; the places of the marked ones
are a second, sorted one, in which a draw costs a search of log N steps however large the cluster.

    cluster      0     1        2
    first_K      0     2        5   8        members of cluster k lie at places first[k] .. first[k + 1] - 1
    members      4  7  0  1  5  2  3  6
    marked       1  0  0  1  1  0  0  0      marked members of cluster 1: places before(5) - before(2) = 2
    places       0  3  4
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_NO_PLACE = 2**31 - 1


class SortedPlaces:
    """Which places are taken, as an ascending array with at least one place that there is not at its end.

    On a CPU it grows and shrinks, and a change costs a copy. On a GPU, which is not asked for a length, it has room for
    `most` places and is sorted anew.
    """

    def __init__(self, taken: Tensor, most: int | None = None) -> None:
        places = taken.nonzero()[:, 0].int()
        room = 1 if taken.device.type == "cpu" else (len(taken) if most is None else most) + 1 - len(places)
        self.places = torch.cat([places, places.new_full((max(1, room),), _NO_PLACE)])

    def add(self, place_B: Tensor, change_B: Tensor) -> None:
        """Take places that are free (+1), free those that are taken (-1) or leave them alone (0), each at most once."""
        merge = _merged_by_copies if place_B.device.type == "cpu" else _merged_by_sort
        self.places = merge(self.places, place_B.int(), change_B)

    def before(self, place_B: Tensor) -> Tensor:
        """(B,) number of taken places below each place."""
        return torch.searchsorted(self.places, place_B.int(), out_int32=True)

    def find(self, rank_B: Tensor) -> Tensor:
        """(B,) the place that has `rank` taken places below it and is taken itself; any where there is none."""
        return self.places.index_select(0, rank_B.clamp(max=len(self.places) - 1))


def _merged_by_copies(places: Tensor, place_B: Tensor, change_B: Tensor) -> Tensor:
    before, place, change = places.numpy(), place_B.numpy(), change_B.numpy()
    kept = np.delete(before, np.searchsorted(before, place[change < 0]))
    came = np.sort(place[change > 0])
    return torch.from_numpy(np.insert(kept, np.searchsorted(kept, came), came))


def _merged_by_sort(places: Tensor, place_B: Tensor, change_B: Tensor) -> Tensor:
    """Those that leave become places that there are not, as the last one always is."""
    at_B = torch.searchsorted(places, place_B).where(change_B < 0, len(places) - 1)
    kept = places.index_fill(0, at_B, _NO_PLACE)
    return torch.cat([kept, place_B.where(change_B > 0, _NO_PLACE)]).sort().values[: len(places)]


class Spans(NamedTuple):
    """Where draws happen, int32: the first place of a cluster, that after its last, and the place to leave out.

    The last is -1 where that place is not between the two.
    """

    first_B: Tensor
    end_B: Tensor
    left_out_B: Tensor


class ClusterMembers:
    """The members of each cluster, from assignments (N,) in which -1 stands for no cluster.

    Without `marked_N` nobody can be marked. `most`: how many may be marked at a time (N).
    """

    def __init__(
        self, assignments_N: Tensor, clusters: int, marked_N: Tensor | None = None, most: int | None = None
    ) -> None:
        order = torch.argsort(assignments_N, stable=True)
        unknown = int((assignments_N < 0).sum())
        self.members = order[unknown:]
        self.place_N = torch.full_like(order, -1, dtype=torch.int32)
        self.place_N[self.members] = torch.arange(len(self.members), dtype=torch.int32, device=order.device)
        sizes_K = torch.bincount(assignments_N[self.members].long(), minlength=clusters)
        self.first_K = torch.cat([sizes_K[:1] * 0, sizes_K.cumsum(0)]).int()
        if marked_N is not None:
            self.marked = SortedPlaces(marked_N[self.members], most)

    def mark(self, utterance_B: Tensor, change_B: Tensor) -> None:
        """Mark utterances (+1), unmark them (-1) or leave them alone (0); those of no cluster do not matter."""
        place_B = self.place_N.index_select(0, utterance_B)
        self.marked.add(place_B.clamp(min=0), change_B * (place_B >= 0))

    def spans(self, cluster_B: Tensor, besides_B: Tensor) -> Spans:
        """For draws of members of each cluster other than `besides`; of cluster -1 an empty one."""
        cluster_B = cluster_B.long()
        first_B = self.first_K.index_select(0, cluster_B.clamp(min=0))
        end_B = self.first_K.index_select(0, cluster_B + 1)  # of -1: 0, so that it ends before it begins
        own_B = self.place_N.index_select(0, besides_B)
        return Spans(first_B, end_B, own_B.where((own_B >= first_B) & (own_B < end_B), -1))

    def draw(self, spans: Spans, uniform_B: Tensor) -> Tensor:
        """(B,) a member in each span by a draw in [0, 1); -1 where there is none."""
        first_B, end_B, left_out_B = spans
        rank_B, found_B = _rank(uniform_B, first_B, end_B, left_out_B, left_out_B >= 0)
        return self._at(rank_B, found_B)

    def draw_marked(self, spans: Spans, uniform_B: Tensor, is_marked_B: Tensor) -> Tensor:
        """As `draw`, among the marked members; `is_marked` says it of those that are left out."""
        before_3B = self.marked.before(torch.stack(spans))
        before_first_B, before_end_B, before_left_out_B = before_3B.unbind()
        is_inside_B = (spans.left_out_B >= 0) & is_marked_B
        rank_B, found_B = _rank(uniform_B, before_first_B, before_end_B, before_left_out_B, is_inside_B)
        return self._at(self.marked.find(rank_B), found_B)

    def _at(self, place_B: Tensor, found_B: Tensor) -> Tensor:
        """(B,) the member at each place, -1 where none was found, as everywhere while no cluster has members."""
        if len(self.members) == 0:
            return torch.full_like(place_B, -1, dtype=torch.int64)
        return self.members.index_select(0, place_B.clamp(max=len(self.members) - 1)).where(found_B, -1)


def _rank(
    uniform_B: Tensor, first_B: Tensor, end_B: Tensor, left_out_B: Tensor, is_inside_B: Tensor
) -> tuple[Tensor, Tensor]:
    """A uniform rank in first..end-1 that skips `left_out` where that is inside, and whether there was one."""
    count_B = end_B - first_B - is_inside_B.int()
    rank_B = torch.minimum((uniform_B * count_B).int(), count_B - 1).add_(first_B)
    rank_B += is_inside_B & (rank_B >= left_out_B)
    return rank_B.clamp_(min=0), count_B > 0
