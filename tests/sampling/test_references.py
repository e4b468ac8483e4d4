"""Reference embeddings: the newest of each utterance, and coordinates in which segments of one differ equally."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sslsv_tk.sampling import references as references_module
from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.references import ReferenceConfig, References, whitened

WHITENED = {"reference_segments": 2, "whitening": "within_utterance"}


def segments(count: int, of_each: int = 1, seed: int = 0, width: int = 4) -> torch.Tensor:
    """(R, B, D): unit rows, those of an utterance near each other, in some directions more than in others."""
    generator = torch.Generator().manual_seed(seed)
    spread_D = 0.1 * 2.0 ** -torch.arange(width)
    mean_1BD = torch.randn(1, count, width, generator=generator)
    return normalize(mean_1BD + spread_D * torch.randn(of_each, count, width, generator=generator), dim=2)


def fresh(count: int = 20, width: int = 4, **more) -> References:
    return References(ReferenceConfig(**more), SamplerFacts(count, projection_dimension=1, embedding_dimension=width))


def test_an_embedding_observed_again_replaces_the_one_before():
    references = fresh()
    assert not references.seen_N.all()
    references.observe(torch.arange(20), segments(20))
    assert references.seen_N.all()
    later = segments(5, seed=9)
    references.observe(torch.arange(5), later)
    torch.testing.assert_close(references.embeddings_ND[:5], later[0])
    torch.testing.assert_close(references.embeddings_ND[5:], segments(20)[0, 5:])


def test_points_are_those_of_the_utterances_seen():
    references = fresh()
    rows, points_ND = references.points()
    assert len(rows) == 0 and points_ND.shape == (0, 4)
    references.observe(torch.tensor([7, 2, 11]), segments(3))
    rows, points_ND = references.points()
    assert rows.tolist() == [2, 7, 11]
    torch.testing.assert_close(points_ND, segments(3)[0, [1, 0, 2]])


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_reference_is_the_direction_of_the_mean_of_its_segments(kind):
    references, of_three = fresh(reference_segments=3, reference_dtype=kind), segments(20, 3)
    references.observe(torch.arange(20), of_three.requires_grad_())
    expected = normalize(of_three.detach().mean(0), dim=1)
    assert references.embeddings_ND.dtype == getattr(torch, kind) and not references.embeddings_ND.requires_grad
    torch.testing.assert_close(
        references.embeddings_ND.float(), expected, rtol=0, atol=1e-6 if kind == "float32" else 1e-3
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), of_each=st.integers(2, 4), sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_the_scatter_is_the_sum_over_segments_about_their_utterance_s_mean(seed, of_each, sizes):
    references = fresh(7, reference_segments=of_each, whitening="within_utterance")
    expected_DD, degrees = np.zeros((4, 4)), 0
    for number, count in enumerate(sizes):
        batch = segments(count, of_each, seed + number)
        references.observe(torch.arange(count), batch)
        for utterance in batch.double().numpy().transpose(1, 0, 2):
            for segment in utterance:
                expected_DD += np.outer(segment - utterance.mean(0), segment - utterance.mean(0))
            degrees += of_each - 1
    np.testing.assert_allclose(references.scatter_DD, expected_DD, atol=1e-6)
    assert references.scattered == degrees
    references.collect()
    assert references.scatter_DD.abs().sum() == 0 and references.scattered == 0


def test_without_whitening_no_scatter_is_kept():
    references = fresh(reference_segments=2)
    references.observe(torch.arange(20), segments(20, 2))
    assert references.scatter_DD.numel() == 0 and references.scattered == 0
    torch.testing.assert_close(references.points()[1], references.embeddings_ND)


# whitening


def covariance_within(segments_RBD: np.ndarray) -> np.ndarray:
    apart = (segments_RBD - segments_RBD.mean(0)).reshape(-1, segments_RBD.shape[2])
    return apart.T @ apart / ((len(segments_RBD) - 1) * segments_RBD.shape[1])


def by_hand(points_ND: np.ndarray, within_DD: np.ndarray, shrinkage: float) -> np.ndarray:
    """Cosines of centred points under the inverse of the shrunk covariance: x' C y / sqrt(x' C x y' C y)."""
    level = np.trace(within_DD) / len(within_DD)
    inverse_DD = np.linalg.inv((1 - shrinkage) * within_DD + shrinkage * level * np.eye(len(within_DD)))
    centred_ND = points_ND - points_ND.mean(0)
    products_NN = centred_ND @ inverse_DD @ centred_ND.T
    lengths_N = np.sqrt(np.diag(products_NN))
    return products_NN / np.outer(lengths_N, lengths_N)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 0.9])
def test_cosines_are_those_under_the_inverse_covariance(shrinkage):
    of_two = segments(30, 2).double()
    within_DD = covariance_within(of_two.numpy())
    points_ND = normalize(of_two.mean(0), dim=1)
    found = whitened(points_ND.float(), torch.from_numpy(within_DD).float(), shrinkage)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(30))
    np.testing.assert_allclose(found @ found.T, by_hand(points_ND.numpy(), within_DD, shrinkage), atol=2e-5)


def test_without_shrinkage_segments_of_an_utterance_then_differ_equally_in_all_directions():
    """Whitened points are directions; times their lengths under the inverse covariance they can be compared again."""
    of_two = segments(4000, 2, width=3).double()
    within_DD = covariance_within(of_two.numpy())
    points_ND = of_two.flatten(0, 1)
    centred_ND = (points_ND - points_ND.mean(0)).numpy()
    lengths_N = np.sqrt(((centred_ND @ np.linalg.inv(within_DD)) * centred_ND).sum(1))
    found = whitened(points_ND.float(), torch.from_numpy(within_DD), 0.0).double().numpy() * lengths_N[:, None]
    np.testing.assert_allclose(covariance_within(found.reshape(2, 4000, 3)), np.eye(3), atol=1e-3)
    assert not np.allclose(within_DD / within_DD[0, 0], np.eye(3), atol=0.3)


def test_with_full_shrinkage_points_are_only_centred():
    of_two = segments(30, 2)
    points_ND = of_two[0]
    found = whitened(points_ND, torch.from_numpy(covariance_within(of_two.numpy())), 1.0)
    torch.testing.assert_close(found, normalize(points_ND - points_ND.mean(0), dim=1), rtol=0, atol=1e-5)


def test_points_whose_segments_do_not_differ_stay_where_they_are():
    points_ND = segments(6)[0]
    assert whitened(points_ND, torch.zeros(4, 4), 0.3) is points_ND
    references = fresh(6, **WHITENED)
    references.observe(torch.arange(6), torch.stack([points_ND, points_ND]))
    torch.testing.assert_close(references.points()[1], points_ND)


def test_a_direction_in_which_segments_never_differ_does_not_break_it():
    """Fewer differences than directions: the covariance has no inverse by itself."""
    of_two = segments(2, 2, width=6)
    points_ND = segments(9, width=6)[0]
    found = whitened(points_ND, torch.from_numpy(covariance_within(of_two.numpy())), 0.0)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(9))


def test_points_are_whitened_by_the_scatter_since_they_were_collected():
    references, of_two = fresh(**WHITENED), segments(20, 2)
    references.observe(torch.arange(20), segments(20, 2, seed=5).flip(2))  # spread in other directions
    references.collect()
    references.observe(torch.arange(20), of_two)
    points_ND = normalize(of_two.mean(0), dim=1)
    expected = whitened(points_ND, torch.from_numpy(covariance_within(of_two.numpy())), 0.3)
    torch.testing.assert_close(references.points()[1], expected, rtol=0, atol=1e-4)
    references.collect()
    torch.testing.assert_close(references.points()[1], points_ND)


def test_points_are_whitened_part_by_part(monkeypatch):
    of_two = segments(30, 2)
    within_DD = torch.from_numpy(covariance_within(of_two.numpy()))
    whole = whitened(of_two[0], within_DD, 0.3)
    monkeypatch.setattr(references_module, "_ROWS_AT_ONCE", 7)
    torch.testing.assert_close(whitened(of_two[0], within_DD, 0.3), whole)


# state and settings


def test_a_state_goes_on_identically_and_is_a_copy():
    references, other = fresh(**WHITENED), fresh(**WHITENED)
    references.observe(torch.arange(9), segments(9, 2))
    other.load_state_dict(references.state_dict())
    kept = references.points()[1].clone()
    references.embeddings_ND.zero_()
    references.collect()
    torch.testing.assert_close(other.points()[1], kept, rtol=0, atol=0)
    assert other.scattered == 9 and other.points()[0].tolist() == list(range(9))


@pytest.mark.parametrize("theirs", [{"count": 21}, {"width": 5}, {"reference_dtype": "float16"}, WHITENED])
def test_a_state_that_does_not_fit_changes_nothing(theirs):
    references, other = fresh(), fresh(**theirs)
    before = copy.deepcopy(references.state_dict())
    other.observe(torch.arange(3), segments(3, 2, width=other.embeddings_ND.shape[1]))
    with pytest.raises(ValueError, match=r"another training set or other settings.*Resume"):
        references.load_state_dict(other.state_dict())
    for name, value in references.state_dict().items():
        assert value == before[name] if name == "scattered" else torch.equal(value, before[name])


@pytest.mark.parametrize(
    "named, message",
    [
        ({"reference_segments": 0}, "reference_segments: expected at least 1, found 0"),
        ({"whitening": "within_utterance"}, r"found reference_segments = 1\. Set it to 2 or more"),
        ({**WHITENED, "shrinkage": -0.1}, "shrinkage: expected a share from 0 to 1, found -0.1"),
        ({**WHITENED, "shrinkage": float("nan")}, "shrinkage: expected a share from 0 to 1, found nan"),
    ],
)
def test_settings_out_of_range_are_refused(named, message):
    with pytest.raises(ValueError, match=message):
        ReferenceConfig(**named)


def test_a_batch_without_references_is_right_only_where_they_come_in_passes():
    everyone = torch.arange(20)
    with pytest.raises(ValueError, match="need the embeddings of reference segments with every batch"):
        fresh().observe(everyone, None)
    in_passes = fresh(refresh="epochs")
    in_passes.observe(everyone, segments(20))
    in_passes.observe(everyone, None)
    torch.testing.assert_close(in_passes.embeddings_ND, segments(20)[0])


def test_what_is_collected_are_the_utterances_seen_with_their_points():
    references = fresh()
    references.observe(torch.tensor([7, 2, 11]), segments(3))
    rows, points = references.collect()
    assert rows.tolist() == [2, 7, 11]
    torch.testing.assert_close(points.own_OD, segments(3)[0, [1, 0, 2]])


def test_a_method_without_positives_is_refused():
    with pytest.raises(ValueError, match=r"for a method that has positives; .* slots 0\. Choose another method"):
        References(ReferenceConfig(), SamplerFacts(5, projection_dimension=1, embedding_dimension=4, slots=0))
