"""The control, and what every positive sampler promises."""

import numpy as np
import pytest
import torch

from sslsv_tk import config, registry
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.positives.same_utterance import SameUtterance, SameUtteranceConfig

SAMPLERS = (
    "same_utterance",
    "same_speaker",
    "ssps_kmeans",
    "ssps_live",
    "ssps_knn",
    "ssps_live_knn",
    "ssps_live_recordings",
)


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
    assert sampler.reference_segments == 0 and not sampler.needs_labels
    assert sampler.measures() == {}


def test_it_refuses_a_state_of_other_positives():
    sampler = SameUtterance(SameUtteranceConfig(), SamplerFacts(10))
    sampler.load_state_dict(sampler.state_dict())
    with pytest.raises(ValueError, match=r"positives same_utterance keep no state.*epoch, queue"):
        sampler.load_state_dict({"queue": torch.zeros(3), "epoch": 2})


def test_every_file_of_the_folder_is_a_sampler_with_settings_of_its_own():
    names = registry.names("sslsv_tk.positives")
    assert set(SAMPLERS) == set(names)
    for name in names:
        sampler = registry.find("sslsv_tk.positives", name, PositiveSampler)
        assert config.build(sampler.Config, {}) == sampler.Config()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_recipe_names_each_sampler_with_settings_it_knows(name, request):
    file = request.config.rootpath / "egs" / "voxceleb" / "conf" / "positives" / f"{name}.yaml"
    settings = dict(config.read(file)["positives"])
    assert settings.pop("name") == name
    found = config.build(registry.find("sslsv_tk.positives", name, PositiveSampler).Config, settings)
    if name in ("ssps_kmeans", "ssps_live"):
        assert (found.clusters_of(1_092_009), found.neighbours) == (25_000, 1)


def test_facts_that_do_not_fit_the_training_set_are_refused():
    with pytest.raises(ValueError, match="at least one utterance, found 0"):
        SamplerFacts(0)
    with pytest.raises(ValueError, match=r"Expected 4 codes of speakers, found an array of shape \(3,\)"):
        SamplerFacts(4, speakers=np.zeros(3, dtype=np.int32))
    with pytest.raises(ValueError, match="Expected 4 codes of recordings"):
        SamplerFacts(4, speakers=np.zeros(4, dtype=np.int32), recordings=np.zeros(5, dtype=np.int32))
