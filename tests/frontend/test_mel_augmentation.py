"""Augmented frames against sums written out, and against frames of waveforms that were augmented by the same draws."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from sslsv_tk.draws.augmentation import unit_gain
from sslsv_tk.frontend.augmentation import augment, to_float
from sslsv_tk.frontend.clips import ClipPool, PooledClips, ResponsePool
from sslsv_tk.frontend.logmel import LogMel, normalise
from sslsv_tk.frontend.mel_augmentation import (
    FramePool,
    MelAugmentation,
    convolve,
    decay,
    decays,
    noise_powers,
    powers,
)
from sslsv_tk.frontend.settings import LogMelConfig

LOGMEL = LogMel(LogMelConfig())
SAMPLES = 32_000


def coloured(samples: int, seed: int) -> NDArray[np.int16]:
    """Noise whose spectrum falls by 6 dB an octave, with a level that rises and falls several times a second."""
    draw = np.random.default_rng(seed)
    sound = np.convolve(draw.normal(size=samples + 200), 0.97 ** np.arange(200), "valid")[:samples]
    level = np.exp(1.5 * np.sin(2 * np.pi * (3 + draw.random()) * np.arange(samples) / 16_000 + 6 * draw.random()))
    return (sound * level * 3000 / np.abs(sound * level).std()).clip(-32768, 32767).astype(np.int16)


def response(seed: int, seconds: float = 0.5) -> NDArray[np.int16]:
    count = int(seconds * 16_000)
    draw = np.random.default_rng(seed).normal(size=count) * 10 ** (-3 * np.arange(count) / count)
    draw[0] += 3
    return (draw * 6000).clip(-32768, 32767).astype(np.int16)


def test_the_pool_of_frames_cuts_and_repeats() -> None:
    pool = FramePool([torch.arange(n, dtype=torch.float32)[:, None] + 100 * n for n in (3, 5)])
    assert pool.cut(torch.tensor([0, 1]), torch.tensor([2, 4]), 4)[:, :, 0].tolist() == [
        [302, 300, 301, 302],
        [504, 500, 501, 502],
    ]
    assert pool.whole(torch.tensor([0, 1]), 4)[:, :, 0].tolist() == [[300, 301, 302, 0], [500, 501, 502, 503]]


def test_the_convolution_is_that_of_sums() -> None:
    power, kernel = torch.rand(2, 30, 3), torch.rand(2, 12, 3)
    found = convolve(power, kernel)
    for row in range(2):
        for band in range(3):
            expected = np.convolve(power[row, :, band].numpy(), kernel[row, :, band].numpy())[:30]
            np.testing.assert_allclose(found[row, :, band].numpy(), expected, rtol=1e-5)


def test_quiet_frames_before_a_loud_one_stay_quiet() -> None:
    power = torch.full((1, 100, 1), 1e-9)
    power[0, 50] = 1e4
    found = convolve(power, torch.full((1, 20, 1), 1e-3))
    assert found[0, :50].max() < 1e-9 and found[0, 50].item() == pytest.approx(10, rel=1e-5)


def test_a_unit_impulse_is_ones_in_one_frame() -> None:
    impulse = np.zeros(400, np.int16)
    impulse[0] = 20_000
    found = decay(impulse, unit_gain(impulse), LOGMEL)
    assert found.shape == (3, 40)
    assert (found[0] - 1).abs().max() < 1e-4 and found[1:].abs().max() < 1e-6


def test_a_decay_has_the_mean_gain_of_the_response_in_each_band() -> None:
    """Against the transform of the whole response; all bands together have its energy, 1."""
    sound = response(3)
    found = decay(sound, unit_gain(sound), LOGMEL).sum(0)
    gains = np.abs(np.fft.rfft(sound.astype(np.float64) * unit_gain(sound), 1 << 14)) ** 2
    places = np.linspace(0, 256, len(gains))
    rows = LOGMEL.filters[::2].numpy()
    for band in range(8, 40):  # lower ones are narrower than the spectrum of a shift is sharp
        triangle = np.interp(places, np.arange(257), rows[:, band])
        assert found[band].item() == pytest.approx((gains * triangle).sum() / triangle.sum(), rel=0.25)
    assert found.mean().item() == pytest.approx(1, rel=0.1)


def test_what_gets_nothing_stays_as_it_is() -> None:
    frames = LOGMEL.frames(torch.from_numpy(np.stack([coloured(SAMPLES, 1)])).float() / 32768)
    made = MelAugmentation(LOGMEL, noise_powers([coloured(9000, 2)], LOGMEL), decays([response(1)], np.ones(1), LOGMEL))
    rows = torch.zeros(1, dtype=torch.int64)
    found = made(frames, rows - 1, (rows, rows, torch.tensor([torch.inf])))
    assert (found - frames).abs().max() < 1e-3


def test_short_noises_are_repeated() -> None:
    assert noise_powers([coloured(10, 1), coloured(257, 1)], LOGMEL).lengths.tolist() == [2, 2]


@dataclass
class Sounds:
    """Segments of 2 s, noises and responses."""

    segments: list[NDArray[np.int16]]
    noises: list[NDArray[np.int16]]
    responses: list[NDArray[np.int16]]


def both_ways(reverberates: bool, adds_noise: bool, sounds: Sounds) -> tuple[torch.Tensor, ...]:
    """Un-normalised frames: of augmented waveforms, augmented as frames by the same draws, and plain."""
    responses, rows = sounds.responses, torch.arange(len(sounds.segments))
    gains = np.array([unit_gain(one) for one in responses], np.float32)
    noise, start, reverb = rows % len(sounds.noises), rows * 160 * 40, rows % len(responses)
    snr = torch.tensor([5.0, 10.0])[rows % 2]
    segments = torch.from_numpy(np.stack(sounds.segments))
    lengths = np.array([len(responses[row]) for row in reverb.tolist()])
    pool = ClipPool(sounds.noises) if adds_noise else None
    clips = PooledClips(
        pool, noise, start % pool.lengths[noise] if pool else start, ResponsePool(responses, gains), reverb
    )
    waveform = augment(segments, clips, snr, lengths if reverberates else None)
    made = MelAugmentation(
        LOGMEL,
        noise_powers(sounds.noises, LOGMEL) if adds_noise else None,
        decays(responses, gains, LOGMEL) if reverberates else None,
    )
    plain = LOGMEL.frames(to_float(segments))
    return LOGMEL.frames(waveform), made(plain, reverb, (noise, clips.noise_start_B, snr)), plain


CASES = {"noise": (False, True), "reverberation": (True, False), "both": (True, True)}


@pytest.mark.parametrize("what", CASES)
def test_the_mean_is_that_of_augmented_waveforms(what: str) -> None:
    """Mean log-mel difference over 8 segments; and frames are nearer to the augmented ones than what came in."""
    segments, noises = [coloured(SAMPLES, 10 + n) for n in range(8)], [coloured(50_000, 50 + n) for n in range(3)]
    made = Sounds(segments, noises, [response(n, 0.2 + 0.1 * n) for n in range(4)])
    wanted, found, plain = both_ways(*CASES[what], made)
    assert abs((found - wanted).mean().item()) < 0.25
    assert (found - wanted).abs().mean() < 0.6 * (plain - wanted).abs().mean()
    ready = [normalise(frames, 1e-5) for frames in (wanted, found, plain)]
    assert (ready[1] - ready[0]).abs().mean() < 0.75 * (ready[2] - ready[0]).abs().mean()


def sounds_of(folder: Path, count: int, first: int = 0, least: int = 1, most: int = 10**6) -> list[NDArray[np.int16]]:
    """Some of the 16 kHz files of a folder, a stretch of each."""
    found: list[NDArray[np.int16]] = []
    for path in sorted(folder.rglob("*.flac")) + sorted(folder.rglob("*.wav")):
        sound, rate = soundfile.read(path, dtype="int16", always_2d=True)
        if rate == 16_000 and len(sound) >= first + least:
            found.append(sound[first : first + most, 0].copy())
        if len(found) == count:
            break
    assert len(found) == count
    return found


@pytest.mark.parametrize("what", CASES)
def test_the_mean_on_real_speech(shared: Path, what: str) -> None:
    data = shared / "data"
    segments = sounds_of(data / "speech", 16, 8_000, SAMPLES, SAMPLES)
    made = Sounds(segments, sounds_of(data / "musan", 6), sounds_of(data / "rirs", 8))
    wanted, found, plain = both_ways(*CASES[what], made)
    assert abs((found - wanted).mean().item()) < 0.3
    assert (found - wanted).abs().mean() < 0.5 * (plain - wanted).abs().mean()


def test_powers_of_silence_are_nothing() -> None:
    assert powers(torch.full((1, 2, 3), float(np.log(1e-6))), 1e-6).max() < 1e-12
