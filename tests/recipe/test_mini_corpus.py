"""The generated corpus: its files, its lists, and its being whole or absent."""

import filecmp
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sslsv_tk import config, logs

LOCAL = Path(__file__).resolve().parents[2] / "egs" / "voxceleb" / "local"
sys.path.insert(0, str(LOCAL))

import make_mini_corpus  # noqa: E402
from mini import lists  # noqa: E402
from mini.options import TINY, CorpusOptions  # noqa: E402

MICRO = [
    "training_speakers=1",
    "training_recordings=[1, 1]",
    "utterances_per_recording=[1, 1]",
    "test_speakers=2",
    "test_recordings=[2, 2]",
    "utterance_seconds=[0.5, 0.7]",
    "noise_files=1",
    "music_files=1",
    "speech_files=1",
    "augmentation_seconds=[0.5, 0.6]",
    "rooms=1",
    "responses_per_room=1",
]


def run(out: Path, *arguments: str) -> int:
    return logs.run_command(make_mini_corpus.main, ["--out", str(out), "--jobs", "1", *arguments])


def micro(out: Path, *arguments: str) -> int:
    return run(out, *itertools.chain.from_iterable(("--set", option) for option in MICRO), *arguments)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def same_bytes(one: Path, other: Path) -> bool:
    names = files(one)
    return names == files(other) and filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def samples_of(path: Path) -> np.ndarray:
    with wave.open(str(path)) as stream:
        assert (stream.getnchannels(), stream.getsampwidth(), stream.getframerate()) == (1, 2, 16000)
        return np.frombuffer(stream.readframes(stream.getnframes()), dtype="<i2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "corpus"
    assert run(out, "--tiny", "true", "--seed", "5") == 0
    return out


def trials(corpus: Path) -> list[tuple[str, str, str]]:
    lines = (corpus / "voxceleb1" / "veri_test2.txt").read_text().splitlines()
    return [(label, a, b) for label, a, b in (line.split(" ") for line in lines)]


# Files


def test_the_folders_are_those_of_voxceleb(corpus: Path) -> None:
    for part, first, speakers in (("voxceleb2", 12, 6), ("voxceleb1", 10270, 6)):
        found = [path for path in files(corpus) if path.startswith(f"{part}/wav/")]
        assert all(re.fullmatch(part + r"/wav/id\d{5}/[A-Za-z0-9_-]{11}/0000[12]\.wav", path) for path in found)
        ids = sorted({path.split("/")[2] for path in found})
        assert ids == [f"id{first + k:05d}" for k in range(speakers)]
        recordings = Counter(path.split("/")[2] for path in found if path.endswith("00001.wav"))
        assert set(recordings.values()) == {4 if part == "voxceleb2" else 3}


def test_every_file_is_16_bit_mono_at_16_khz_audible_and_of_the_length_asked_for(corpus: Path) -> None:
    for path in corpus.rglob("*.wav"):
        samples = samples_of(path).astype(float)
        low, high = {"m": (4.0, 11.0), "v": (2.5, 3.2), "r": (0.1, 0.45)}[path.relative_to(corpus).parts[0][0]]
        assert low - 0.001 <= samples.size / 16000 <= high + 0.001
        assert np.abs(samples).max() > 500, path


def test_musan_has_its_three_categories_and_rirs_their_rooms(corpus: Path) -> None:
    musan = Counter(path.split("/")[0] for path in files(corpus / "musan"))
    assert musan == {"noise": 4, "music": 2, "speech": 2}
    assert all(re.fullmatch(r"\w+/[\w-]+/[\w-]+-\d{4}\.wav", path) for path in files(corpus / "musan"))
    assert Counter(path.split("/")[0] for path in files(corpus / "rirs")) == {"Room001": 2, "Room002": 2}


def test_recordings_differ_in_level_and_utterances_in_content(corpus: Path) -> None:
    waves = [samples_of(path) for path in sorted((corpus / "voxceleb2").rglob("*.wav"))]
    assert len({samples.tobytes() for samples in waves}) == 48
    levels = [20 * np.log10(np.sqrt(np.mean(w.astype(float) ** 2)) / 32768) for w in waves]
    assert np.ptp(levels) > 6
    pairs = np.abs(np.array(levels[::2]) - np.array(levels[1::2]))
    assert np.median(pairs) < 0.1  # two utterances of one recording


# Lists


def test_targets_are_all_pairs_across_recordings_and_no_others(corpus: Path) -> None:
    names = sorted(str(path.relative_to(corpus / "voxceleb1" / "wav")) for path in corpus.glob("voxceleb1/wav/*/*/*"))
    expected = {
        frozenset((a, b))
        for a, b in itertools.combinations(names, 2)
        if a.split("/")[0] == b.split("/")[0] and a.split("/")[1] != b.split("/")[1]
    }
    found = [frozenset((a, b)) for label, a, b in trials(corpus) if label == "1"]
    assert len(found) == len(set(found)) and set(found) == expected


def test_nontargets_are_different_speakers_of_one_group_each_equally_often(corpus: Path) -> None:
    found = [(a, b) for label, a, b in trials(corpus) if label == "0"]
    assert len({frozenset(pair) for pair in found}) == len(found)
    pairs = Counter(tuple(sorted(int(name[2:7]) - 10270 for name in pair)) for pair in found)
    assert set(pairs) == {(s, t) for s, t in itertools.combinations(range(6), 2) if (t - s) % 2 == 0}
    assert len(set(pairs.values())) == 1
    targets = sum(label == "1" for label, _, _ in trials(corpus))
    assert 2 * targets <= len(found) < 2 * targets + len(pairs)


def test_every_trial_names_a_file_and_the_list_is_mixed(corpus: Path) -> None:
    listed = trials(corpus)
    assert all((corpus / "voxceleb1" / "wav" / name).is_file() for _, *pair in listed for name in pair)
    labels = [label for label, _, _ in listed]
    assert set(labels[: len(labels) // 4]) == {"0", "1"}


def test_a_group_of_one_speaker_meets_the_other_group() -> None:
    options = config.load(CorpusOptions, overrides=[*TINY, "test_speakers=3"])
    lines = [line.split() for line in lists.trial_lines(options, lists.plan(options))]
    met = {frozenset((a[:7], b[:7])) for label, a, b in lines if label == "0"}
    assert met == {frozenset(pair) for pair in itertools.combinations(("id10270", "id10271", "id10272"), 2)}


# Whole or absent


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_processes(corpus: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "again", "--tiny", "true", "--seed", "5", "--jobs", "2") == 0
    assert same_bytes(corpus, tmp_path / "again")


def test_another_seed_gives_other_audio(tmp_path: Path) -> None:
    assert micro(tmp_path / "a") == 0 and micro(tmp_path / "b", "--seed", "1") == 0
    one = {path.read_bytes() for path in (tmp_path / "a").rglob("*.wav")}
    assert not one & {path.read_bytes() for path in (tmp_path / "b").rglob("*.wav")}


def test_a_rerun_does_nothing_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert micro(tmp_path / "c") == 0
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}
    with caplog.at_level("INFO"):
        assert micro(tmp_path / "c") == 0
    assert "nothing to do" in caplog.text
    assert before == {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}


def test_other_options_stop_and_are_named_and_force_makes_it_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert micro(tmp_path / "c") == 0
    assert micro(tmp_path / "c", "--set", "hum_probability=1.0") == 1
    assert "hum_probability: was 0.3, now 1.0" in caplog.text
    assert micro(tmp_path / "c", "--set", "hum_probability=1.0", "--force", "true") == 0
    assert json.loads((tmp_path / "c" / "made.json").read_text())["options"]["hum_probability"] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("three years of work")
    assert micro(tmp_path / "c") == 1
    assert "not a generated corpus" in caplog.text
    assert files(tmp_path) == ["c/thesis.txt"]


def test_an_error_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make_mini_corpus, "make_room", full)
    assert micro(tmp_path / "c") == 1
    assert list(tmp_path.iterdir()) == []


def test_killed_half_way_it_leaves_no_corpus_and_no_worker_and_the_rerun_is_complete(
    corpus: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(LOCAL / "make_mini_corpus.py"), "--out", str(tmp_path / "c")]
    command += ["--tiny", "true", "--seed", "5", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(LOCAL.parents[2])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(tmp_path.rglob("*.wav")))
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert process.poll() is None and len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "c").exists() and any(tmp_path.iterdir())
    wait_until(lambda: not any(running(worker) for worker in workers))
    assert run(tmp_path / "c", "--tiny", "true", "--seed", "5") == 0
    assert same_bytes(corpus, tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def running(process: str) -> bool:
    """A zombie that nobody has waited for does not run."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("noise_snr=[1, 2]", "Did you mean 'noise_snr_db'"),
        ("noise_snr_db=[9, 3]", "range from low to high"),
        ("noise_snr_db=5", "takes a list"),
        ("utterance_seconds=[0.1, 2]", "at least 0.5"),
        ("test_speakers=1", "at least 2"),
        ("test_recordings=[1, 3]", "at least 2"),
        ("training_speakers=0", "at least 1"),
        ("codec_bits=[0, 4]", "at least 1"),
        ("pitch_relative_spread=-0.1", "must not be negative"),
        ("hum_probability=1.5", "must not exceed 1"),
        ("reverberation_seconds=[0, 1]", "larger than 0"),
        ("high_cut_hz=[3000, 9000]", "within 8000 Hz"),
        ("tilt_db=[.nan, 3]", "takes a finite number"),
    ],
)
def test_a_wrong_option_is_named(option: str, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(tmp_path / "c", "--set", option) == 1
    assert message in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_argument_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "c", "--speakers", "3")
    assert stopped.value.code == 2
