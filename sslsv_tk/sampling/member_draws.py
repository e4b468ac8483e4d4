"""Which member of which cluster each utterance takes its positive from in an epoch: equations (3) to (6) of SSPS.

Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for Robust Self-Supervised Speaker Verification",
Interspeech 2025, arXiv 2505.14561. N utterances, B batch.
"""

import torch
from torch import Tensor

from sslsv_tk.clustering.members import ClusterMembers, Spans
from sslsv_tk.sampling.clusters import Clusters


class MemberDraws:
    """The draws of an epoch, which follow from its clusters and (seed, epoch, utterance) alone: nothing to be saved.

    They are made when the epoch starts, and again when a killed run goes on in its middle.
    """

    def __init__(self, clusters: Clusters, epoch: int, marked_N: Tensor | None = None, most: int | None = None) -> None:
        """`marked_N`: the members among whom `of_marked` draws, at most `most`; `mark` keeps it up to date."""
        self.cluster_N, self._uniform_N = clusters.draw(epoch)
        self._members = ClusterMembers(clusters.assignments_N, clusters.count, marked_N, most)
        everyone = torch.arange(len(self.cluster_N), device=self.cluster_N.device)
        self._span_N3 = torch.stack(self._members.spans(self.cluster_N, everyone), dim=1)  # found in one look-up

    def _spans(self, utterance_B: Tensor) -> Spans:
        return Spans(*self._span_N3.index_select(0, utterance_B).unbind(1))

    def of(self, utterance_B: Tensor) -> Tensor:
        """(B,) another member of the cluster that each utterance drew; -1 where there is none."""
        return self._members.draw(self._spans(utterance_B), self._uniform_N.index_select(0, utterance_B))

    def of_marked(self, utterance_B: Tensor, is_marked_B: Tensor) -> Tensor:
        """(B,) as `of`, among the marked members; `is_marked_B` says it of the utterances themselves."""
        uniform_B = self._uniform_N.index_select(0, utterance_B)
        return self._members.draw_marked(self._spans(utterance_B), uniform_B, is_marked_B)

    def mark(self, utterance_B: Tensor, change_B: Tensor) -> None:
        """Mark utterances (+1), unmark them (-1) or leave them alone (0)."""
        self._members.mark(utterance_B, change_B)
