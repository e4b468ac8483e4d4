"""The physics of the generated voices and channels, and that both survive normalisation."""

import dataclasses
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy import signal as filters

from sslsv_tk import config, logs

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "egs" / "voxceleb" / "local"))

import make_mini_corpus
import mfcc_baseline
from mini import channel, synthesis, voice
from mini.options import CorpusOptions


def some_voice(**changes: object) -> voice.Speaker:
    speaker = voice.draw_speaker(CorpusOptions(), True, np.random.default_rng(0))
    return dataclasses.replace(speaker, **changes)  # type: ignore[arg-type]


def test_frames_of_the_synthesis_add_up_to_the_source() -> None:
    source = np.random.default_rng(1).standard_normal(4800).astype(np.float32)
    frames = synthesis._frames(source, 31)
    rebuilt = synthesis._overlap(synthesis.fft.irfft(frames, 640, axis=1), 4800)
    assert np.allclose(rebuilt, source, atol=1e-5)


def test_formants_are_resonators_in_cascade() -> None:
    hertz, widths = np.array([[500.0, 1500.0]]), np.array([300.0, 400.0])  # wide: they decay within the 40 ms
    impulse = np.zeros(640)
    impulse[0] = 1.0
    for f, b in zip(hertz[0], widths, strict=True):
        r = np.exp(-np.pi * b / 16000)
        a = [1.0, -2 * r * np.cos(2 * np.pi * f / 16000), r * r]
        impulse = filters.lfilter([sum(a)], a, impulse)
    assert np.allclose(np.fft.irfft(synthesis._formants(hertz, widths)[0], 640), impulse, atol=1e-5)


@pytest.mark.parametrize("hertz", [90.0, 120.0, 210.0])
def test_the_glottis_pulses_at_the_pitch_and_its_flow_has_no_offset(hertz: float) -> None:
    speaker = some_voice(jitter=0.0, open_quotient=0.6)
    pulses, opening = synthesis._glottis(speaker, np.full(1000, hertz), np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(pulses))
    assert np.argmax(spectrum[10:]) + 10 == pytest.approx(hertz, abs=1)
    assert spectrum[0] < 0.02 * spectrum.max()
    assert np.mean(opening == 1.0) == pytest.approx(0.6, abs=0.01)


def test_the_pitch_has_the_speakers_median_and_falls_along_the_phrase() -> None:
    speaker = some_voice(declination=6.0, accent_semitones=0.0, final_semitones=0.0, pitch_hz=120.0)
    timeline = voice.Timeline(np.array([1]), np.array([2.0]), np.zeros(1), np.zeros(1, dtype=int))
    pitch = synthesis._pitch(speaker, timeline, np.zeros(2000, dtype=int), 2000, np.random.default_rng(0))
    semitones = 12 * np.log2(pitch / 120.0)
    slope, start = np.polyfit(np.arange(2000) / 1000, semitones, 1)
    assert slope == pytest.approx(-6.0, abs=0.6) and start == pytest.approx(0.0, abs=0.6)


def test_a_session_changes_the_voice_little_and_nothing_that_has_no_spread() -> None:
    options = CorpusOptions()
    speaker = voice.draw_speaker(options, False, np.random.default_rng(3))
    other = voice.in_session(speaker, options, np.random.default_rng(4))
    spread = np.std(np.log(other.formants_hz / speaker.formants_hz))
    assert spread == pytest.approx(options.session_formant_relative_spread, rel=0.15)
    still = config.load(
        CorpusOptions,
        overrides=[
            "session_pitch_semitones_spread=0",
            "session_rate_relative_spread=0",
            "session_formant_relative_spread=0",
            "session_tilt_db_spread=0",
        ],
    )
    same = voice.in_session(speaker, still, np.random.default_rng(4))
    assert same.pitch_hz == speaker.pitch_hz and same.tilt_db == speaker.tilt_db
    assert np.array_equal(same.formants_hz, speaker.formants_hz) and np.array_equal(same.seconds, speaker.seconds)


def test_spreads_between_speakers_are_those_asked_for() -> None:
    options = config.load(CorpusOptions, overrides=["formant_relative_spread=0.03", "pitch_relative_spread=0.2"])
    voices = [voice.draw_speaker(options, True, np.random.default_rng(k)) for k in range(300)]
    assert np.std(np.log([v.pitch_hz for v in voices])) == pytest.approx(0.2, rel=0.15)
    own = np.log([v.formants_hz * v.tract for v in voices])
    assert np.allclose(own.std(axis=0).mean(), 0.03, rtol=0.05)


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_a_room_falls_by_60_decibels_in_its_time_and_has_the_direct_part_asked_for(seconds: float) -> None:
    response = channel.room_response(seconds, 6.0, np.random.default_rng(2))
    assert np.sum(response**2) == pytest.approx(1.0)
    assert 10 * np.log10(response[0] ** 2 / np.sum(response[1:] ** 2)) == pytest.approx(6.0, abs=0.01)
    tail = response[round(0.06 * 16000) :] ** 2  # after the early reflections
    remaining = 10 * np.log10(np.cumsum(tail[::-1])[::-1])
    time_s = np.arange(tail.size) / 16000
    steady = time_s < 0.5 * (seconds - 0.06)
    assert -60 / np.polyfit(time_s[steady], remaining[steady], 1)[0] == pytest.approx(seconds, rel=0.15)


def plain_channel(**changes: object) -> channel.Channel:
    quiet = channel.Noise(0.0, np.zeros(6), 0.0, 0.0, 0.0, 1.0)
    defaults: dict[str, object] = {
        "response": np.array([1.0]),
        "noises": (quiet, quiet),
        "snr_db": 90.0,
        "low_cut_hz": 0.01,
        "high_cut_hz": 8000.0,
        "equaliser_db": np.zeros(6),
        "equaliser_slope": 0.0,
        "mu_law": False,
        "bits": 0,
        "level_db": -20.0,
    }
    return channel.Channel(**{**defaults, **changes})  # type: ignore[arg-type]


def test_a_transparent_channel_only_sets_the_level() -> None:
    speech = filters.lfilter([1.0], [1.0, -0.9], np.random.default_rng(0).standard_normal(16000))
    speech /= np.sqrt(np.mean(speech**2))
    recorded = channel.record(plain_channel(), speech, np.random.default_rng(1)) / 32768
    assert 20 * np.log10(np.sqrt(np.mean(recorded**2))) == pytest.approx(-20.0, abs=0.05)
    assert np.corrcoef(recorded, speech)[0, 1] > 0.999


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_the_noise_floor_is_at_the_ratio_asked_for(snr_db: float) -> None:
    tone = np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000)
    recorded = channel.record(plain_channel(snr_db=snr_db), tone, np.random.default_rng(1)).astype(float)
    power = np.abs(np.fft.rfft(recorded)) ** 2
    at_tone = power[1999:2002].sum()
    assert 10 * np.log10(at_tone / (power.sum() - at_tone)) == pytest.approx(snr_db, abs=0.3)


def test_band_limits_hold() -> None:
    noise = np.random.default_rng(0).standard_normal(64000)
    recorded = channel.record(plain_channel(low_cut_hz=200.0, high_cut_hz=4000.0), noise, np.random.default_rng(1))
    hertz, power = filters.welch(recorded.astype(float), 16000, nperseg=2048)
    middle = power[(hertz > 1000) & (hertz < 2000)].mean()
    assert 10 * np.log10(power[hertz > 6000].mean() / middle) < -25
    assert 10 * np.log10(power[(hertz > 10) & (hertz < 50)].mean() / middle) < -20


@pytest.mark.parametrize("mu_law", [False, True])
def test_the_coder_leaves_as_many_values_as_its_bits_allow(mu_law: bool) -> None:
    speech = np.random.default_rng(0).standard_normal(32000)
    coded = channel._coder(plain_channel(mu_law=mu_law, bits=6), speech)
    assert 20 < np.unique(coded).size <= 2**6 + 1
    assert np.corrcoef(coded, speech)[0, 1] > 0.98
    steps = np.diff(np.unique(coded))
    assert (steps.max() > 4 * steps.min()) == mu_law


def test_noise_has_its_slope_and_its_modulation() -> None:
    steady = channel.Noise(-6.0, np.zeros(6), 0.0, 0.0, 0.0, 1.0)
    pulsing = channel.Noise(0.0, np.zeros(6), 0.0, 0.0, 0.9, 2.0)
    hertz, power = filters.welch(channel.make_noise(steady, 160000, np.random.default_rng(0)), 16000, nperseg=4096)
    inside = (hertz > 100) & (hertz < 7000)
    assert np.polyfit(np.log2(hertz[inside]), 10 * np.log10(power[inside]), 1)[0] == pytest.approx(-6.0, abs=0.3)

    def levels(noise: channel.Noise) -> np.ndarray:
        blocks = channel.make_noise(noise, 160000, np.random.default_rng(0)).reshape(-1, 800)
        return 10 * np.log10(np.mean(blocks**2, axis=1))

    flat = channel.Noise(0.0, np.zeros(6), 0.0, 0.0, 0.0, 2.0)
    assert np.std(levels(flat)) < 0.5 and np.std(levels(pulsing)) > 5.0


def test_hum_stands_out_at_its_frequency() -> None:
    humming = channel.Noise(0.0, np.zeros(6), 100.0, 0.0, 0.0, 1.0)
    spectrum = np.abs(np.fft.rfft(channel.make_noise(humming, 16000, np.random.default_rng(0))))
    assert np.argmax(spectrum) == 100


def test_voice_and_recording_both_survive_normalisation(tmp_path: Path) -> None:
    """Movements of normalised log-mels are most alike within a recording, less within a speaker, least across."""
    options = ["--tiny", "true", "--jobs", "1", "--set", "training_speakers=8", "--set", "test_speakers=2"]
    assert logs.run_command(make_mini_corpus.main, ["--out", str(tmp_path / "c"), *options]) == 0
    paths = sorted((tmp_path / "c" / "voxceleb2").rglob("*.wav"))
    moves = np.array([normalised_movements(path) for path in paths])
    moves = (moves - moves.mean(axis=0)) / moves.std(axis=0)
    unit = moves / np.linalg.norm(moves, axis=1, keepdims=True)
    likeness = unit @ unit.T
    speaker, recording = (np.array([path.parts[-back] for path in paths]) for back in (3, 2))
    same_recording = recording[:, None] == recording
    same_speaker = (speaker[:, None] == speaker) & ~same_recording
    upper = np.triu(np.ones_like(same_recording), 1)
    within = likeness[same_recording & upper].mean()
    across = likeness[same_speaker & upper].mean()
    others = likeness[~same_recording & ~same_speaker & upper].mean()
    assert within > across + 0.1 and across > others + 0.1


def normalised_movements(path: Path) -> np.ndarray:
    """Covariance of cepstra and their differences over 40 ms, after mean and variance of each band are removed."""
    with wave.open(str(path)) as stream:
        samples = np.frombuffer(stream.readframes(stream.getnframes()), dtype="<i2") / 32768
    windows = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160] * np.hamming(400)
    bands = np.log(np.abs(np.fft.rfft(windows, 512)) ** 2 @ mfcc_baseline.mel_weights().T + 1e-6)
    bands = (bands - bands.mean(axis=0)) / (bands.std(axis=0) + 1e-6)
    cepstra = mfcc_baseline.fft.dct(bands, norm="ortho", axis=1)[:, :16]
    both = np.concatenate([cepstra[2:-2], cepstra[4:] - cepstra[:-4]], axis=1)
    return np.cov(both.T)[np.triu_indices(32)]
