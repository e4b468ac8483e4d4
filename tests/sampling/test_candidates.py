"""Candidates listed by hand, and settings that are refused."""

import pytest
import torch

from sslsv_tk.sampling.candidates import CandidateConfig, Candidates, is_mutual


def test_mutual_candidates_and_draws_listed_by_hand():
    nearest_NK = torch.tensor([[1, 2], [0, 3], [0, 1], [1, 2]])  # 2 counts 0 in, and so on, as is_mutual says
    accepted = [[True, True], [True, True], [True, False], [True, False]]
    assert is_mutual(nearest_NK).tolist() == accepted
    nobody = torch.tensor([[False, False], [False, True]])
    draws = torch.tensor([0.9, 0.0], dtype=torch.float64)
    assert Candidates(nearest_NK[:2], nobody).draw(draws, "uniform", 0.7).tolist() == [-1, 3]


def test_candidates_of_some_points_and_their_mean_number():
    found = Candidates(torch.tensor([[1, 2], [0, 2]]), torch.tensor([[True, False], [True, True]]))
    assert found.mean_count == 1.5
    assert found.at(torch.tensor([1, 1, 0])).nearest_NK.tolist() == [[0, 2], [0, 2], [1, 2]]


@pytest.mark.parametrize(
    "named, message",
    [
        ({"nearest": 0}, "nearest: expected at least 1 candidate, found 0"),
        ({"cohort": 1}, "cohort: expected 0 for none, or at least 2 others, found 1"),
        ({"cohort": -3}, "cohort: expected 0 for none, or at least 2 others, found -3"),
        ({"kept_share": 0.0}, "kept_share: expected a share above 0, up to 1, found 0.0"),
        ({"kept_share": 1.5}, "kept_share: expected a share above 0, up to 1, found 1.5"),
        ({"reference_segments": 0}, "reference_segments: expected at least 1, found 0"),
        ({"whitening": "within_utterance"}, r"differ; found reference_segments = 1\. Set it to 2 or more"),
        ({"shrinkage": 1.5}, "shrinkage: expected a share from 0 to 1, found 1.5"),
        ({"weights": "exponential", "decay": -1.0}, "decay: exponential weights need a number above 0"),
    ],
)
def test_settings_out_of_range_are_refused(named, message):
    with pytest.raises(ValueError, match=message):
        CandidateConfig(**named)


def test_so_many_candidates_that_they_are_everyone_are_refused():
    CandidateConfig(nearest=4).check_points(5, "utterances")
    with pytest.raises(ValueError, match=r"nearest: 5 utterances have 4 others, found 5\. Set fewer"):
        CandidateConfig(nearest=5).check_points(5, "utterances")
    with pytest.raises(ValueError, match=r"those of other recordings, and the training set has 1\. Choose other"):
        CandidateConfig(nearest=5).check_points(1, "recordings")
