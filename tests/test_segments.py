"""What a method wants cut from each utterance."""

import dataclasses

import pytest

from sslsv_tk.segments import REFERENCE, Segment


@pytest.mark.parametrize(("seconds", "samples"), [(2.0, 32_000), (4.0, 64_000), (0.3, 4_800), (1 / 16_000, 1)])
def test_a_length_in_seconds_is_one_in_samples(seconds: float, samples: int) -> None:
    assert Segment(seconds, "anchor").samples == samples


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_segment_without_length_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="A segment needs a positive length, found"):
        Segment(seconds, "anchor")


def test_segments_are_augmented_unless_they_are_references() -> None:
    assert Segment(2.0, "positive").augmented
    assert Segment(4.0, "reference", augmented=False) == REFERENCE


def test_a_segment_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        REFERENCE.seconds = 3.0  # type: ignore[misc]
