"""Wav files indexed where they are: the same samples as a copy, and nothing that is no such file."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sslsv_tk import artifacts, logs
from sslsv_tk.arks import indexes
from sslsv_tk.arks.audio_archive import AUDIO, AudioArchive, of_tables
from sslsv_tk.bin import finish_packing, pack_audio
from sslsv_tk.corpora import noises
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.kaldi.directories import DataDirectory, validate
from sslsv_tk.kaldi.tables import as_words
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.parts import Part, Wanted

IN_PLACE = Wanted(copy=False)


def index(data: Path, out: Path, num_jobs: int = 2, **options) -> None:
    for job in range(1, num_jobs + 1):
        pack.pack_part(data, Part(out, job, num_jobs), IN_PLACE, **options)
    join.finish(data, out, num_jobs)


@pytest.fixture
def data(tmp_path, corpus) -> Path:
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "data")
    return tmp_path / "data"


def test_the_samples_are_those_of_the_files_and_nothing_is_copied(tmp_path, data):
    index(data, tmp_path / "out")
    archive, wanted = AudioArchive(tmp_path / "out"), DataDirectory.load(data)
    assert not list((tmp_path / "out").rglob("*.ark"))
    assert archive.keys.tolist() == wanted.keys.tolist()
    for row, path in enumerate(wanted.values.tolist()):
        waveform, _ = soundfile.read(path.decode(), dtype="int16")
        np.testing.assert_array_equal(archive.read(row, 0, int(archive.samples[row])), waveform)
        np.testing.assert_array_equal(archive.read_looped(row, 990, 50), np.tile(waveform, 2)[990:1040])
    validate(tmp_path / "out")
    assert (tmp_path / "out" / "wav.scp").read_text() == (data / "wav.scp").read_text()
    assert (tmp_path / "out" / "utt2offset").read_text().split()[1::2] == ["44"] * 8


def test_the_tables_alone_give_the_same_as_the_index(tmp_path, data):
    index(data, tmp_path / "out")
    mapped = indexes.load(tmp_path / "out", AUDIO)
    read = of_tables(tmp_path / "out")
    for name in ("keys", "files", "file_of_row", "offsets", "lengths"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(read, name))


def test_a_segment_may_end_with_its_file(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "x.wav", 3000)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"x {tmp_path}/x.wav\n")
    (tmp_path / "data" / "segments").write_text("x-0 x 0 0.1\nx-1 x 0.1 -1\n")
    index(tmp_path / "data", tmp_path / "out", num_jobs=1)
    archive = AudioArchive(tmp_path / "out")
    np.testing.assert_array_equal(archive.read(1, 0, 1400), waveform[1600:])
    assert (tmp_path / "out" / "segments").read_text().splitlines()[1] == "x-1 x 0.100000 -1"
    (tmp_path / "data" / "segments").write_text("x-0 x 0 0.1\nx-1 x 1 -1\n")
    with pytest.raises(ValueError, match=r"x\.wav: a cut from 1 s to inf s has no samples"):
        index(tmp_path / "data", tmp_path / "other", num_jobs=1)


def test_segments_are_offsets_in_the_files(tmp_path, write_audio):
    waveforms = {name: write_audio(tmp_path / "musan" / name / "x.wav", 50_000) for name in noises.CATEGORIES}
    noises.prepare_noises(str(tmp_path / "musan"), tmp_path / "data", cut_seconds=1.0)
    index(tmp_path / "data" / "musan_music", tmp_path / "out", num_jobs=1)
    archive = AudioArchive(tmp_path / "out")
    assert archive.offsets.tolist() == [44, 44 + 32000, 44 + 64000]
    np.testing.assert_array_equal(archive.read(2, 0, 18000), waveforms["music"][32000:])
    assert len(archive.files) == 1 and (tmp_path / "out" / "segments").is_file()
    validate(tmp_path / "out")


def test_chunks_before_the_samples_and_the_extensible_header_are_found(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "a.wav", 500)
    soundfile.write(tmp_path / "b.wav", waveform, 16000, subtype="PCM_16", format="WAVEX")
    contents = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(contents[:36] + b"LIST" + (5).to_bytes(4, "little") + b"hello\0" + contents[36:])
    paths = [str(tmp_path / name) for name in ("a.wav", "b.wav")]
    DataDirectory(as_words(["a", "b"]), as_words(paths)).write(tmp_path / "data")
    index(tmp_path / "data", tmp_path / "out", num_jobs=1)
    archive = AudioArchive(tmp_path / "out")
    assert archive.offsets[0] == 58 and archive.offsets[1] > 60
    for row in range(2):
        np.testing.assert_array_equal(archive.read(row, 0, 500), waveform)


@pytest.mark.parametrize(
    ("change", "found"),
    [({"rate": 8000}, "8000 Hz"), ({"channels": 2}, r"2 channel\(s\)"), ({"suffix": "flac"}, "no wav")],
)
def test_another_kind_of_file_stops_with_its_name_and_the_way_out(tmp_path, data, write_audio, change, found):
    suffix = change.pop("suffix", "wav")
    write_audio(tmp_path / f"a.{suffix}", 900, **change)
    (tmp_path / f"a.{suffix}").rename(tmp_path / "corpus" / "anna" / "r1" / "u2.wav")
    with pytest.raises(ValueError, match=rf"u2\.wav: without a copy only .*{found}.*--pack-audio true"):
        pack.pack_part(data, Part(tmp_path / "out", 1, 1), IN_PLACE, tolerance=0.9)


def test_damaged_files_are_rejected_within_the_tolerance(tmp_path, data, caplog):
    whole = (tmp_path / "corpus" / "anna" / "r1" / "u1.wav").read_bytes()
    for name, contents in (("u1", whole[:-10]), ("u2", b"")):
        (tmp_path / "corpus" / "anna" / "r1" / f"{name}.wav").write_bytes(contents)
    (tmp_path / "corpus" / "anna" / "r2" / "u1.wav").unlink()
    with pytest.raises(ValueError, match="3 of 8 audio files cannot be used"):
        pack.pack_part(data, Part(tmp_path / "out", 1, 1), IN_PLACE, tolerance=0.3)
    with caplog.at_level(logging.WARNING):
        index(data, tmp_path / "out", num_jobs=1, tolerance=0.5)
    assert len(AudioArchive(tmp_path / "out")) == 5
    assert (tmp_path / "out" / "rejected").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: whole[:-2], "found them in 44 to"),
        (lambda whole: whole[:40], "no RIFF file with samples"),
        (lambda whole: b"", "no RIFF file with samples"),
        (lambda whole: whole[:24] + (8000).to_bytes(4, "little") + whole[28:], "found 8000 Hz"),
        (lambda whole: whole[:36] + b"LIST\2\0\0\0hi" + whole[36:], "found them in 54 to"),
    ],
)
def test_a_file_that_changed_after_indexing_is_noticed_at_the_first_read(tmp_path, data, change, message):
    index(data, tmp_path / "out")
    path = Path(DataDirectory.load(data).values[3].decode())
    path.write_bytes(change(path.read_bytes()))
    archive = AudioArchive(tmp_path / "out")
    archive.read(2, 0, 5)
    with pytest.raises(ValueError, match=rf"{path.name}: .*{message}.*--force true"):
        archive.read(3, 0, 5)
    path.unlink()
    with pytest.raises(ValueError, match="which does not exist"):
        AudioArchive(tmp_path / "out").read(3, 0, 5)


def test_a_copy_and_an_index_are_not_taken_for_each_other(tmp_path, data):
    out = tmp_path / "out"
    index(data, out)
    with pytest.raises(artifacts.StaleArtifact, match=r"samples: was .*in place, now 16 kHz mono 16-bit"):
        pack.pack_part(data, Part(out, 1, 2))
    pack.pack_part(data, Part(out, 1, 2), force=True)
    with pytest.raises(ValueError, match=r"part 2 of 2 .*samples: was 16 kHz mono 16-bit, in place, now 16 kHz"):
        join.finish(data, out, 2)
    pack.pack_part(data, Part(out, 2, 2))
    join.finish(data, out, 2)
    assert not (out / "utt2offset").exists()
    assert AudioArchive(out).files[0].endswith(b".ark")


def test_the_commands_take_the_option(tmp_path, data):
    options = ["--data", str(data), "--out", str(tmp_path / "out"), "--num-jobs", "1"]
    assert logs.run_command(pack_audio.main, [*options, "--job", "1", "--copy", "false"]) == 0
    assert logs.run_command(finish_packing.main, options) == 0
    assert logs.run_command(finish_packing.main, options) == 0
    assert len(AudioArchive(tmp_path / "out")) == 8
