"""local/cnceleb_data.py and local/librispeech_data.py on small trees, and what stage 1 makes of their directories."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from sslsv_tk import logs
from sslsv_tk.bin import prepare_corpus, prepare_trials
from sslsv_tk.kaldi import directories, trials

LOCAL = Path(__file__).resolve().parents[2] / "egs" / "voxceleb" / "local"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, LOCAL / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cnceleb, librispeech = load("cnceleb_data"), load("librispeech_data")


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.arange(800, dtype=np.int16), 16000)


def run(command, *words: object) -> int:
    return logs.run_command(command.main, [str(word) for word in words])


@pytest.fixture
def cn(tmp_path: Path) -> Path:
    top = tmp_path / "CN-Celeb_flac"
    for speaker in ("id00000", "id00001", "id00800"):
        write(
            *(top / "data" / speaker / f"{name}.flac" for name in ("singing-01-001", "singing-01-002", "vlog-02-001"))
        )
    write(top / "eval/enroll/id00800-enroll.flac", top / "eval/enroll/id00801-enroll.flac")
    write(top / "eval/test/id00800-vlog-02-001.flac", top / "eval/test/id00801-singing-01-001.flac")
    (top / "dev").mkdir()
    (top / "dev" / "dev.lst").write_text("id00000\nid00001\n")
    (top / "eval" / "lists").mkdir()
    (top / "eval" / "lists" / "trials.lst").write_text(
        "id00800-enroll test/id00800-vlog-02-001.wav 1\nid00800-enroll test/id00801-singing-01-001.wav 0\n"
    )
    write(tmp_path / "CN-Celeb2_flac/data/id10000/play-01-001.flac")
    return top


def test_cnceleb_becomes_directories_that_stage_1_takes(tmp_path, cn):
    out = tmp_path / "cn"
    assert run(cnceleb, "--cnceleb1", cn, "--cnceleb2", cn.parent / "CN-Celeb2_flac", "--out", out) == 0
    train = directories.validate(out / "train")
    assert train.keys.tolist() == [
        *(f"id0000{n}-{name}".encode() for n in (0, 1) for name in ("singing-01-001", "singing-01-002", "vlog-02-001")),
        b"id10000-play-01-001",
    ]
    assert train.recordings is not None and train.recordings[1] == b"id00000-singing-01"
    assert (out / "eval" / "trials").read_text() == (
        "id00800-enroll id00800-vlog-02-001 target\nid00800-enroll id00801-singing-01-001 nontarget\n"
    )
    data = tmp_path / "data"
    words = ("--source", out / "eval", "--out", data, "--labels", "auto", "--only", out / "eval" / "trials")
    assert run(prepare_corpus, *words) == 0
    assert run(prepare_trials, "--source", out / "eval" / "trials", "--data", data, "--out", data / "trials_cn") == 0
    assert (data / "utt2spk").read_text().splitlines()[0] == "id00800-enroll id00800"
    assert len((data / "utt2dur").read_text().splitlines()) == 3


def test_cnceleb_that_is_not_whole_is_one_line(tmp_path, cn, caplog):
    (cn / "eval/test/id00801-singing-01-001.flac").unlink()
    assert run(cnceleb, "--cnceleb1", cn, "--out", tmp_path / "cn") == 1
    assert "trials.lst:2: id00800-enroll or test/id00801-singing-01-001.wav is not below eval" in caplog.text
    (cn / "dev" / "dev.lst").write_text("id99999\n")
    assert run(cnceleb, "--cnceleb1", cn, "--out", tmp_path / "cn") == 1
    assert "no speaker of dev/dev.lst has audio" in caplog.text
    assert run(cnceleb, "--cnceleb1", tmp_path / "gone", "--out", tmp_path / "cn") == 1
    assert "no such folder" in caplog.text


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    for reader, chapters in (("19", ("198", "227")), ("26", ("495",)), ("103", ("1240", "1241"))):
        for chapter in chapters:
            for number in range(3):
                name = f"{reader}-{chapter}-{number:04d}.flac"
                write(tmp_path / "LibriSpeech/test-clean" / reader / chapter / name)
    return tmp_path / "LibriSpeech"


def test_librispeech_keeps_its_ids(tmp_path, libri):
    write(libri / "more" / "ls-7" / "1" / "7-1-0000.flac")
    out = tmp_path / "out"
    assert run(librispeech, "--source", libri, "--parts", "test-clean", "more", "--out", out) == 0
    found = directories.validate(out)
    assert found.keys.tolist() == sorted(found.keys.tolist()) and len(found.keys) == 16
    assert {b"103-1240-0000", b"ls-7-1-7-1-0000"} <= set(found.keys.tolist())
    assert found.speakers is not None and found.speakers[0] == b"103"
    assert found.recordings is not None and found.recordings[0] == b"103-1240"
    assert not (out / "trials").exists()


def test_trials_of_librispeech_are_balanced_different_and_across_chapters(tmp_path, libri):
    words = ("--source", libri, "--parts", "test-clean", "--out", tmp_path / "out", "--trials", 40)
    assert run(librispeech, *words) == 0
    found = directories.validate(tmp_path / "out")
    listed = trials.read_trials(tmp_path / "out" / "trials", found.keys)
    assert len(listed) == 40 and listed.target.sum() == 20
    assert len({frozenset(pair) for pair in zip(listed.enrol.tolist(), listed.test.tolist(), strict=True)}) == 40
    assert found.speakers is not None and found.recordings is not None
    same = found.speakers[listed.enrol] == found.speakers[listed.test]
    assert (same == listed.target).all()
    one_chapter = found.recordings[listed.enrol] == found.recordings[listed.test]
    assert set(found.speakers[listed.enrol[one_chapter & same]].tolist()) <= {b"26"}
    first = (tmp_path / "out" / "trials").read_text()
    assert run(librispeech, *words) == 0 and (tmp_path / "out" / "trials").read_text() == first
    assert run(librispeech, *words, "--seed", 1) == 0 and (tmp_path / "out" / "trials").read_text() != first


def test_all_target_pairs_against_two_loops():
    speakers, recordings = np.array([0, 1, 0, 0, 1, 2]), np.array([0, 3, 1, 0, 3, 5])
    expected = {(0, 2), (2, 3), (1, 4)}  # of speaker 0 the pair (0, 3) is of one recording; speaker 1 has one only
    assert {tuple(pair) for pair in librispeech.target_pairs(speakers, recordings).tolist()} == expected


@pytest.mark.parametrize(
    ("count", "message"), [(200, "100 target trials asked for, the utterances have 21"), (1, "0 target")]
)
def test_trials_that_are_not_there_are_one_line(tmp_path, libri, caplog, count, message):
    words = ("--source", libri, "--parts", "test-clean", "--out", tmp_path / "out", "--trials", count)
    assert run(librispeech, *words) == 1
    assert message in caplog.text


def test_another_layout_is_one_line(tmp_path, libri, caplog):
    assert run(librispeech, "--source", libri.parent, "--parts", "LibriSpeech", "--out", tmp_path / "out") == 1
    assert "expected <part>/<reader>/<chapter>/<utterance>.flac" in caplog.text


def test_librispeech_on_real_speech(tmp_path, shared):
    words = ("--source", shared / "data", "--parts", "speech", "--out", tmp_path / "out", "--trials", 1000)
    assert run(librispeech, *words) == 0
    found = directories.validate(tmp_path / "out")
    assert len(found.keys) == 1679 and found.speakers is not None and len(np.unique(found.speakers)) == 367
    assert len(trials.read_trials(tmp_path / "out" / "trials", found.keys)) == 1000
