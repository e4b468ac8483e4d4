"""The commands of stages 1 and 2: exit statuses, one line for a mistake, what they leave on disk."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sslsv_tk import logs
from sslsv_tk.bin import (
    fix_data_dir,
    prepare_corpus,
    prepare_noises,
    prepare_responses,
    prepare_trials,
    validate_data_dir,
)

COMMANDS = (
    "prepare_corpus",
    "prepare_trials",
    "prepare_noises",
    "prepare_responses",
    "pack_audio",
    "finish_packing",
    "validate_data_dir",
    "fix_data_dir",
)


@pytest.fixture
def vox(tmp_path: Path) -> Path:
    """Two speakers with two recordings each in VoxCeleb's layout."""
    for speaker in ("id10001", "id10002"):
        for recording in ("aaa", "bbb"):
            path = tmp_path / "vox" / "wav" / speaker / recording / "00001.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, np.arange(800, dtype=np.int16), 16000)
    return tmp_path / "vox"


def run(command, *arguments: object) -> int:
    return logs.run_command(command.main, [str(argument) for argument in arguments])


def test_a_test_set_and_its_trials(tmp_path, vox):
    (tmp_path / "list").write_text(
        "1 id10001/aaa/00001.wav id10001/bbb/00001.wav\n0 id10001/aaa/00001.wav id10002/aaa/00001.wav\n"
    )
    data = tmp_path / "data"
    assert run(prepare_corpus, "--layout", "voxceleb", "--source", vox, "--out", data, "--only", tmp_path / "list") == 0
    assert run(prepare_trials, "--source", tmp_path / "list", "--data", data, "--out", data / "trials_x") == 0
    assert (data / "trials_x").read_text() == (
        "id10001-aaa-00001 id10001-bbb-00001 target\nid10001-aaa-00001 id10002-aaa-00001 nontarget\n"
    )
    assert run(validate_data_dir, data) == 0
    assert len((data / "wav.scp").read_text().splitlines()) == 3


def test_labels_false_and_force(tmp_path, vox):
    options = ("--layout", "voxceleb", "--source", vox, "--out", tmp_path / "data")
    assert run(prepare_corpus, *options) == 0
    assert run(prepare_corpus, *options, "--labels", "false") == 1
    assert run(prepare_corpus, *options, "--labels", "false", "--force", "true") == 0
    assert {len(set(line.split())) for line in (tmp_path / "data" / "utt2spk").read_text().splitlines()} == {1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("1 id10001/aaa/00001.wav id10009/aaa/00001.wav\n", "list:1: 1 utterance(s)"),
        ("1 id10001/aaa/00001.wav id10001/bbb/00001.wav\n", "the EER needs nontarget trials"),
    ],
)
def test_a_wrong_trial_list_writes_nothing(tmp_path, vox, caplog, text, message):
    run(prepare_corpus, "--layout", "voxceleb", "--source", vox, "--out", tmp_path / "data")
    (tmp_path / "list").write_text(text)
    assert run(prepare_trials, "--source", tmp_path / "list", "--data", tmp_path / "data", "--out", tmp_path / "t") == 1
    assert message in caplog.text and not (tmp_path / "t").exists()


def test_noises_and_responses(tmp_path):
    for name in ("musan/noise/a.wav", "musan/music/b/c.wav", "musan/speech/d.wav", "rirs/x/e.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.arange(16000, dtype=np.int16), 16000)
    source = ("--source", tmp_path / "musan")
    assert run(prepare_noises, *source, "--out", tmp_path / "data", "--cut-seconds", 0.5) == 0
    assert run(prepare_responses, "--source", tmp_path / "rirs", "--out", tmp_path / "data" / "rirs") == 0
    assert len((tmp_path / "data" / "musan_music" / "segments").read_text().splitlines()) == 2
    assert run(validate_data_dir, *sorted((tmp_path / "data").iterdir())) == 0
    assert run(prepare_noises, "--source", tmp_path / "rirs", "--out", tmp_path / "other") == 1


def test_fix_then_validate(tmp_path, vox, caplog):
    run(prepare_corpus, "--layout", "voxceleb", "--source", vox, "--out", tmp_path / "data")
    scp = tmp_path / "data" / "wav.scp"
    scp.write_text("".join(reversed(scp.read_text().splitlines(keepends=True)[:-1])))
    assert run(validate_data_dir, tmp_path / "data") == 1
    with caplog.at_level("INFO"):
        assert run(fix_data_dir, tmp_path / "data") == 0
    assert "kept 3 of 3" in caplog.text
    assert run(validate_data_dir, tmp_path / "data") == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_shown_and_usage_errors_exit_with_2(name):
    command = [sys.executable, "-m", f"sslsv_tk.bin.{name}"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and "usage:" in shown.stdout and "Traceback" not in shown.stderr
    assert subprocess.run([*command, "--no-such-option"], capture_output=True).returncode == 2


def test_a_mistake_is_one_line_and_status_1(tmp_path):
    command = [sys.executable, "-m", "sslsv_tk.bin.prepare_corpus", "--layout", "folder"]
    finished = subprocess.run(
        [*command, "--source", str(tmp_path / "gone"), "--out", str(tmp_path / "data")], capture_output=True, text=True
    )
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    errors = [line for line in finished.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1 and "no such folder" in errors[0]
