"""Reverberation and noise of a batch against sums written out, whatever the lengths of responses in it."""

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray

from sslsv_tk.draws.augmentation import unit_gain
from sslsv_tk.frontend import augmentation, clips
from sslsv_tk.frontend.augmentation import augment
from sslsv_tk.frontend.clips import ClipPool, PooledClips, ReadClips, ResponsePool
from sslsv_tk.frontend.reverberation import fast_length, points_of, reaching

SAMPLES = 1000
LENGTHS = (1, 40, 249, 250, 251, 700, 999, 1000, 1001, 9000)  # of responses; a quarter of a segment is 250
SNR = torch.tensor([0.0, 5.0, float("inf"), 12.5])


def sound(samples: int, seed: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-9000, 9000, samples).astype(np.int16)


RESPONSES = [sound(count, count) for count in LENGTHS]
NOISES = [sound(count, count) for count in (3, 800, 2500)]
ROWS = np.array([3, -1, 9, 0, 1, 2, 4, 5, 6, 7, 8, 9, -1, 3, 3])
SEGMENTS = torch.from_numpy(np.stack([sound(SAMPLES, 100 + row) for row in range(len(ROWS))]))
SNR_B = SNR[torch.arange(len(ROWS)) % len(SNR)]
NOISE_ROWS, NOISE_STARTS = np.arange(len(ROWS)) % len(NOISES), np.arange(len(ROWS)) * 7 % 3
LENGTHS_B = np.where(ROWS < 0, 0, np.array(LENGTHS)[ROWS])


def noises() -> NDArray[np.int16]:
    pairs = zip(NOISE_ROWS, NOISE_STARTS, strict=True)
    return np.stack([NOISES[row][(start + np.arange(SAMPLES)) % len(NOISES[row])] for row, start in pairs])


def expected() -> NDArray[np.float64]:
    """Segment by segment, from the definitions, in double precision."""
    found = []
    for place, (segment, noise) in enumerate(zip(SEGMENTS.double().numpy() / 32768, noises() / 32768.0, strict=True)):
        waveform = segment
        if ROWS[place] >= 0:
            response = RESPONSES[ROWS[place]].astype(np.float64)
            response /= np.sqrt((response**2).sum())
            waveform = scipy.signal.convolve(segment, response, method="direct")[:SAMPLES]
        ratio = (np.mean(waveform**2) + 1e-10) / (np.mean(noise**2) + 1e-10)
        found.append(waveform + np.sqrt(ratio * 10 ** (-float(SNR_B[place]) / 10)) * noise)
    return np.stack(found)


def pooled() -> PooledClips:
    gains = np.array([unit_gain(response) for response in RESPONSES], np.float32)
    rows, starts = torch.from_numpy(NOISE_ROWS), torch.from_numpy(NOISE_STARTS)
    return PooledClips(ClipPool(NOISES), rows, starts, ResponsePool(RESPONSES, gains), torch.from_numpy(ROWS))


def read() -> ReadClips:
    """As the loader reads them: no more of a response than reaches the segment."""
    responses = np.zeros((len(ROWS), SAMPLES), np.int16)
    gains = np.zeros(len(ROWS), np.float32)
    for place, row in enumerate(ROWS):
        if row >= 0:
            reach = min(SAMPLES, LENGTHS[row])
            responses[place, :reach], gains[place] = RESPONSES[row][:reach], unit_gain(RESPONSES[row])
    return ReadClips(torch.from_numpy(noises()), torch.from_numpy(responses), torch.from_numpy(gains))


@pytest.mark.parametrize("cached_bytes", [1 << 30, 0])
@pytest.mark.parametrize("source", [pooled, read])
@pytest.mark.parametrize("rows_at_a_time", [1, 2, 1000])
def test_augmented_segments_are_those_of_sums(source, rows_at_a_time, cached_bytes, monkeypatch) -> None:
    monkeypatch.setattr(clips, "_CACHED_BYTES", cached_bytes)
    monkeypatch.setattr(augmentation, "_SAMPLES_AT_A_TIME", {"cpu": rows_at_a_time * SAMPLES})
    made = source()
    for _ in range(2):  # the second time from spectra that are kept
        found = augment(SEGMENTS, made, SNR_B, LENGTHS_B)
        assert found.dtype == torch.float32
        assert np.abs(found.numpy() - expected()).max() < 2e-6


def test_floats_are_augmented_like_16_bit_samples() -> None:
    found = augment(SEGMENTS.float() / 32768, pooled(), SNR_B, LENGTHS_B)
    assert (found - augment(SEGMENTS, pooled(), SNR_B, LENGTHS_B)).abs().max() < 1e-6


def test_a_segment_without_response_and_noise_keeps_its_bits() -> None:
    found = augment(SEGMENTS, pooled(), torch.full((len(ROWS),), torch.inf), LENGTHS_B)
    for place in np.flatnonzero(ROWS < 0):
        assert torch.equal(found[place], SEGMENTS[place].float() / 32768)
    assert not torch.equal(found[0], SEGMENTS[0].float() / 32768)


def test_responses_alone_and_noise_alone() -> None:
    assert torch.equal(augment(SEGMENTS, pooled(), None, None), SEGMENTS.float() / 32768)
    reverberated = augment(SEGMENTS, pooled(), None, LENGTHS_B)
    assert torch.equal(reverberated, augment(SEGMENTS, pooled(), torch.full((len(ROWS),), torch.inf), LENGTHS_B))


def test_a_silent_response_gives_silence() -> None:
    silence = [np.zeros(50, np.int16)]
    made = PooledClips(
        responses=ResponsePool(silence, np.array([unit_gain(silence[0])], np.float32)),
        response_row_B=torch.zeros(len(ROWS), dtype=torch.int64),
    )
    assert augment(SEGMENTS, made, None, np.full(len(ROWS), 50)).abs().max() == 0


@pytest.mark.parametrize("samples", [1, 3, 799, 1000, 32_000])
def test_nothing_comes_round_and_no_transform_is_much_too_long(samples: int) -> None:
    lengths = np.concatenate([np.arange(0, 3 * samples, max(1, samples // 500)), [10**6]])
    points = points_of(lengths, samples)
    reach = np.minimum(lengths, samples)
    assert (points[lengths == 0] == 0).all()
    for point, count in zip(points[lengths > 0].tolist(), reach[lengths > 0].tolist(), strict=True):
        assert point >= samples + count - 1 and reaching(samples, point) >= count
        assert point <= fast_length(samples + count + samples // 4 + 1)
    assert len(np.unique(points)) <= 5, "few transforms"


def test_one_very_long_response_makes_no_transform_of_others_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds among responses of half a second: points that are transformed, with and without it."""
    taken = []
    transform = torch.fft.rfft
    monkeypatch.setattr(torch.fft, "rfft", lambda tensor: (taken.append(tensor.numel()), transform(tensor))[1])

    def points(longest: int) -> int:
        responses = [sound(SAMPLES // 4, row) for row in range(40)]
        responses[-1] = sound(longest, 7)
        pool = ResponsePool(responses, np.array([unit_gain(response) for response in responses], np.float32))
        taken.clear()
        lengths = np.array([len(responses[row]) for row in range(39)])
        augment(SEGMENTS[:1].repeat(39, 1), PooledClips(responses=pool, response_row_B=torch.arange(39)), None, lengths)
        return sum(taken)

    assert points(10 * SAMPLES) == points(SAMPLES // 4)


@pytest.mark.parametrize("samples", [1000, 32_000])
@pytest.mark.parametrize("response_samples", [500, 1100])
def test_spectra_that_are_kept_have_the_bits_of_those_that_are_computed(
    samples: int, response_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that was killed, whose pool begins anew, would go on to other bits."""
    count = samples * response_samples // 1000
    responses = [sound(count, row) for row in range(6)]
    gains = np.array([unit_gain(response) for response in responses], np.float32)
    segments = torch.from_numpy(np.stack([sound(samples, row) for row in range(40, 46)]))
    lengths = np.full(6, count)

    def made(pool: ResponsePool, rows: list[int]) -> torch.Tensor:
        return augment(segments, PooledClips(responses=pool, response_row_B=torch.tensor(rows)), None, lengths)

    fresh, used, rows = ResponsePool(responses, gains), ResponsePool(responses, gains), [0, 1, 2, 3, 4, 5]
    made(used, [5, 5, 1, 1, 1, 2])
    found = made(fresh, rows)
    assert torch.equal(found, made(used, rows)) and torch.equal(found, made(fresh, rows))
    monkeypatch.setattr(clips, "_CACHED_BYTES", 0)
    assert torch.equal(found, made(fresh, rows))
    read_too = ReadClips(None, torch.from_numpy(np.stack(responses)[:, :samples]), torch.from_numpy(gains))
    assert torch.equal(found, augment(segments, read_too, None, lengths))
