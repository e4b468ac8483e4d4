"""Who is in which cluster, and uniform draws among all members or among the marked ones, for a batch at once.

N utterances, K clusters, B draws. Members are kept in one array, cluster after cluster; a tree over its places
counts the marked ones, so that a draw costs log N steps however large the cluster.

    cluster      0     1        2
    first_K      0     2        5   8        members of cluster k lie at places first[k] .. first[k + 1] - 1
    members      4  7  0  1  5  2  3  6
    marked       1  0  0  1  1  0  0  0      marked members of cluster 1: places before(5) - before(2) = 2
"""

import torch
from torch import Tensor


class CountTree:
    """Which places are taken, with the number of taken places below each node of a binary tree.

    Node 1 is the root, node n has the children 2n and 2n + 1, and place p is node `leaves` + p.
    """

    def __init__(self, taken: Tensor) -> None:
        self.depth = max(1, len(taken).bit_length())  # one leaf more than places, so that before(len) has a node
        self.leaves = 2**self.depth
        level = torch.zeros(self.leaves, dtype=torch.int32, device=taken.device)
        level[: len(taken)] = taken
        levels = [level]
        while len(levels[-1]) > 1:
            levels.append(levels[-1].view(-1, 2).sum(dim=1, dtype=torch.int32))
        self.count = torch.cat([level[:1] * 0, *reversed(levels)])
        self._shifts = torch.arange(self.depth + 1, device=taken.device)[:, None]

    def add(self, place_B: Tensor, change_B: Tensor) -> None:
        """Take places (+1), free them (-1) or leave them alone (0)."""
        nodes = (place_B + self.leaves) >> self._shifts
        self.count.index_add_(0, nodes.flatten(), change_B.to(torch.int32).expand(nodes.shape).flatten())

    def before(self, place_B: Tensor) -> Tensor:
        """(B,) number of taken places below each place."""
        nodes = (place_B + self.leaves) >> self._shifts[:-1]
        before_B: Tensor = (self.count[nodes ^ 1] * (nodes & 1)).sum(dim=0)
        return before_B

    def find(self, rank_B: Tensor) -> Tensor:
        """(B,) the place that has `rank` taken places below it and is taken itself."""
        node_B = torch.ones_like(rank_B)
        for _ in range(self.depth):
            node_B *= 2
            left_B = self.count[node_B]
            right_B = rank_B >= left_B
            rank_B = rank_B - left_B * right_B
            node_B += right_B
        place_B: Tensor = node_B - self.leaves
        return place_B


class ClusterMembers:
    """The members of each cluster, from assignments (N,) in which -1 stands for no cluster.

    Without `marked_N` nobody can be marked, and there is no tree.
    """

    def __init__(self, assignments_N: Tensor, clusters: int, marked_N: Tensor | None = None) -> None:
        order = torch.argsort(assignments_N, stable=True)
        unknown = int((assignments_N < 0).sum())
        self.members = order[unknown:]
        self.cluster_N = assignments_N
        self.place_N = torch.full_like(order, -1)
        self.place_N[self.members] = torch.arange(len(self.members), device=order.device)
        sizes_K = torch.bincount(assignments_N[self.members].long(), minlength=clusters)
        self.first_K = torch.cat([sizes_K[:1] * 0, sizes_K.cumsum(0)])
        if marked_N is not None:
            self.marked = CountTree(marked_N[self.members])

    def mark(self, utterance_B: Tensor, change_B: Tensor) -> None:
        """Mark utterances (+1), unmark them (-1) or leave them alone (0); those of no cluster do not matter."""
        place_B = self.place_N[utterance_B]
        self.marked.add(place_B.clamp(min=0), change_B * (place_B >= 0))

    def draw(self, cluster_B: Tensor, uniform_B: Tensor, besides_B: Tensor) -> Tensor:
        """(B,) a member of each cluster other than `besides`, by a draw in [0, 1); -1 where there is none."""
        first_B, end_B = self.first_K[cluster_B], self.first_K[cluster_B + 1]
        own_B = self.place_N[besides_B]
        rank_B, found_B = _rank(uniform_B, first_B, end_B, own_B, (own_B >= first_B) & (own_B < end_B))
        return self._at(rank_B, found_B)

    def draw_marked(self, cluster_B: Tensor, uniform_B: Tensor, besides_B: Tensor, besides_marked_B: Tensor) -> Tensor:
        """As `draw`, among the marked members; `besides_marked` says where the utterance left out is marked."""
        first_B, end_B = self.first_K[cluster_B], self.first_K[cluster_B + 1]
        own_B = self.place_N[besides_B]
        inside_B = (own_B >= first_B) & (own_B < end_B) & besides_marked_B
        places = torch.cat([first_B, end_B, own_B.clamp(min=0)])
        before_first_B, before_end_B, before_own_B = self.marked.before(places).chunk(3)
        rank_B, found_B = _rank(uniform_B, before_first_B, before_end_B, before_own_B, inside_B)
        return self._at(self.marked.find(rank_B), found_B)

    def _at(self, place_B: Tensor, found_B: Tensor) -> Tensor:
        """(B,) the member at each place, -1 where none was found, as everywhere while no cluster has members."""
        if len(self.members) == 0:
            return torch.full_like(place_B, -1)
        return torch.where(found_B, self.members[place_B.clamp(max=len(self.members) - 1)], -1)


def _rank(
    uniform_B: Tensor, first_B: Tensor, end_B: Tensor, left_out_B: Tensor, is_inside_B: Tensor
) -> tuple[Tensor, Tensor]:
    """A uniform rank in first..end-1 that skips `left_out` where that is inside, and whether there was one."""
    count_B = end_B - first_B - is_inside_B.long()
    drawn_B = torch.minimum((uniform_B * count_B).long(), count_B - 1)
    rank_B = first_B + drawn_B + (is_inside_B & (first_B + drawn_B >= left_out_B))
    return rank_B.clamp(min=0), count_B > 0
