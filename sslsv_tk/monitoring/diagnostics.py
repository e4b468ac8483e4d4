"""What the chosen positives are, counted over an epoch; the only place of training that sees true labels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.clustering.agreement import normalised_mutual_information
from sslsv_tk.distributed.collectives import total
from sslsv_tk.distributed.processes import is_first


class PositiveDiagnostics:
    """Counts over the steps of an epoch: coverage, and with labels how often a replaced positive is right.

    `speaker_accuracy` and `recording_accuracy` are shares of the replaced positives that have the anchor's true
    speaker, or come from its very recording (which SSPS wants to avoid).
    """

    def __init__(
        self, device: torch.device, speakers: NDArray[np.int32] | None, recordings: NDArray[np.int32] | None
    ) -> None:
        self.speakers, self.recordings = speakers, recordings
        self._codes = {
            name: torch.from_numpy(codes).to(device)
            for name, codes in (("speaker", speakers), ("recording", recordings))
            if codes is not None
        }
        self.counts = {
            name: torch.zeros((), dtype=torch.int64, device=device) for name in ("all", "replaced", *self._codes)
        }

    def count(self, utterance_B: Tensor, chosen_B: Tensor) -> None:
        """Add a batch; no synchronisation with the device."""
        replaced_B = chosen_B != utterance_B
        self.counts["all"] += len(utterance_B)
        self.counts["replaced"] += replaced_B.sum()
        for name, code_N in self._codes.items():
            self.counts[name] += (replaced_B & (code_N[utterance_B] == code_N[chosen_B])).sum()

    def summary(self) -> dict[str, float]:
        """The shares so far, of all processes; then the counts start anew."""
        counts = self.state_dict()
        for count in self.counts.values():
            count.zero_()
        numbers = {"coverage": counts["replaced"] / max(counts["all"], 1)}
        if counts["replaced"]:
            numbers.update({f"{name}_accuracy": counts[name] / counts["replaced"] for name in self._codes})
        return numbers

    def clusters(self, cluster_N: Tensor | None) -> dict[str, float]:
        """Normalised mutual information of this epoch's clusters with speakers and recordings (unknown left out)."""
        if cluster_N is None:
            return {}
        clusters = cluster_N.cpu().numpy()
        known = clusters >= 0
        if not known.any():
            return {}
        return {
            f"nmi_{name}": normalised_mutual_information(clusters[known], codes[known])
            for name, codes in (("speaker", self.speakers), ("recording", self.recordings))
            if codes is not None
        }

    def state_dict(self) -> dict[str, int]:
        """The counts of all processes, for a checkpoint in the middle of an epoch."""
        totals = total(torch.stack(list(self.counts.values())))
        return dict(zip(self.counts, totals.tolist(), strict=True))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting: the first process with what all had counted."""
        for name, count in self.counts.items():
            count.fill_(state.get(name, 0) if is_first() else 0)
