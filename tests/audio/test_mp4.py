"""Lengths of m4a, mp4 and aac files: against the originals, ffprobe, and every way to be damaged."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.audio import aac, headers, mp4
from sslsv_tk.audio.decoding import decode
from sslsv_tk.audio.headers import read_header
from sslsv_tk.audio.sound import Header, UnreadableAudio
from sslsv_tk.audio.waveforms import Source

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
SECONDS = 1.3


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """encoded(name, rate, channels, *options): a file of 1.3 s of noise as ffmpeg writes it, made once."""
    folder = tmp_path_factory.mktemp("encoded")

    def make(name: str, rate: int = 16000, channels: int = 1, *options: str) -> Path:
        path = folder / f"{rate}-{channels}-{'-'.join(options)}-{name}"
        if not path.exists():
            source = folder / "source.wav"
            noise = np.random.default_rng(0).normal(size=(round(SECONDS * rate), channels)) / 10
            soundfile.write(source, noise, rate)
            subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c:a", "aac", *options, path], check=True)
        return path

    return make


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart")])
def test_an_m4a_is_as_long_as_what_was_encoded(encoded, rate, channels, options):
    found = read_header(str(encoded("a.m4a", rate, channels, *options)))
    assert (found.rate_hz, found.channels) == (rate, channels)
    assert abs(found.seconds - SECONDS) < 0.002


@needs_ffmpeg
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "frag_keyframe+empty_moov+default_base_moof", "dash"])
def test_a_fragmented_file_has_the_sum_of_its_fragments(encoded, rate, flags):
    path = encoded("a.mp4", rate, 1, "-movflags", flags, "-frag_duration", "200000")
    assert path.read_bytes().count(b"moof") > 3
    found = read_header(str(path))
    ((_, waveform),) = decode([Source(str(path))])
    assert SECONDS - 0.002 < found.seconds < SECONDS + 3 * 1024 / rate
    assert abs(len(waveform) / 16000 - found.seconds) < 0.05


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "mp4", "mov", "aac"])
def test_lengths_are_those_that_ffprobe_tells(encoded, suffix):
    path = encoded(f"a.{suffix}", 44100, 2)
    entries = "stream=sample_rate,channels,nb_read_packets"
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-count_packets", "-show_entries", entries, "-of", "csv=p=0", path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    rate, channels, packets = (int(word) for word in told.split(",")[:3])
    found = read_header(str(path))
    assert (found.rate_hz, found.channels) == (rate, channels)
    if suffix == "aac":
        assert found.samples == 1024 * packets
    else:
        assert 0 <= 1024 * packets - found.samples <= 2 * 1024


@needs_ffmpeg
def test_the_first_bytes_count_and_not_the_name(encoded, tmp_path):
    for suffix in ("m4a", "aac"):
        renamed = tmp_path / f"{suffix}.wav"
        shutil.copy(encoded(f"a.{suffix}"), renamed)
        assert read_header(str(renamed)) == read_header(str(encoded(f"a.{suffix}")))


@needs_ffmpeg
def test_a_video_gives_its_sound_and_one_without_sound_says_so(tmp_path):
    picture = ["-f", "lavfi", "-i", "color=size=32x32:duration=2"]
    sound = ["-f", "lavfi", "-i", "sine=duration=1.5:sample_rate=16000"]
    for name, inputs in (("both.mp4", [*picture, *sound]), ("mute.mp4", picture)):
        subprocess.run(["ffmpeg", "-v", "error", *inputs, "-c:v", "mpeg4", "-c:a", "aac", tmp_path / name], check=True)
    assert abs(read_header(str(tmp_path / "both.mp4")).seconds - 1.5) < 0.002
    ((_, waveform),) = decode([Source(str(tmp_path / "both.mp4"))])
    assert abs(len(waveform) - 24000) < 16
    with pytest.raises(UnreadableAudio, match=r"mute\.mp4: no sound track"):
        read_header(str(tmp_path / "mute.mp4"))


@needs_ffmpeg
@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart")])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.98])
def test_an_m4a_cut_short_is_unreadable_wherever_its_tables_are(encoded, tmp_path, options, kept):
    contents = encoded("a.m4a", 16000, 1, *options).read_bytes()
    (tmp_path / "a.m4a").write_bytes(contents[: int(len(contents) * kept)])
    with pytest.raises(UnreadableAudio, match=r"a\.m4a: cut short"):
        read_header(str(tmp_path / "a.m4a"))
    ((_, found),) = decode([Source(str(tmp_path / "a.m4a"))])
    assert isinstance(found, UnreadableAudio) and "cut short" in str(found)


@needs_ffmpeg
def test_an_aac_stream_cut_within_a_frame_is_cut_short_and_tags_are_no_damage(encoded, tmp_path):
    contents = encoded("a.aac").read_bytes()
    path = tmp_path / "a.aac"
    for damaged, message in (
        (contents[:-1], "cut short"),
        (contents[:3], "no samples|cut short"),
        (contents[:500] + b"\0" * 500 + contents[1000:], "damaged: no AAC frame at byte"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableAudio, match=rf"a\.aac: ({message})"):
            read_header(str(path))
    id3 = b"ID3\4\0\0\0\0\1\2" + bytes(130)
    path.write_bytes(id3 + contents + b"TAG" + bytes(125))
    assert read_header(str(path)) == read_header(str(encoded("a.aac")))


@needs_ffmpeg
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_to_the_tables_gives_another_error_or_an_endless_loop(encoded, tmp_path_factory, data):
    name = data.draw(st.sampled_from(["a.m4a", "a.aac", "b.mp4"]))
    options = ("-movflags", "frag_keyframe+empty_moov") if name == "b.mp4" else ()
    contents = bytearray(encoded(name, 16000, 1, *options).read_bytes())
    begin = contents.find(b"moov") - 4 if name == "a.m4a" else 0
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(max(0, begin), min(len(contents), begin + 1500) - 5))
        contents[place : place + 4] = data.draw(st.binary(min_size=4, max_size=4))
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(contents)
    try:
        assert read_header(str(path)).samples > 0
    except UnreadableAudio as fault:
        assert str(fault).startswith(f"{path}: ")


def atom(name: bytes, body: bytes, large: bool = False) -> bytes:
    if large:
        return struct.pack(">I4sQ", 1, name, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, name) + body


def movie(ticks: int, edits: list[tuple[int, int]], version: int = 0, rate: int = 16000, large: bool = False) -> bytes:
    """A file by hand: one sound track of `ticks` on a clock of `rate`, edits in milliseconds."""
    clock = struct.pack(">B3x16xIQ", 1, 1000, 0) if version else struct.pack(">B3x8xII", 0, 1000, 0)
    media = struct.pack(">B3x16xIQ", 1, rate, ticks) if version else struct.pack(">B3x8xII", 0, rate, ticks)
    track = struct.pack(">B3x16xI", 1, 1) if version else struct.pack(">B3x8xI", 0, 1)
    edit = b"".join(struct.pack(">QqI" if version else ">IiI", *pair, 65536) for pair in edits)
    entry = atom(b"mp4a", struct.pack(">6xH8xHHHHI", 1, 1, 16, 0, 0, rate << 16))
    sound = atom(b"minf", atom(b"stbl", atom(b"stsd", struct.pack(">4xI", 1) + entry)))
    parts = atom(b"mdhd", media) + atom(b"hdlr", b"\0" * 8 + b"soun" + b"\0" * 12) + sound
    listed = atom(b"edts", atom(b"elst", struct.pack(">B3xI", version, len(edits)) + edit)) if edits else b""
    inside = atom(b"mvhd", clock) + atom(b"trak", atom(b"tkhd", track) + listed + atom(b"mdia", parts))
    return atom(b"ftyp", b"M4A ") + atom(b"mdat", bytes(100), large) + atom(b"moov", inside)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("edits", "samples"),
    [
        ([], 16000),
        ([(900, 1024)], 14400),
        ([(2000, 1024)], 14976),
        ([(0, 1024)], 14976),
        ([(50, -1), (300, 0), (300, 8000)], 9600),
    ],
)
def test_edits_say_which_stretch_is_presented(tmp_path, version, large, edits, samples):
    (tmp_path / "a.m4a").write_bytes(movie(16000, edits, version, large=large))
    assert read_header(str(tmp_path / "a.m4a")) == Header(16000, 1, samples)


def test_a_track_without_length_or_with_a_clock_that_stands_still_is_unreadable(tmp_path):
    path = tmp_path / "a.m4a"
    for contents, message in (
        (movie(0, []), "no samples"),
        (movie(1000, [(50, 1000)]), "no samples"),
        (movie(1000, [], rate=0), "damaged"),
        (atom(b"ftyp", b"M4A ") + atom(b"mdat", b""), "no moov"),
        (struct.pack(">I4s", 4, b"ftyp") + bytes(20), "damaged: an atom of 4 bytes"),
    ):
        path.write_bytes(contents)
        with pytest.raises(UnreadableAudio, match=message):
            read_header(str(path))


def test_tables_of_a_senseless_size_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(mp4, "_MOST_BYTES_OF_TABLES", 50)
    (tmp_path / "a.m4a").write_bytes(movie(16000, []))
    with pytest.raises(UnreadableAudio, match=r"damaged: tables of \d+ bytes"):
        read_header(str(tmp_path / "a.m4a"))


def test_channels_of_a_specific_configuration():
    short = "00000000" + "0319000100" + "0411" + "40" * 13 + "0502" + "1408"
    long = "00000000" + "0380808022000200" + "0480808014" + "40" * 13 + "0580808002" + "1190"
    assert aac.channels(bytes.fromhex(short)) == 1
    assert aac.channels(bytes.fromhex(long)) == 2
    assert aac.channels(b"") == aac.channels(b"\0\0\0\0\x07\x01\x02") == 0


def test_many_headers_are_read_by_processes_in_order(tmp_path, write_audio, monkeypatch):
    monkeypatch.setattr(headers, "_FEW", 3)
    monkeypatch.setattr(headers, "_CHUNK", 2)
    monkeypatch.setattr(headers, "_TASKS_AHEAD", 1)
    paths = [str(tmp_path / f"{number}.wav") for number in range(10)]
    for number, path in enumerate(paths):
        write_audio(Path(path), 100 + number)
    Path(paths[5]).write_bytes(b"")
    found = list(headers.read_headers(paths))
    assert isinstance(found[5], UnreadableAudio) and "5.wav: an empty file" in str(found[5])
    assert [header.samples for header in found if isinstance(header, Header)] == [
        100 + number for number in range(10) if number != 5
    ]
    assert list(headers.read_headers([])) == []


def test_a_path_that_is_no_utf8_is_read(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 100)
    path = os.fsencode(tmp_path) + b"/\xff.wav"
    os.rename(tmp_path / "a.wav", path)
    assert list(headers.read_headers(np.array([path]))) == [Header(16000, 1, 100)]


def test_a_rate_that_no_audio_has_is_damage(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 100, rate=500)
    with pytest.raises(UnreadableAudio, match=r"damaged: 1 channel\(s\) at 500 Hz"):
        read_header(str(tmp_path / "a.wav"))
