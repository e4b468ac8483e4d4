"""The control: what every utterance keeps, and facts that do not fit."""

import numpy as np
import pytest
import torch

from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.same_utterance import SameUtterance, SameUtteranceConfig


def test_every_utterance_keeps_its_own_positive_with_its_gradient():
    sampler = SameUtterance(SameUtteranceConfig(), SamplerFacts(10))
    positives, utterances = torch.randn(1, 4, 3, requires_grad=True), torch.tensor([3, 1, 9, 0])
    kept, chosen = sampler.replace(positives, utterances)
    assert kept is positives
    assert torch.equal(chosen, utterances)
    assert sampler.partners() is None
    assert sampler.cluster_of(utterances) is None
    assert sampler.start_epoch(0) == {}
    assert {sampler.pass_before(epoch) for epoch in range(3)} == {"nothing"}
    assert sampler.reference_segments == 0 and not sampler.needs_labels and not sampler.observes
    assert sampler.measures() == {}


def test_facts_that_do_not_fit_the_training_set_are_refused():
    with pytest.raises(ValueError, match="at least one utterance, found 0"):
        SamplerFacts(0)
    with pytest.raises(ValueError, match=r"Expected 4 codes of speakers, found an array of shape \(3,\)"):
        SamplerFacts(4, speakers=np.zeros(3, dtype=np.int32))
    with pytest.raises(ValueError, match="Expected 4 codes of recordings"):
        SamplerFacts(4, speakers=np.zeros(4, dtype=np.int32), recordings=np.zeros(5, dtype=np.int32))


def test_draws_are_those_of_seed_word_epoch_and_utterance():
    def drawn(utterances: int = 6, seed: int = 0, word: str = "a", epoch: int = 0) -> tuple:
        return tuple(map(tuple, SamplerFacts(utterances, seed).uniform(2, word, epoch).tolist()))

    assert drawn() == drawn() and len(drawn()) == 2 and len(drawn()[0]) == 6
    assert len({drawn(), drawn(seed=1), drawn(word="b"), drawn(epoch=1)}) == 4
    assert [row[:6] for row in drawn(9)] == list(drawn())
    assert all(0 <= number < 1 for row in drawn(500) for number in row)
