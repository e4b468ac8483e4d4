"""Samples that are limited, silent or cancel each other are counted; responses keep their shape at any scale."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from sslsv_tk import seeds
from sslsv_tk.audio.decoding import decode
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.audio.tally import Tally
from sslsv_tk.audio.waveforms import Source

RATE = 16000


def noise(samples: int = RATE, peak: float = 0.5, seed: int = 0) -> np.ndarray:
    found = seeds.generator("conversion", seed).normal(size=samples)
    return peak * found / np.abs(found).max()


def written(path, samples, subtype="FLOAT", rate=RATE, is_response=False) -> Source:
    soundfile.write(path, samples, rate, subtype=subtype)
    return Source(str(path), is_response=is_response)


def converted(*sources: Source) -> tuple[list, Tally]:
    tally = Tally()
    return [found for _, found in decode(sources, tally)], tally


def test_limited_samples_are_counted_and_said_once_with_the_first_file(tmp_path, caplog):
    hot, quiet = noise(peak=1.6), noise(peak=0.9)
    sources = [written(tmp_path / f"{n}.wav", samples) for n, samples in enumerate([quiet, hot, hot])]
    (_, first, _), tally = converted(*sources)
    beyond = int((np.abs(np.rint(hot.astype(np.float32) * 32768)) > 32768).sum())
    assert beyond > 0 and (np.abs(first.astype(int)) >= 32767).sum() >= beyond
    tally.say()
    assert [record.getMessage() for record in caplog.records] == [
        f"2 of 3 utterances have samples beyond full scale, which were limited ({2 * beyond} samples in all);"
        f" the first is {tmp_path}/1.wav"
    ]


def test_full_scale_itself_is_no_overload(tmp_path):
    _, tally = converted(written(tmp_path / "a.wav", np.array([1.0, -1.0, 0.5])))
    assert not tally.facts()["notes"]


def test_integers_stored_as_floats_are_refused_and_not_clipped(tmp_path):
    source = written(tmp_path / "a.wav", np.rint(noise() * 32767))
    ((found,), _) = converted(source)
    assert isinstance(found, UnreadableAudio)
    assert "floating-point samples up to 16384, where full scale is 1" in str(found)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
def test_nothing_but_zeros_is_said(tmp_path, subtype, caplog):
    (found, _), tally = converted(
        written(tmp_path / "a.wav", np.zeros(900), subtype), written(tmp_path / "b.wav", noise(), subtype)
    )
    assert len(found) == 900 and not found.any()
    tally.say()
    assert caplog.messages == [f"1 of 2 utterances have nothing but zeros in them; the first is {tmp_path}/a.wav"]


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("rest", [0.0, 0.004])
def test_channels_that_cancel_each_other_are_said_and_one_of_them_is_not_silent(tmp_path, subtype, rest, caplog):
    channels = np.stack([noise(), -noise() + rest * noise(seed=1)], 1)
    source = written(tmp_path / "a.wav", channels, subtype)
    (mean, single), tally = converted(source, Source(source.path, channel=1))
    assert np.abs(mean).max() < 0.01 * np.abs(single).max()
    tally.say()
    assert "1 of 2 utterances have channels that cancel each other, so that their mean is silent" in caplog.text
    assert "nothing but zeros" not in caplog.text


def test_channels_of_two_microphones_do_not_cancel(tmp_path):
    _, tally = converted(written(tmp_path / "a.wav", np.stack([noise(), noise(seed=1)], 1)))
    assert not tally.facts()["notes"]


def test_counts_of_parts_add_up_in_a_record(tmp_path):
    (_, tally), (_, other) = (converted(written(tmp_path / f"{n}.wav", noise(peak=2.0))) for n in "ab")
    whole = Tally()
    for part in (Tally(), tally, other):
        whole.add(part.facts())
    samples = tally.notes["limited"].samples
    assert vars(whole.notes["limited"]) == {"utterances": 2, "samples": 2 * samples, "first": f"{tmp_path}/a.wav"}


def response(seconds: float = 0.5, decay: float = 0.08) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    found = 0.3 * noise(len(time), peak=1.0) * np.exp(-time / decay)
    found[30] = 1.0
    return found


def error_of_shape(found: np.ndarray, wanted: np.ndarray) -> float:
    found = found.astype(float)
    return float(np.linalg.norm(found / np.linalg.norm(found) - wanted / np.linalg.norm(wanted)))


@pytest.mark.parametrize("peak", [100.0, 8.0, 1.0, 0.9, 1e-4, 1e-5, 1e-8])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_a_response_keeps_its_shape_whatever_its_scale(tmp_path, peak, subtype):
    ((found,), tally) = converted(written(tmp_path / "a.wav", peak * response(), subtype, is_response=True))
    assert np.abs(found.astype(int)).max() == 32767
    assert error_of_shape(found, response()) < 5e-4
    assert not tally.facts()["notes"]


def test_a_response_in_16_bits_stays_bit_for_bit(tmp_path):
    samples = np.rint(9000 * response()).astype(np.int16)
    ((found,), _) = converted(written(tmp_path / "a.wav", samples, "PCM_16", is_response=True))
    np.testing.assert_array_equal(found, samples)


def test_a_response_of_zeros_is_refused(tmp_path):
    ((found,), _) = converted(written(tmp_path / "a.wav", np.zeros(900), "PCM_16", is_response=True))
    assert isinstance(found, UnreadableAudio) and "a room response of nothing but zeros" in str(found)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_long_silent_tail_of_a_response_is_cut_off_and_said(tmp_path, subtype, caplog):
    whole = response(seconds=6.0, decay=0.5)
    ((found,), tally) = converted(written(tmp_path / "a.wav", whole, subtype, is_response=True))
    assert 2 * RATE < len(found) < 4 * RATE
    rest = np.square(whole[len(found) :]).sum() / np.square(whole).sum()
    assert rest < 1.1e-6 and error_of_shape(np.pad(found, (0, len(whole) - len(found))), whole) < 2e-3
    tally.say()
    assert "1 of 1 utterances have a tail 60 dB below the rest, which was cut off" in caplog.text


def test_up_to_two_seconds_a_response_stays_as_it_is(tmp_path):
    ((found,), tally) = converted(written(tmp_path / "a.wav", response(2.0, 0.02), is_response=True))
    assert len(found) == 2 * RATE and not tally.facts()["notes"]


def test_a_recording_is_no_response(tmp_path):
    ((found,), _) = converted(written(tmp_path / "a.wav", noise(60 * RATE), "PCM_16", is_response=True))
    assert isinstance(found, UnreadableAudio) and "60.0 s until it has decayed by 60 dB" in str(found)


_LITTLE_MEMORY = """
import resource, sys
from sslsv_tk.audio.decoding import decode
from sslsv_tk.audio.waveforms import Source
list(decode([Source(sys.argv[2])]))  # loads what is loaded late
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, -1))
for _, found in decode([Source(path) for path in sys.argv[1:]]):
    print(found if isinstance(found, Exception) else len(found))
"""


def test_a_file_too_long_for_the_memory_is_named_and_the_others_are_decoded(tmp_path):
    with soundfile.SoundFile(tmp_path / "long.flac", "w", RATE, 1, "PCM_16") as file:
        for _ in range(90):  # 1.5 hours of silence: a small file, 173 MB of samples
            file.write(np.zeros(60 * RATE, np.int16))
    short = written(tmp_path / "b.wav", noise())
    words = [sys.executable, "-c", _LITTLE_MEMORY, tmp_path / "long.flac", short.path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/long.flac: too long for the memory of this machine") and second == str(RATE)
