"""Headers and samples of audio files, sound and damaged ones."""

import numpy as np
import pytest
import soundfile

from sslsv_tk.data import decoding
from sslsv_tk.data.decoding import UnreadableAudio, read_header, read_pcm16


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_16_bit_audio_comes_out_bit_for_bit(tmp_path, write_audio, suffix):
    waveform = write_audio(tmp_path / f"a.{suffix}", 5000)
    np.testing.assert_array_equal(read_pcm16(str(tmp_path / f"a.{suffix}")), waveform)
    np.testing.assert_array_equal(read_pcm16(str(tmp_path / f"a.{suffix}"), seconds=(0.05, 0.25)), waveform[800:4000])
    assert read_header(str(tmp_path / f"a.{suffix}")).seconds == 5000 / 16000


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_other_formats_are_rounded_to_the_nearest_16_bit_value(tmp_path, subtype):
    steps = np.array([-32768, -32767.6, -1.4, 0, 0.4, 0.6, 100.25, 32766.7, 32767])
    soundfile.write(tmp_path / "a.wav", steps / 32768, 16000, subtype=subtype)
    assert read_pcm16(str(tmp_path / "a.wav")).tolist() == [-32768, -32768, -1, 0, 0, 1, 100, 32767, 32767]


def test_samples_beyond_full_scale_are_limited(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([1.5, -1.5, 0.5]), 16000, subtype="FLOAT")
    assert read_pcm16(str(tmp_path / "a.wav")).tolist() == [32767, -32768, 16384]


def test_a_channel_is_taken_by_number_and_never_guessed(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "a.wav", channels=3)
    np.testing.assert_array_equal(read_pcm16(str(tmp_path / "a.wav"), channel=2), waveform[:, 1])
    with pytest.raises(ValueError, match=r"a\.wav: expected 16000 Hz mono, found 16000 Hz, 3 channel"):
        read_pcm16(str(tmp_path / "a.wav"))
    with pytest.raises(ValueError, match="channel 4 asked for, found 3"):
        read_pcm16(str(tmp_path / "a.wav"), channel=4)


def test_another_rate_is_an_error_and_not_a_damaged_file(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", rate=8000)
    with pytest.raises(ValueError, match=r"a\.wav: expected 16000 Hz mono, found 8000 Hz") as caught:
        read_pcm16(str(tmp_path / "a.wav"))
    assert not isinstance(caught.value, UnreadableAudio)


def damaged_files(folder, write_audio):
    """Every kind of file without usable samples, by what the message must say."""
    write_audio(folder / "whole.wav", 5000)
    contents = (folder / "whole.wav").read_bytes()
    write_audio(folder / "whole.flac", 50000)
    packed = (folder / "whole.flac").read_bytes()
    for name, damaged in {
        "empty.wav": b"",
        "cut.wav": contents[:-100],
        "header.wav": contents[:44],
        "half_header.wav": contents[:20],
        "garbage.wav": b"this is no audio" * 10,
        "cut.flac": packed[: len(packed) // 2],
        "cut_early.flac": packed[:60],
    }.items():
        (folder / name).write_bytes(damaged)
    soundfile.write(folder / "none.wav", np.zeros(0, np.int16), 16000)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan, 0.5]), 16000, subtype="FLOAT")
    soundfile.write(folder / "infinite.wav", np.array([0.0, np.inf, 0.5]), 16000, subtype="DOUBLE")
    (folder / "link.wav").symlink_to(folder / "nowhere")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.wav", "an empty file"),
        ("none.wav", "no samples"),
        ("cut.wav", "cut short: 100 bytes"),
        ("header.wav", "no samples|cut short"),
        ("half_header.wav", ""),
        ("garbage.wav", ""),
        ("cut.flac", ""),
        ("cut_early.flac", ""),
        ("nan.wav", "NaN or infinite"),
        ("infinite.wav", "NaN or infinite"),
        ("link.wav", "No such file"),
        ("missing.wav", "No such file"),
    ],
)
def test_audio_without_usable_samples_is_named(tmp_path, write_audio, name, message):
    damaged_files(tmp_path, write_audio)
    with pytest.raises(UnreadableAudio, match=rf"/{name}: .*({message})"):
        read_pcm16(str(tmp_path / name))


def test_a_folder_in_place_of_a_file_is_unreadable(tmp_path):
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(UnreadableAudio, match=r"a\.wav: "):
        read_pcm16(str(tmp_path / "a.wav"))


def test_a_header_of_a_pipe_without_length_is_no_truncation(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "a.wav", 500)
    contents = bytearray((tmp_path / "a.wav").read_bytes())
    contents[4:8] = contents[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(contents)
    np.testing.assert_array_equal(read_pcm16(str(tmp_path / "a.wav")), waveform)


def test_chunks_before_the_samples_are_passed_over(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "a.wav", 500)
    contents = (tmp_path / "a.wav").read_bytes()
    chunk = b"LIST" + (5).to_bytes(4, "little") + b"hello\0"
    riff_size = (len(contents) + len(chunk) - 8).to_bytes(4, "little")
    whole = b"RIFF" + riff_size + contents[8:36] + chunk + contents[36:]
    (tmp_path / "a.wav").write_bytes(whole)
    np.testing.assert_array_equal(read_pcm16(str(tmp_path / "a.wav")), waveform)
    (tmp_path / "a.wav").write_bytes(whole[:-10])
    with pytest.raises(UnreadableAudio, match="cut short: 10 bytes"):
        read_header(str(tmp_path / "a.wav"))


def test_a_cut_beyond_the_end_is_unreadable(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 1600)
    with pytest.raises(UnreadableAudio, match="ends at sample 3200, but the file has 1600"):
        read_pcm16(str(tmp_path / "a.wav"), seconds=(0.0, 0.2))


def test_many_headers_are_read_by_processes_in_order(tmp_path, write_audio, monkeypatch):
    monkeypatch.setattr(decoding, "_FEW", 3)
    paths = []
    for number in range(10):
        paths.append(str(tmp_path / f"{number}.wav"))
        write_audio(tmp_path / f"{number}.wav", 100 + number)
    (tmp_path / "5.wav").write_bytes(b"")
    found = list(decoding.read_headers(paths))
    assert isinstance(found[5], UnreadableAudio) and "5.wav: an empty file" in str(found[5])
    assert [header.samples for header in found if isinstance(header, decoding.Header)] == [
        100 + number for number in range(10) if number != 5
    ]
