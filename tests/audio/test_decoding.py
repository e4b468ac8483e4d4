"""Samples of audio files of every kind: bit for bit, to the nearest value, cut, mixed, and every way to be damaged."""

import io
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sslsv_tk import seeds
from sslsv_tk.audio import decoding, ffmpeg, headers, resampling
from sslsv_tk.audio.decoding import decode
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.audio.tally import Tally
from sslsv_tk.audio.waveforms import Source
from sslsv_tk.kaldi.tables import as_words

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def decoded(path: object, channel: resampling.Channel = "mix", seconds=None) -> NDArray[np.int16]:
    """The samples of one file, or the error that it gives."""
    ((row, found),) = decode([Source(str(path), channel, seconds)])
    assert row == 0
    if isinstance(found, UnreadableAudio):
        raise found
    assert found.dtype == np.int16 and found.ndim == 1
    return found


def speech_like(seconds: float, rate: int, channels: int = 1) -> NDArray[np.float64]:
    """Tones at 200, 700 and 1,900 Hz that swell and fade, another loudness in each channel; (samples, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (200, 700, 1900)) / 8
    swelling = tones * (1 + np.sin(2 * np.pi * 3 * time)) / 2
    return swelling[:, None] * np.linspace(1.0, 0.5, channels)


def encode(path: Path, waveform: NDArray[np.float64], rate: int, codec: str, *options: str) -> Path:
    """Write a file by ffmpeg."""
    source = path.with_name(f"{path.name}.source.wav")
    soundfile.write(source, waveform, rate, subtype="PCM_16")
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, "-c:a", codec, *options, path], check=True)
    source.unlink()
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_16_bit_audio_comes_out_bit_for_bit(tmp_path, write_audio, suffix):
    path = tmp_path / f"a.{suffix}"
    waveform = write_audio(path, 5000)
    np.testing.assert_array_equal(decoded(path), waveform)
    np.testing.assert_array_equal(decoded(path, seconds=(0.05, 0.25)), waveform[800:4000])


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_other_formats_are_rounded_to_the_nearest_16_bit_value(tmp_path, subtype):
    steps = np.array([-32768, -32767.6, -1.4, 0, 0.4, 0.6, 100.25, 32766.7, 32767])
    soundfile.write(tmp_path / "a.wav", steps / 32768, 16000, subtype=subtype)
    assert decoded(tmp_path / "a.wav").tolist() == [-32768, -32768, -1, 0, 0, 1, 100, 32767, 32767]


def test_samples_beyond_full_scale_are_limited(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([1.5, -1.5, 0.5]), 16000, subtype="FLOAT")
    assert decoded(tmp_path / "a.wav").tolist() == [32767, -32768, 16384]


def test_a_channel_is_taken_by_number_or_all_are_mixed(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "a.wav", channels=3)
    np.testing.assert_array_equal(decoded(tmp_path / "a.wav", channel=2), waveform[:, 1])
    mean = waveform.astype(np.float64).mean(axis=1)
    assert np.abs(decoded(tmp_path / "a.wav") - mean).max() <= 0.5 + 1e-3
    with pytest.raises(ValueError, match="channel 4 asked for, found 3"):
        decoded(tmp_path / "a.wav", channel=4)
    with pytest.raises(ValueError, match="channels count from 1; found 0"):
        Source("a.wav", channel=0)


def test_a_mixture_of_full_scale_channels_is_full_scale(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([[32767, 32767], [-32768, -32768], [32767, -32767]], np.int16), 16000)
    assert decoded(tmp_path / "a.wav").tolist() == [32767, -32768, 0]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_a_cut_of_another_rate_is_as_long_as_its_seconds(tmp_path, write_audio, rate):
    write_audio(tmp_path / "a.wav", rate, rate=rate)
    assert abs(len(decoded(tmp_path / "a.wav", seconds=(0.25, 0.5))) - 4000) <= 1


def test_a_long_file_is_read_in_blocks(tmp_path, write_audio, monkeypatch):
    monkeypatch.setattr("sslsv_tk.audio.waveforms._BLOCK", 700)
    waveform = write_audio(tmp_path / "a.wav", 5000, channels=2)
    np.testing.assert_array_equal(decoded(tmp_path / "a.wav", channel=1), waveform[:, 0])


def damaged_files(folder: Path, write_audio) -> None:
    """Every kind of file without usable samples."""
    write_audio(folder / "whole.wav", 5000)
    contents = (folder / "whole.wav").read_bytes()
    write_audio(folder / "whole.flac", 50000)
    packed = (folder / "whole.flac").read_bytes()
    for name, damaged in {
        "empty.wav": b"",
        "empty.m4a": b"",
        "cut.wav": contents[:-100],
        "header.wav": contents[:44],
        "half_header.wav": contents[:20],
        "garbage.wav": b"this is no audio" * 10,
        "text.m4a": b"this is no audio" * 10,
        "cut.flac": packed[: len(packed) // 2],
        "cut_early.flac": packed[:60],
    }.items():
        (folder / name).write_bytes(damaged)
    soundfile.write(folder / "none.wav", np.zeros(0, np.int16), 16000)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan, 0.5]), 16000, subtype="FLOAT")
    soundfile.write(folder / "infinite.wav", np.array([0.0, np.inf, 0.5]), 16000, subtype="DOUBLE")
    soundfile.write(folder / "nan_8k.wav", np.array([0.0, np.nan, 0.5]), 8000, subtype="FLOAT")
    (folder / "link.wav").symlink_to(folder / "nowhere")
    (folder / "folder.wav").mkdir()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.wav", "an empty file"),
        ("empty.m4a", "an empty file"),
        ("none.wav", "no samples"),
        ("cut.wav", "cut short: 100 bytes"),
        ("header.wav", "no samples|cut short"),
        ("half_header.wav", ""),
        ("garbage.wav", "Format not recognised"),
        ("text.m4a", "Format not recognised"),
        ("cut.flac", ""),
        ("cut_early.flac", ""),
        ("nan.wav", "NaN or infinite"),
        ("nan_8k.wav", "NaN or infinite"),
        ("infinite.wav", "NaN or infinite"),
        ("link.wav", "No such file"),
        ("missing.wav", "No such file"),
        ("missing.m4a", "No such file"),
        ("folder.wav", "Is a directory"),
    ],
)
def test_audio_without_usable_samples_is_named(tmp_path, write_audio, name, message):
    damaged_files(tmp_path, write_audio)
    with pytest.raises(UnreadableAudio, match=rf"/{name}: .*({message})") as caught:
        decoded(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_cut_beyond_the_end_is_unreadable(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 1600)
    for end in (0.6001, 5.0, 1e308):
        with pytest.raises(UnreadableAudio, match=r"a cut ends at .* s, more than 0\.5 s behind the file of 0\.1 s"):
            decoded(tmp_path / "a.wav", seconds=(0.0, end))
    for start in (0.1, 1e308):
        with pytest.raises(UnreadableAudio, match=r"a cut from .* has no samples in a file of 0\.1 s"):
            decoded(tmp_path / "a.wav", seconds=(start, np.inf))


@pytest.mark.parametrize("seconds", [0.1, 0.10004, 0.11, 0.6])
def test_a_cut_that_ends_up_to_half_a_second_behind_the_file_ends_with_it(tmp_path, write_audio, seconds):
    waveform, tally = write_audio(tmp_path / "a.wav", 1600), Tally()
    ((_, found),) = decode([Source(str(tmp_path / "a.wav"), seconds=(0.05, seconds))], tally)
    np.testing.assert_array_equal(found, waveform[800:])
    assert tally.notes["overshot"].utterances == (seconds > 0.1)


def test_nothing_comes_of_nothing():
    assert list(decode([])) == []


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize(
    ("suffix", "codec"), [("m4a", "aac"), ("mp3", "libmp3lame"), ("ogg", "libvorbis"), ("opus", "libopus")]
)
def test_encoded_audio_is_as_long_as_the_original_and_sounds_like_it(tmp_path, suffix, codec, rate, channels):
    if suffix == "opus" and rate == 44100:
        pytest.skip("opus has no 44.1 kHz")
    path = encode(tmp_path / f"a.{suffix}", speech_like(1.7, rate, channels), rate, codec)
    found = decoded(path)
    assert abs(len(found) / 16000 - 1.7) < 0.05
    assert abs(headers.read_header(str(path)).seconds - 1.7) < 0.05
    original = speech_like(1.7, 16000, channels).mean(axis=1)
    count = min(len(found), len(original))
    assert np.corrcoef(found[:count], original[:count])[0, 1] > 0.98, "another signal, or shifted in time"
    assert 0.9 < found[:count].std() / (32768 * original[:count].std()) < 1.1


@needs_ffmpeg
def test_real_speech_as_m4a_is_as_long_and_nearly_the_same(tmp_path, shared):
    source = sorted((shared / "data" / "speech").rglob("*.flac"))[0]
    original, _ = soundfile.read(source, dtype="int16")
    for rate in (16000, 44100, 48000):
        path = tmp_path / f"{rate}.m4a"
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", source, "-ar", str(rate), "-c:a", "aac", "-b:a", "96k", path], check=True
        )
        found = decoded(path)
        assert abs(len(found) - len(original)) < 800
        count = min(len(found), len(original))
        assert np.corrcoef(found[:count], original[:count])[0, 1] > 0.97


@needs_ffmpeg
def test_what_ffmpeg_decodes_is_what_it_writes_to_a_file_by_itself(tmp_path):
    path = encode(tmp_path / "a.m4a", speech_like(1.0, 16000), 16000, "aac")
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-c:a", "pcm_s16le", tmp_path / "a.wav"], check=True)
    alone, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    np.testing.assert_array_equal(decoded(path), alone[: len(decoded(path))])


@needs_ffmpeg
def test_many_kinds_come_out_in_order_with_few_processes(tmp_path, write_audio, monkeypatch):
    started = []
    run = ffmpeg._run
    monkeypatch.setattr(ffmpeg, "_run", lambda paths: started.append(len(paths)) or run(paths))
    monkeypatch.setattr(decoding, "_MOST_FILES", 4)
    paths = []
    for number in range(10):
        paths.append(encode(tmp_path / f"{number}.m4a", speech_like(0.2 + number / 10, 16000), 16000, "aac"))
        paths.append(tmp_path / f"{number}.wav")
        write_audio(paths[-1], 100 + number)
    found = list(decode(Source(str(path)) for path in paths))
    assert [row for row, _ in found] == list(range(20))
    assert [len(waveform) for _, waveform in found[1::2]] == [100 + number for number in range(10)]
    assert [round(len(waveform) / 1600) for _, waveform in found[::2]] == [2 + number for number in range(10)]
    assert started == [4, 4, 2]


@needs_ffmpeg
def test_a_batch_is_bounded_by_its_samples_and_a_file_of_several_cuts_is_decoded_once(tmp_path, monkeypatch):
    started = []
    run = ffmpeg._run
    monkeypatch.setattr(ffmpeg, "_run", lambda paths: started.append(len(paths)) or run(paths))
    monkeypatch.setattr(decoding, "_MOST_BYTES", 4 * 16000)
    paths = [encode(tmp_path / f"{n}.m4a", speech_like(0.6, 16000), 16000, "aac") for n in range(4)]
    cuts = [Source(str(path), seconds=(start, start + 0.1)) for path in paths for start in (0.0, 0.1, 0.2)]
    found = [waveform for _, waveform in decode(cuts)]
    whole = decoded(paths[0])
    assert started == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(found[:3]), whole[:4800])


@needs_ffmpeg
def test_samples_of_a_long_file_lie_in_a_temporary_file_and_are_the_same(tmp_path, monkeypatch):
    paths = [encode(tmp_path / f"{n}.m4a", speech_like(1 + n, 44100, 2), 44100, "aac") for n in range(2)]
    cuts = [Source(str(path), seconds=(start, start + 0.4)) for path in paths for start in (0.1, 0.5, 0.2)]
    sources = [*(Source(str(path)) for path in paths), *cuts]
    wanted = [waveform for _, waveform in decode(sources)]
    made, temporary_file = [], tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **words: made.append(words) or temporary_file(**words))
    monkeypatch.setattr(ffmpeg, "_MOST_IN_MEMORY", 500_000)
    found = [waveform for _, waveform in decode(sources)]
    assert len(made) == 1, "the shorter one, 350 kB, stays in memory"
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@needs_ffmpeg
def test_a_long_m4a_is_decoded_in_less_memory_than_its_samples_take(tmp_path):
    path = tmp_path / "long.m4a"
    words = ["-f", "lavfi", "-i", "sine=frequency=300:sample_rate=48000:duration=180", "-ac", "2", "-b:a", "64k"]
    subprocess.run(["ffmpeg", "-v", "error", *words, path], check=True)
    code = """
import resource, sys
from sslsv_tk.audio.decoding import Source, decode
taken = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (taken + 100_000_000, -1))
[(_, found)] = decode([Source(sys.argv[1])])
print(len(found) if hasattr(found, "dtype") else found)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{180 * 16000}\n", "138 MB of samples, of which at most 100 MB fit beside the libraries"


@needs_ffmpeg
def test_a_full_disk_of_temporary_files_is_the_error_of_that_disk_and_of_no_file_of_audio(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.m4a", speech_like(1.0, 16000), 16000, "aac")
    monkeypatch.setattr(ffmpeg, "_MOST_IN_MEMORY", 1000)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: io.FileIO("/dev/full", "w"))
    with pytest.raises(OSError, match="No space left on device") as error:
        decoded(path)
    assert error.value.filename == tempfile.gettempdir()


@needs_ffmpeg
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_damaged_file_does_not_harm_its_neighbours(tmp_path, place):
    paths = [encode(tmp_path / f"{n}.m4a", speech_like(0.5, 16000), 16000, "aac") for n in range(7)]
    whole = [waveform for _, waveform in decode(Source(str(path)) for path in paths)]
    contents = bytearray(paths[place].read_bytes())
    for name in (b"mp4a", b"esds"):
        begin = contents.index(name)
        contents[begin : begin + 4] = b"zzzz"
    paths[place].write_bytes(contents)
    found = [waveform for _, waveform in decode(Source(str(path)) for path in paths)]
    assert isinstance(found[place], UnreadableAudio)
    assert str(found[place]).startswith(f"{paths[place]}: ffmpeg: ")
    for number in set(range(7)) - {place}:
        np.testing.assert_array_equal(found[number], whole[number])


@needs_ffmpeg
def test_an_m4a_with_packets_overwritten_is_cut_short_or_says_what_ffmpeg_says(tmp_path):
    path = encode(tmp_path / "a.m4a", seeds.generator("noise").normal(size=(48000, 1)) / 10, 16000, "aac")
    contents = bytearray(path.read_bytes())
    begin = contents.index(b"mdat") + 400
    contents[begin : begin + 8000] = bytes(8000)
    path.write_bytes(contents)
    neighbour = encode(tmp_path / "b.m4a", speech_like(0.5, 16000), 16000, "aac")
    (_, bad), (_, good) = decode([Source(str(path)), Source(str(neighbour))])
    assert isinstance(bad, UnreadableAudio) and "cut short: " in str(bad) and "ffmpeg: " in str(bad)
    assert len(good) == 8000


@needs_ffmpeg
def test_a_format_that_libsndfile_does_not_know_is_left_to_ffmpeg(tmp_path):
    path = encode(tmp_path / "a.wma", speech_like(0.5, 16000), 16000, "wmav2")
    found = decoded(path)
    assert abs(len(found) - 8000) < 2048


@needs_ffmpeg
@pytest.mark.parametrize("name", ["-i.m4a", "a b'c.m4a", "http:x.m4a", "ü%d.m4a", "concat:a|b.m4a"])
def test_names_mean_nothing_to_ffmpeg_or_a_shell(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "x.m4a", speech_like(0.5, 16000), 16000, "aac").rename(tmp_path / name)
    assert len(decoded(name)) == 8000


def test_without_ffmpeg_the_first_file_that_needs_it_is_named(tmp_path, write_audio, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    decoding.check_programs(as_words(["a.wav", "b.flac"]))
    with pytest.raises(ValueError, match=r"b\.M4A: needs the program ffmpeg, .*apt-get install ffmpeg"):
        decoding.check_programs(as_words(["a.wav", "b.M4A"]))
    damaged_files(tmp_path, write_audio)
    with pytest.raises(UnreadableAudio, match=r"garbage\.wav: Format not recognised"):
        decoded(tmp_path / "garbage.wav")


def test_what_was_resampled_and_mixed_is_said_once_with_counts(tmp_path, write_audio, caplog):
    sources = []
    for number, (rate, channels) in enumerate([(16000, 1), (8000, 1), (8000, 2), (44100, 2), (16000, 4)]):
        write_audio(tmp_path / f"{number}.wav", 900, rate, channels)
        sources.append(Source(str(tmp_path / f"{number}.wav")))
    tally = Tally()
    assert all(isinstance(found, np.ndarray) for _, found in decode(sources, tally))
    with caplog.at_level(logging.INFO):
        tally.say()
        Tally().say()
    assert [record.message for record in caplog.records] == [
        "resampled to 16000 Hz: 2 from 8000 Hz, 1 from 44100 Hz; of 5 utterances",
        "mixed down to one channel: 2 with 2 channels, 1 with 4 channels; of 5 utterances",
        "2 of 5 utterances have samples beyond full scale, which were limited (121 samples in all);"
        f" the first is {tmp_path}/1.wav",
    ]


def write_ark(path: Path, waveforms: dict[str, NDArray[np.int16]], suffix: str, rate: int = 16000) -> dict[str, str]:
    """An ark of audio files as ESPnet writes it: key, space, file; returns path:offset by key."""
    places, contents = {}, b""
    for key, waveform in waveforms.items():
        soundfile.write(path.with_suffix(f".{suffix}"), waveform, rate, subtype="PCM_16")
        contents += f"{key} ".encode()
        places[key] = f"{path}:{len(contents)}"
        contents += path.with_suffix(f".{suffix}").read_bytes()
    path.write_bytes(contents)
    return places


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("rate", [16000, 8000])
def test_an_entry_of_an_ark_is_read_as_the_file_that_it_holds(tmp_path, suffix, rate):
    generator = seeds.generator(suffix, rate)
    waveforms = {f"u{n}": generator.integers(-9000, 9000, 3000 + 700 * n).astype(np.int16) for n in range(3)}
    for key, place in write_ark(tmp_path / "a.ark", waveforms, suffix, rate).items():
        alone = tmp_path / f"{key}.{suffix}"
        soundfile.write(alone, waveforms[key], rate, subtype="PCM_16")
        assert headers.read_header(place) == headers.read_header(str(alone))
        np.testing.assert_array_equal(decoded(place), decoded(alone))
        np.testing.assert_array_equal(decoded(place, seconds=(0.01, 0.1)), decoded(alone, seconds=(0.01, 0.1)))


@pytest.mark.parametrize("offset", [0, 1, 10**9])
def test_a_wrong_place_in_an_ark_is_unreadable(tmp_path, offset):
    write_ark(tmp_path / "a.ark", {"key": np.ones(500, np.int16)}, "wav")
    with pytest.raises(UnreadableAudio, match=rf"a\.ark:{offset}"):
        decoded(f"{tmp_path}/a.ark:{offset}")
    with pytest.raises(UnreadableAudio, match=r"gone\.ark:4: No such file"):
        decoded(f"{tmp_path}/gone.ark:4")


def test_a_pipe_or_a_device_in_place_of_a_file_is_unreadable_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    for path in (tmp_path / "a.wav", "/dev/zero"):
        with pytest.raises(UnreadableAudio, match="a pipe or a device, not a file"):
            decoded(path)
        with pytest.raises(UnreadableAudio, match="a pipe or a device, not a file"):
            headers.read_header(str(path))
