"""Files of every container that libsndfile writes: read whole, and refused wherever they are cut."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sslsv_tk import seeds
from sslsv_tk.audio import headers, wav
from sslsv_tk.audio.decoding import decode
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.audio.waveforms import Source

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
RATE = 16000
KINDS = [
    ("WAV", "PCM_16", "LITTLE"),
    ("WAV", "PCM_16", "BIG"),
    ("WAV", "FLOAT", "FILE"),
    ("WAVEX", "PCM_24", "FILE"),
    ("RF64", "PCM_16", "FILE"),
    ("W64", "PCM_16", "FILE"),
    ("AIFF", "PCM_16", "FILE"),
    ("AU", "PCM_16", "FILE"),
    ("AU", "PCM_16", "LITTLE"),
    ("CAF", "PCM_16", "FILE"),
    ("NIST", "PCM_16", "FILE"),
    ("NIST", "ULAW", "FILE"),
    ("FLAC", "PCM_16", "FILE"),
    ("OGG", "VORBIS", "FILE"),
    ("OGG", "OPUS", "FILE"),
    ("MP3", "MPEG_LAYER_III", "FILE"),
]


def sound(samples: int = 4 * RATE, seed: int = 0) -> np.ndarray:
    return seeds.generator("whole", seed).normal(size=samples) / 10


def read(path: Path) -> np.ndarray:
    """The samples of a file, or the error that it gives; a header that says another length is an error of ours."""
    header = headers.read_header(str(path))
    ((_, found),) = decode([Source(str(path))])
    if isinstance(found, UnreadableAudio):
        raise found
    assert abs(len(found) - header.samples * RATE / header.rate_hz) <= 1
    return found


@pytest.mark.parametrize(("kind", "subtype", "order"), KINDS)
def test_a_file_is_read_whole_and_refused_wherever_it_is_cut(tmp_path, kind, subtype, order):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    soundfile.write(whole, sound(), RATE, format=kind, subtype=subtype, endian=order)
    assert len(read(whole)) == 4 * RATE
    contents = whole.read_bytes()
    for size in {len(contents) * part // 16 for part in range(1, 16)} | {len(contents) - 1, len(contents) - 2}:
        cut.write_bytes(contents[:size])
        with pytest.raises(UnreadableAudio) as caught:
            read(cut)
        assert "cut short" in str(caught.value) or size < len(contents) // 2 or kind == "FLAC", (
            f"{size}: {caught.value}"
        )
        ((_, found),) = decode([Source(str(cut))])
        assert isinstance(found, UnreadableAudio), "taken where nobody read its header before"


@pytest.mark.parametrize(("kind", "subtype", "order"), [found for found in KINDS if found[0] not in ("OGG", "MP3")])
def test_bytes_behind_the_samples_are_never_samples(tmp_path, kind, subtype, order):
    """libsndfile takes them for samples in Wave64 and SPHERE: those files are refused, as is RIFF with such bytes."""
    path = tmp_path / "a"
    soundfile.write(path, sound(), RATE, format=kind, subtype=subtype, endian=order)
    whole = read(path)
    with open(path, "ab") as stream:
        stream.write(bytes(range(200, 255)) * 20)
    if kind in ("WAV", "WAVEX", "W64", "NIST"):
        with pytest.raises(UnreadableAudio, match=r"1100 bytes (follow its samples|that belong to nothing)"):
            read(path)
    else:
        np.testing.assert_array_equal(read(path), whole)


def test_a_kind_of_file_that_does_not_tell_whether_it_is_whole_is_refused(tmp_path):
    soundfile.write(tmp_path / "a", sound(), RATE, format="PAF", subtype="PCM_16")
    with pytest.raises(UnreadableAudio, match="a PAF file, of which nothing tells that it is whole: convert it"):
        read(tmp_path / "a")


FORMAT = b"fmt " + struct.pack("<IHHIIHHH", 18, 1, 1, RATE, 2 * RATE, 2, 16, 0)


def write_wav(path: Path, samples: np.ndarray, announced: int, before: bytes = b"", after: bytes = b"") -> None:
    """A RIFF file whose data chunk announces a size of its own, between other bytes."""
    body = b"WAVE" + FORMAT + before + b"data" + struct.pack("<I", announced) + samples.tobytes() + after
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


SAMPLES = np.rint(32768 * sound(RATE)).astype("<i2")


@pytest.mark.parametrize("announced", [0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_length_that_a_writer_to_a_pipe_did_not_know_is_that_of_the_file(tmp_path, announced):
    write_wav(tmp_path / "a.wav", SAMPLES, announced)
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), SAMPLES)


@pytest.mark.parametrize("announced", [2**31 + 2**20, 3 * 10**9, 4 * 10**9, 2 * RATE + 2])
def test_a_length_beyond_the_file_is_cut_short_also_where_it_is_gigabytes(tmp_path, announced):
    write_wav(tmp_path / "a.wav", SAMPLES, announced)
    with pytest.raises(UnreadableAudio, match=f"cut short: {announced - 2 * RATE} bytes of the samples"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("announced", [0, 2, RATE // 3 * 2, 2 * RATE - 1100])
def test_a_length_short_of_what_is_there_is_named_with_what_follows(tmp_path, announced):
    write_wav(tmp_path / "a.wav", SAMPLES, announced)
    with pytest.raises(
        UnreadableAudio, match=f"announces {announced} bytes of samples, and {2 * RATE - announced} bytes"
    ):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"LIST" + struct.pack("<I", 4000) + bytes(4000), b""),
        (b"JUNK" + struct.pack("<I", 28) + bytes(28), b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + bytes(18)),
        (b"", b"TAG" + bytes(125)),
        (b"", b"id3 " + struct.pack("<I", 30001) + bytes(30001)),
    ],
)
def test_chunks_and_tags_around_the_samples_are_no_fault(tmp_path, before, after):
    write_wav(tmp_path / "a.wav", SAMPLES, 2 * RATE, before, after)
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), SAMPLES)


def test_an_ogg_file_of_several_streams_is_refused(tmp_path):
    contents = b""
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.ogg", sound(seed=number), RATE, format="OGG", subtype="VORBIS")
        contents += (tmp_path / f"{number}.ogg").read_bytes()
    (tmp_path / "both.ogg").write_bytes(contents)
    with pytest.raises(UnreadableAudio, match="several streams in one Ogg file"):
        read(tmp_path / "both.ogg")


def encoded(path: Path, *options: str) -> Path:
    """Sound, silence and softer sound, 20 s, as ffmpeg writes it."""
    soundfile.write(path.with_suffix(".wav"), np.concatenate([sound(8 * RATE), np.zeros(8 * RATE), sound() / 10]), RATE)
    words = ["ffmpeg", "-y", "-v", "error", "-nostdin", "-i", path.with_suffix(".wav"), *options, path]
    subprocess.run(words, check=True)
    return path


MP3S = [("-q:a", "4"), ("-q:a", "4", "-write_xing", "0"), ("-b:a", "64k", "-write_xing", "0")]


@needs_ffmpeg
@pytest.mark.parametrize("options", MP3S)
@pytest.mark.parametrize("rate", ["8000", "16000", "44100"])
@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125)])
def test_an_mp3_is_as_long_as_its_frames_with_a_table_or_without(tmp_path, options, rate, tag):
    path = encoded(tmp_path / "a.mp3", "-ar", rate, "-c:a", "libmp3lame", *options)
    path.write_bytes(path.read_bytes() + tag)
    found, wanted = read(path), soundfile.read(path.with_suffix(".wav"), dtype="int16")[0].astype(float)
    assert 0 <= len(found) - len(wanted) < 3 * 1152 * RATE / int(rate)
    lags = [np.dot(found[lag + 20000 : lag + 60000].astype(float), wanted[20000:60000]) for lag in range(3000)]
    assert np.argmax(lags) < 1200 * RATE / int(rate) and max(lags) > 0.3 * np.dot(
        wanted[20000:60000], wanted[20000:60000]
    )


@needs_ffmpeg
def test_pictures_in_tags_are_no_frames(tmp_path):
    path = encoded(tmp_path / "a.mp3", "-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0", "-id3v2_version", "0")
    plain = read(path)
    body = b"APIC" + struct.pack(">I", 30000) + b"\0\0" + b"\xff\xfb\x90\x64" * 7500
    size = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + body + path.read_bytes())
    np.testing.assert_array_equal(read(path), plain)


@needs_ffmpeg
@pytest.mark.parametrize("options", MP3S)
def test_an_mp3_that_is_cut_is_refused(tmp_path, options):
    path = encoded(tmp_path / "a.mp3", "-c:a", "libmp3lame", *options)
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) // 2 + 1])
    with pytest.raises(UnreadableAudio, match="cut short"):
        read(path)


@needs_ffmpeg
def test_two_mp3s_put_together_are_refused_where_the_first_has_a_table(tmp_path):
    path = encoded(tmp_path / "a.mp3", "-c:a", "libmp3lame", "-q:a", "4")
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(UnreadableAudio, match=r"damaged: its table announces \d+ frames, \d+ are there"):
        read(path)


@needs_ffmpeg
def test_an_mp3_without_a_table_needs_ffmpeg_and_says_so(tmp_path, monkeypatch):
    path = encoded(tmp_path / "a.mp3", "-c:a", "libmp3lame", *MP3S[1])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreadableAudio, match="an MP3 without a table of its length needs the program ffmpeg"):
        read(path)


@needs_ffmpeg
def test_flac_of_unknown_length_is_decoded_whole_and_cut_anywhere(tmp_path):
    soundfile.write(tmp_path / "a.wav", SAMPLES, RATE)
    words = ["ffmpeg", "-v", "error", "-nostdin", "-i", tmp_path / "a.wav", "-f", "flac", "-"]
    (tmp_path / "a.flac").write_bytes(subprocess.run(words, capture_output=True, check=True).stdout)
    assert headers.read_header(str(tmp_path / "a.flac")).samples == RATE
    np.testing.assert_array_equal(read(tmp_path / "a.flac"), SAMPLES)
    ((_, found),) = decode([Source(str(tmp_path / "a.flac"), seconds=(0.25, 0.5))])
    np.testing.assert_array_equal(found, SAMPLES[RATE // 4 : RATE // 2])


@needs_ffmpeg
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("samples", [32000, 32001, 32768, 33791, 40123])
def test_the_padding_of_the_coder_is_no_part_of_an_m4a(tmp_path, rate, samples):
    soundfile.write(tmp_path / "a.wav", sound(samples), rate)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "aac", tmp_path / "a.m4a"], check=True)
    assert abs(len(read(tmp_path / "a.m4a")) - samples * RATE / rate) <= 0.0011 * RATE, "edits count milliseconds"


def test_a_cut_file_that_a_command_writes_is_refused_as_a_file_is(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav.header(RATE) + SAMPLES.tobytes()[:9000])
    ((_, found),) = decode([Source(f"cat {tmp_path}/a.wav |")])
    assert isinstance(found, UnreadableAudio) and "cut short: 23000 bytes" in str(found)


def test_bytes_behind_an_entry_of_an_ark_are_those_of_the_next_one(tmp_path):
    entry = wav.header(RATE) + SAMPLES.tobytes()
    (tmp_path / "a.ark").write_bytes(b"a " + entry + b"b " + entry)
    for place in (2, 4 + len(entry)):
        ((_, found),) = decode([Source(f"{tmp_path}/a.ark:{place}")])
        np.testing.assert_array_equal(found, SAMPLES)


@pytest.mark.parametrize("rate", [700_001, 96_001, 2**31 - 1])
def test_a_header_with_a_rate_of_nothing_is_damaged_and_costs_no_filter(tmp_path, rate):
    contents = bytearray(wav.header(RATE) + SAMPLES.tobytes())
    contents[24:28] = struct.pack("<I", rate)
    (tmp_path / "a.wav").write_bytes(contents)
    with pytest.raises(UnreadableAudio, match=rf"a\.wav: damaged: 1 channel\(s\) at {rate} Hz"):
        read(tmp_path / "a.wav")
