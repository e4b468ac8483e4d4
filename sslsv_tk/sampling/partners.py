"""From whose audio the loader cuts the positive of each utterance in an epoch: live positives. N utterances."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.part import Part


class Partners(Part):
    """The partner of each utterance, itself where it has none.

    They are saved, since the references from which they were drawn change along the epoch: a run that is resumed in
    its middle could not draw the same ones again.
    """

    saved = ("partner_N",)

    def __init__(self, facts: SamplerFacts) -> None:
        self._everyone_N = facts.everyone
        self.partner_N = facts.everyone

    def forget(self) -> None:
        """Everyone is the own partner again."""
        self.partner_N = self._everyone_N.clone()

    def take(self, partner_N: Tensor) -> None:
        """The partner of each utterance, -1 for none."""
        self.partner_N = torch.where(partner_N >= 0, partner_N, self._everyone_N)

    def take_among(self, utterance_O: Tensor, place_O: Tensor) -> None:
        """The partners of some utterances, by their place among these, -1 for none; all others are their own."""
        self.forget()
        self.partner_N[utterance_O] = torch.where(place_O >= 0, utterance_O[place_O.clamp(min=0)], utterance_O)

    def of(self, utterance_B: Tensor) -> Tensor:
        """(B,) the partner of each utterance."""
        return self.partner_N[utterance_B]

    def numbers(self) -> NDArray[np.int64]:
        """(N,) all of them, as the loader takes them."""
        return self.partner_N.cpu().numpy().copy()
