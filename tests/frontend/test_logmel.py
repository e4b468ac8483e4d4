"""Log-mel frames against the authors' figures and against a transform written as sums."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sslsv_tk.frontend import logmel as logmel_module
from sslsv_tk.frontend.logmel import LogMel, mel_filters, normalise
from sslsv_tk.frontend.settings import LogMelConfig

CONFIGS = {
    "mel40_hamming": LogMelConfig(),
    "mel80_hamming": LogMelConfig(bands=80),
    "mel80_hann": LogMelConfig(bands=80, window="hann"),
}


def noise(batch: int, samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))


def naive_logmel(waveform: NDArray[np.float64], config: LogMelConfig) -> NDArray[np.float64]:
    """One segment, frame by frame and bin by bin, from the definitions: (F, L)."""
    points, shift, length = config.transform_points, 160, 400
    phases = 2 * np.pi * np.arange(length) / length  # periodic window
    window = 0.54 - 0.46 * np.cos(phases) if config.window == "hamming" else 0.5 - 0.5 * np.cos(phases)
    half, first = points // 2, (points - length) // 2
    mirrored = np.concatenate([waveform[half:0:-1], waveform, waveform[-2 : -half - 2 : -1]])
    transform = np.exp(-2j * np.pi * np.outer(np.arange(half + 1), np.arange(points)) / points)
    top = 2595 * math.log10(1 + 8000 / 700)
    corners = [700 * (10 ** (top * m / (config.bands + 1) / 2595) - 1) for m in range(config.bands + 2)]
    frames = []
    for frame in range(len(waveform) // shift + 1):
        cut = np.zeros(points)
        cut[first : first + length] = mirrored[frame * shift + first :][:length] * window
        power = np.abs(transform @ cut) ** 2
        energies = []
        for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
            hertz = np.arange(half + 1) * 16000 / points
            triangle = np.clip(np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)), 0, None)
            energies.append(math.log(power @ triangle + config.floor))
        frames.append(energies)
    values = np.array(frames).T
    return (values - values.mean(1, keepdims=True)) / np.sqrt(values.var(1, keepdims=True) + config.deviation_floor)


@pytest.mark.parametrize("name", CONFIGS)
def test_frames_are_those_of_the_authors(shared: Path, name: str) -> None:
    reference = np.load(shared / "reference" / "front_end.npz")
    found = LogMel(CONFIGS[name])(torch.from_numpy(reference["waveform"])).numpy()
    expected = reference[name]
    assert found.shape == expected.shape == (2, CONFIGS[name].bands, 201)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("samples", [257, 1600, 1759])
def test_frames_are_those_of_a_plain_loop(name: str, samples: int) -> None:
    waveform = noise(1, samples)
    found = LogMel(CONFIGS[name])(waveform)[0].numpy()
    expected = naive_logmel(waveform[0].double().numpy(), CONFIGS[name])
    assert found.shape == expected.shape == (CONFIGS[name].bands, samples // 160 + 1)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_filters_rise_and_fall_between_neighbours() -> None:
    filters = mel_filters(40, 512).numpy()
    assert filters.shape == (257, 40) and (filters >= 0).all() and (filters <= 1).all()
    peaks = filters.argmax(0)
    assert (np.diff(peaks) >= 1).all()
    assert (filters[0] == 0).all() and filters[-1].max() < 1e-6
    between = filters[peaks[0] + 1 : peaks[-1]].sum(1)  # neighbouring triangles add up to 1
    assert np.abs(between - 1).max() < 1e-5


def test_each_band_has_mean_0_and_variance_1() -> None:
    found = LogMel(LogMelConfig())(noise(3, 16_000))
    assert found.mean(2).abs().max() < 1e-5
    assert (found.var(2, unbiased=False) - 1).abs().max() < 1e-3


def test_a_band_that_does_not_change_becomes_zeros() -> None:
    assert normalise(torch.full((1, 5, 2), 7.0), 1e-5).abs().max() == 0
    assert LogMel(LogMelConfig())(torch.zeros(2, 8_000)).abs().max() < 1e-3


def test_loudness_does_not_matter() -> None:
    logmel, waveform = LogMel(LogMelConfig()), noise(1, 16_000)
    assert (logmel(waveform) - logmel(3 * waveform)).abs().max() < 1e-3


def test_a_batch_is_its_segments_one_by_one() -> None:
    logmel, waveform = LogMel(LogMelConfig()), noise(5, 8_000)
    alone = torch.cat([logmel(row[None]) for row in waveform])
    assert (logmel(waveform) - alone).abs().max() < 1e-5


def test_the_mirrored_ends_are_those_of_the_segment_itself() -> None:
    logmel = LogMel(LogMelConfig())
    waveform = noise(1, 8_000)
    assert (logmel(waveform.flip(1)).shape) == logmel(waveform).shape == (1, 40, 51)


def test_frames_are_computed_in_fp32_under_autocast() -> None:
    logmel, waveform = LogMel(LogMelConfig()), noise(2, 8_000)
    with torch.autocast("cpu", torch.bfloat16):
        found = logmel(waveform)
    assert found.dtype == torch.float32
    assert torch.equal(found, logmel(waveform))


@pytest.mark.parametrize("samples", [1, 100, 256])
def test_a_segment_too_short_to_be_mirrored_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match=rf"longer than 256 samples \(16 ms\); found {samples}. Remove"):
        LogMel(LogMelConfig())(torch.zeros(1, samples))


def test_it_has_nothing_to_learn_or_to_keep() -> None:
    assert not LogMel(LogMelConfig()).state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bands": 0}, "must be above 0"),
        ({"floor": 0.0}, "must be above 0"),
        ({"deviation_floor": -1.0}, "must be above 0"),
        ({"window_seconds": 0.1}, r"A window of 0.1 s has 1600 samples; expected 1 to transform_points = 512\."),
        ({"window_seconds": 0.0}, "has 0 samples"),
        ({"shift_seconds": 0.0}, "A shift of 0.0 s is less than a sample"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogMelConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("segments", "samples"), [(7, 32_000), (1, 200_000), (3, 170_000)])
def test_frames_of_many_parts_are_those_of_all_at_once(
    segments: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = noise(segments, samples)
    monkeypatch.setattr(logmel_module, "_FRAMES_AT_A_TIME", {"thread": 500, "threads": 500})
    found = LogMel(LogMelConfig()).frames(waveform)
    assert found.shape == (segments, samples // 160 + 1, 40)
    monkeypatch.setattr(logmel_module, "_FRAMES_AT_A_TIME", {"thread": 10**9, "threads": 10**9})
    assert (found - LogMel(LogMelConfig()).frames(waveform)).abs().max() < 1e-5


def test_a_gradient_goes_through_parts_as_through_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for most in (30, 10**9):
        monkeypatch.setattr(logmel_module, "_FRAMES_AT_A_TIME", {"thread": most, "threads": most})
        waveform = noise(2, 8_000).requires_grad_()
        LogMel(LogMelConfig())(waveform).square().mul(torch.arange(51)).sum().backward()
        gradients.append(waveform.grad)
    assert gradients[1].abs().max() > 0
    assert (gradients[0] - gradients[1]).abs().max() < 1e-4 * gradients[1].abs().max()
