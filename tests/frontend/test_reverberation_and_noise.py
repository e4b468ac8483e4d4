"""Reverberation against a direct convolution, noise against the level asked for, clips against the arks."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.arks.audio_archive import AudioArchive, write_pcm_ark
from sslsv_tk.draws.augmentation import AugmentationConfig, ClipList
from sslsv_tk.frontend.augmentation import POWER_FLOOR, add_noise, to_float
from sslsv_tk.frontend.clips import ClipPool
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.logmel import LogMel
from sslsv_tk.frontend.reverberation import fast_length, reverberate
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.kaldi import tables


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# reverberation


@pytest.mark.parametrize("response_samples", [1, 7, 300, 1000, 1700])
def test_reverberation_is_a_convolution_cut_to_the_segment(response_samples: int) -> None:
    waveform, response = draw(3, 1000), draw(3, response_samples, seed=1)
    found = reverberate(waveform, response).numpy()
    assert found.shape == (3, 1000)
    for row in range(3):
        whole = response[row].double().numpy()
        whole /= np.sqrt((whole**2).sum())
        expected = scipy.signal.convolve(waveform[row].double().numpy(), whole, method="direct")[:1000]
        assert np.abs(found[row] - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_response_has_unit_energy() -> None:
    impulse = torch.zeros(1, 500)
    impulse[0, 0] = 1.0
    found = reverberate(impulse, 40.0 * draw(1, 200))
    assert found.square().sum().item() == pytest.approx(1.0, rel=1e-5)
    assert found[0, 200:].abs().max() < 1e-6


def test_a_unit_impulse_changes_nothing() -> None:
    waveform = draw(2, 4000)
    impulse = torch.zeros(2, 100, dtype=torch.int16)
    impulse[:, 0] = 32767
    assert (reverberate(waveform, to_float(impulse)) - waveform).abs().max() < 1e-6


def test_a_delayed_impulse_delays() -> None:
    waveform, response = draw(1, 100), torch.zeros(1, 30)
    response[0, 10] = 0.5
    found = reverberate(waveform, response)
    assert found[0, :10].abs().max() < 1e-6
    assert (found[0, 10:] - waveform[0, :90]).abs().max() < 1e-6


def test_a_silent_response_gives_silence() -> None:
    assert reverberate(draw(1, 100), torch.zeros(1, 30)).abs().max() == 0


def test_reverberation_of_a_batch_is_that_of_each_segment() -> None:
    waveform, response = draw(4, 900), draw(4, 321, seed=1)
    alone = torch.cat([reverberate(waveform[i : i + 1], response[i : i + 1]) for i in range(4)])
    assert (reverberate(waveform, response) - alone).abs().max() < 1e-6


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 1000, 47_999, 48_000, 48_001, 95_999])
def test_the_fast_length_is_the_smallest_of_its_form(samples: int) -> None:
    forms = {2**a * 3**b * 5**c for a in range(20) for b in range(3) for c in range(4)}
    assert fast_length(samples) == min(form for form in forms if form >= samples)


# noise


@pytest.mark.parametrize("floor", [1e-4, 1e-10])
@pytest.mark.parametrize("decibels", [-5.0, 0.0, 7.5, 20.0])
def test_the_level_is_the_one_asked_for(decibels: float, floor: float) -> None:
    waveform, noise = draw(2, 8000), 3 * draw(2, 8000, seed=1)
    added = add_noise(waveform, noise, torch.tensor([decibels, decibels + 3.0]), power_floor=floor) - waveform
    for row, wanted in enumerate((decibels, decibels + 3.0)):  # the floor is on both powers, before the gain
        gain_squared = added[row].square().mean() / noise[row].square().mean()
        ratio = (waveform[row].square().mean() + floor) / (gain_squared * (noise[row].square().mean() + floor))
        assert 10 * ratio.log10().item() == pytest.approx(wanted, abs=1e-3)
        assert torch.allclose(added[row], gain_squared.sqrt() * noise[row], atol=1e-6)


@pytest.mark.parametrize(("floor", "measured"), [(None, 10.0), (1e-4, -10.04)])
def test_quiet_speech_gets_the_level_asked_for_unless_the_floor_is_the_authors(
    floor: float | None, measured: float
) -> None:
    """Speech at -60 dBFS and loud noise, 10 dB asked for."""
    speech, noise = draw(1, 16_000), draw(1, 16_000, seed=1)
    speech *= 1e-3 / speech.square().mean().sqrt()
    front_end = FrontEnd(LogMelConfig(), "waveform", **({} if floor is None else {"power_floor": floor}))
    added = front_end(speech, noise, torch.tensor([10.0])) - speech
    found = 10 * (speech.square().mean() / added.square().mean()).log10().item()
    assert found == pytest.approx(measured, abs=0.05)


def test_the_floor_of_a_configuration_is_that_of_the_front_end() -> None:
    assert AugmentationConfig().power_floor == POWER_FLOOR


def test_the_level_of_loud_signals_is_the_plain_ratio_of_powers() -> None:
    waveform, noise = 5 * draw(1, 8000), 5 * draw(1, 8000, seed=1)
    added = add_noise(waveform, noise, torch.tensor([10.0])) - waveform
    measured = 10 * (waveform.square().mean() / added.square().mean()).log10().item()
    assert measured == pytest.approx(10.0, abs=0.01)


def test_an_infinite_level_adds_exactly_nothing() -> None:
    waveform, noise = draw(3, 500), draw(3, 500, seed=1)
    found = add_noise(waveform, noise, torch.tensor([torch.inf, 5.0, torch.inf]))
    assert torch.equal(found[0], waveform[0]) and torch.equal(found[2], waveform[2])
    assert not torch.equal(found[1], waveform[1])


def test_silence_stays_finite() -> None:
    for signal, noise in ((torch.zeros(1, 100), draw(1, 100)), (draw(1, 100), torch.zeros(1, 100))):
        assert add_noise(signal, noise, torch.tensor([0.0])).isfinite().all()


# clips


@pytest.fixture
def clips(tmp_path: Path) -> ClipList:
    """Clips of 3 to 400 samples in two folders of packed audio."""
    archives = []
    for name, lengths in (("a", (400, 3, 57)), ("b", (120, 1))):
        folder = tmp_path / name
        folder.mkdir()
        waveforms = [(np.arange(n) * 7 - 50 * n).astype(np.int16) for n in lengths]
        keys = [f"{name}{i}" for i in range(len(lengths))]
        pairs = zip(keys, waveforms, strict=True)
        write_pcm_ark(pairs, folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
        tables.write_table(folder / "utt2spk", keys, keys)
        archives.append(AudioArchive(folder))
    return ClipList(archives)


def pool_of(clips: ClipList) -> ClipPool:
    return ClipPool([clips.read_looped(row, 0, int(n)) for row, n in enumerate(clips.samples)])


def cut_one_by_one(clips: ClipList, rows: list[int], starts: list[int], count: int) -> NDArray[np.int16]:
    return np.stack([clips.read_looped(row, start, count) for row, start in zip(rows, starts, strict=True)])


@pytest.mark.parametrize("count", [1, 50, 120, 1000])
def test_a_cut_on_the_device_is_the_one_that_the_loader_reads(clips: ClipList, count: int) -> None:
    rows, starts = [0, 0, 1, 2, 3, 4, 3], [0, 399, 2, 30, 60, 0, 119]
    found = pool_of(clips).cut(torch.tensor(rows), torch.tensor(starts), count)
    assert found.dtype == torch.int16
    assert (found.numpy() == cut_one_by_one(clips, rows, starts, count)).all()


@pytest.mark.parametrize("count", [1, 57, 400, 500])
def test_a_whole_clip_on_the_device_is_the_one_that_the_loader_reads(clips: ClipList, count: int) -> None:
    rows = [-1, 0, 4, 2, -1, 1, 3]
    found = pool_of(clips).whole(torch.tensor(rows), count)
    assert found.dtype == torch.int16
    assert (found.numpy() == np.stack([clips.read_padded(row, count) for row in rows])).all()


def test_no_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one noise or room response, found none"):
        ClipPool([])


# all together


def test_the_front_end_reverberates_then_adds_noise_then_makes_frames() -> None:
    segment = (draw(2, 16_000) * 32768).short()
    noise, response = (draw(2, 16_000, seed=1) * 32768).short(), (draw(2, 800, seed=2) * 32768).short()
    snr = torch.tensor([5.0, torch.inf])
    waveform = reverberate(segment.float() / 32768, response.float() / 32768)
    waveform = add_noise(waveform, noise.float() / 32768, snr)
    found = FrontEnd(LogMelConfig(), "waveform")(segment, noise, snr, response)
    assert (found - waveform).abs().max() < 1e-6
    expected = LogMel(LogMelConfig())(found)
    assert torch.equal(FrontEnd(LogMelConfig())(segment, noise, snr, response), expected)


def test_a_waveform_without_augmentation_comes_out_as_it_went_in() -> None:
    segment = torch.tensor([[-32768, -1, 0, 1, 32767]], dtype=torch.int16)
    found = FrontEnd(LogMelConfig(), "waveform")(segment)
    assert found.tolist() == [[-1.0, -1 / 32768, 0.0, 1 / 32768, 32767 / 32768]]
    assert FrontEnd(LogMelConfig(), "waveform")(found) is found


def test_the_front_end_keeps_no_gradient() -> None:
    waveform = draw(1, 1000).requires_grad_()
    assert not FrontEnd(LogMelConfig())(waveform).requires_grad
