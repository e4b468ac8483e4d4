"""Segments whose ends are rounded, far behind their file, or of a command; in stage 1, and by one run per command."""

from pathlib import Path

import numpy as np
import pytest

from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.parts import Part, Wanted

SAMPLES = 16000 * 4 - 73  # 3.9954375 s


@pytest.fixture
def source(tmp_path, write_audio) -> Path:
    write_audio(tmp_path / "rec.wav", SAMPLES)
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi" / "wav.scp").write_text(f"rec {tmp_path}/rec.wav\n")
    return tmp_path / "kaldi"


def pack_all(data: Path, out: Path, wanted: Wanted) -> AudioArchive:
    pack.pack_part(data, Part(out, 1, 1), wanted)
    join.finish(data, out, 1)
    return AudioArchive(out)


@pytest.mark.parametrize("end", ["4.00", "4.30", f"{(SAMPLES + 1) / 16000:.6f}", "4.495"])
@pytest.mark.parametrize("copy", [True, False])
def test_an_end_up_to_half_a_second_late_is_that_of_the_file_and_said_in_stage_1(
    source, tmp_path, write_audio, end, copy, caplog
):
    (source / "segments").write_text(f"s-1 rec 0.00 1.50\ns-2 rec 1.50 {end}\n")
    prepare(Corpus([str(source)], labels=None), tmp_path / "data")
    assert "1 of 2 segments end behind their file" in caplog.text and "the first is s-2" in caplog.text
    found = DataDirectory.load(tmp_path / "data")
    np.testing.assert_allclose(found.durations, [1.5, SAMPLES / 16000 - 1.5], atol=1e-6)
    caplog.clear()
    archive = pack_all(tmp_path / "data", tmp_path / "raw", Wanted(copy=copy))
    assert archive.samples.tolist() == [24000, SAMPLES - 24000]
    assert "behind" not in caplog.text


def test_an_end_later_than_that_is_refused_in_stage_1_though_utt2dur_is_there(source, tmp_path):
    (source / "segments").write_text("s-1 rec 0.00 1.50\ns-2 rec 1.50 5.20\n")
    (source / "utt2dur").write_text("s-1 1.5\ns-2 3.7\n")
    with pytest.raises(ValueError, match=r"rec\.wav: a segment from 1\.5 s to 5\.2 s is not in the file of 3\.99544 s"):
        prepare(Corpus([str(source)], labels=None), tmp_path / "data")
    prepare(Corpus([str(source)], labels=None, tolerance=0.5), tmp_path / "data")
    assert DataDirectory.load(tmp_path / "data").keys.tolist() == [b"s-1"]


def test_a_command_runs_once_for_all_its_segments_and_its_end_counts_too(tmp_path, write_audio, caplog):
    waveform = write_audio(tmp_path / "a.wav", 16000)
    log, data = tmp_path / "runs", tmp_path / "kaldi"
    data.mkdir()
    (data / "wav.scp").write_text("".join(f"r{n} echo {n} >>{log}; cat {tmp_path}/a.wav |\n" for n in range(3)))
    lines = [f"u{start}-r{n} r{n} 0.{start} 0.{start + 1}\n" for start in range(9) for n in range(3)]
    (data / "segments").write_text("".join([*lines, "u9-r0 r0 0.9 1.02\n"]))
    prepare(Corpus([str(data)], labels=None), tmp_path / "data")
    archive = pack_all(tmp_path / "data", tmp_path / "raw", Wanted(allow_pipes=True))
    assert log.read_text().split() == ["0", "1", "2"]
    for row, start in enumerate(np.repeat(np.arange(9), 3).tolist()):
        np.testing.assert_array_equal(archive.read(row, 0, 1600), waveform[1600 * start : 1600 * start + 1600])
    assert archive.samples[-1] == 1600
    assert "1 of 28 utterances have an end behind that of their file" in caplog.text


def test_a_command_that_fails_runs_once_and_its_output_is_removed(tmp_path, write_audio, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    write_audio(tmp_path / "a.wav", 16000)
    (tmp_path / "data").mkdir()
    commands = f"r0 echo x >>{tmp_path}/runs; exit 3 |\nr1 cat {tmp_path}/a.wav |\n"
    (tmp_path / "data" / "wav.scp").write_text(commands)
    (tmp_path / "data" / "segments").write_text("a r0 0 0.5\nb r0 0.5 1\nc r1 0 0.5\nd r1 0.5 1\n")
    with pytest.raises(ValueError, match=r"2 of 4 audio files cannot be used .*exit status 3"):
        pack.pack_part(tmp_path / "data", Part(tmp_path / "raw", 1, 1), Wanted(allow_pipes=True))
    assert (tmp_path / "runs").read_text() == "x\n" and not list((tmp_path / "tmp").iterdir())
