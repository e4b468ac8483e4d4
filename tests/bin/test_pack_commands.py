"""The commands of stage 3: parts, joining them, and their exit statuses."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from sslsv_tk import logs
from sslsv_tk.bin import finish_packing, pack_audio, prepare_corpus, validate_data_dir


def run(command, *arguments: object) -> int:
    return logs.run_command(command.main, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four utterances whose samples tell them apart."""
    for number in range(4):
        path = tmp_path / "corpus" / "anna" / "r1" / f"u{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.arange(number, 900, dtype=np.int16), 16000)
    assert run(prepare_corpus, "--layout", "folder", "--source", tmp_path / "corpus", "--out", tmp_path / "data") == 0
    return tmp_path / "data"


def test_two_jobs_and_the_joining_make_what_kaldiio_reads(tmp_path, data):
    options = ("--data", data, "--out", tmp_path / "out", "--num-jobs", 2)
    assert run(finish_packing, *options) == 1
    for job in (1, 2):
        assert run(pack_audio, *options, "--job", job) == 0
        assert run(finish_packing, *options) == (job == 1)
    for number, (rate, waveform) in enumerate(kaldiio.load_scp(str(tmp_path / "out" / "wav.scp")).values()):
        assert rate == 16000
        np.testing.assert_array_equal(waveform, np.arange(number, 900))
    assert run(validate_data_dir, tmp_path / "out") == 0


def test_damage_is_a_status_and_a_tolerance_an_option(tmp_path, data, caplog):
    (tmp_path / "corpus" / "anna" / "r1" / "u2.flac").write_bytes(b"fLaC")
    options = ("--data", data, "--out", tmp_path / "out", "--num-jobs", 1)
    assert run(pack_audio, *options, "--job", 1) == 1
    assert "u2.flac" in caplog.text and "raise --tolerance" in caplog.text
    assert run(pack_audio, *options, "--job", 1, "--tolerance", 0.25) == 0
    assert run(finish_packing, *options) == 0
    assert (tmp_path / "out" / "rejected").read_text().startswith("anna-r1-u2 ")


def test_other_options_need_force(tmp_path, data):
    options = ("--data", data, "--out", tmp_path / "out", "--num-jobs", 1)
    assert run(pack_audio, *options, "--job", 1) == 0 and run(finish_packing, *options) == 0
    source = ("--source", tmp_path / "corpus", "--out", data)
    assert run(prepare_corpus, "--layout", "folder", *source, "--labels", "false", "--force", "true") == 0
    assert run(pack_audio, *options, "--job", 1) == 1 and run(finish_packing, *options) == 1
    assert run(pack_audio, *options, "--job", 1, "--force", "true") == 0
    assert run(finish_packing, *options, "--force", "true") == 0
    assert "anna-r1-u0 anna-r1-u0\n" in (tmp_path / "out" / "utt2spk").read_text()


@pytest.mark.parametrize("options", [("--job", 0), ("--job", 3), ("--job", 1, "--tolerance", 1.5)])
def test_options_out_of_range_are_one_line(tmp_path, data, options):
    assert run(pack_audio, "--data", data, "--out", tmp_path / "out", "--num-jobs", 2, *options) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_data_directory(tmp_path, caplog):
    assert run(pack_audio, "--data", tmp_path, "--out", tmp_path / "out", "--num-jobs", 1, "--job", 1) == 1
    assert "no wav.scp, so not a data directory" in caplog.text
