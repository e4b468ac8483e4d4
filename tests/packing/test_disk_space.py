"""The estimate of stage 3 against what it really writes, and against a full disk."""

import logging
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from sslsv_tk import logs
from sslsv_tk.bin import check_disk_space
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.packing import disk_space, join, pack
from sslsv_tk.packing.disk_space import Encoding, Writing
from sslsv_tk.packing.parts import Part

Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture
def data(tmp_path, write_audio) -> Path:
    """Ten utterances of a minute."""
    for number in range(10):
        write_audio(tmp_path / "corpus" / "anna" / "r1" / f"u{number}.wav", 60 * 16000)
    prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "data" / "train")
    return tmp_path / "data" / "train"


@pytest.fixture
def free(monkeypatch):
    """free(n): from now on every disk has n bytes free."""
    return lambda size: monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(size, 0, size))


def test_the_estimate_is_what_stage_3_writes(tmp_path, data):
    out = tmp_path / "dump" / "raw"
    estimated = disk_space._missing_bytes(data, out / "train", 32_000)
    for job in (1, 2):
        pack.pack_part(data, Part(out / "train", job, 2))
    join.finish(data, out / "train", 2)
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert 0.999 * written < estimated < 1.01 * written
    assert disk_space._missing_bytes(data, out / "train", 32_000) == 0
    (out / "train/made.json").write_text("{")  # stage 3, which comes next, joins the parts anew
    assert 0 < disk_space._missing_bytes(data, out / "train", 32_000) < 0.01 * estimated


def test_what_is_packed_already_is_not_counted_again(tmp_path, data):
    out = tmp_path / "dump" / "raw"
    before = disk_space._missing_bytes(data, out / "train", 32_000)
    pack.pack_part(data, Part(out / "train", 1, 2))
    after = disk_space._missing_bytes(data, out / "train", 32_000)
    assert before - after == Path(out / "train/split/wav.1.ark").stat().st_size
    (out / "train/split/.wav.2.ark.99.tmp").write_bytes(bytes(100_000))
    (out / "train/split/.wav.2.ark").write_bytes(bytes(100_000))
    assert disk_space._missing_bytes(data, out / "train", 32_000) == after


def test_both_numbers_are_said_where_it_does_not_fit(tmp_path, data, free, caplog):
    options = ["--data", str(data), "--out", str(tmp_path / "nowhere" / "raw")]
    other = tmp_path / "other"
    other.mkdir()
    (other / "utt2dur").write_text("z 1\n")
    free(19_300_000)
    assert logs.run_command(check_disk_space.main, options) == 0
    free(19_200_000)
    assert logs.run_command(check_disk_space.main, options) == 1
    assert "needs about 0.0192" in caplog.text and "the disk has 0.019200 GB free" in caplog.text
    assert logs.run_command(check_disk_space.main, ["--data", str(other), "--in-place", str(data), *options[2:]]) == 0
    assert not (tmp_path / "nowhere").exists()


def test_features_take_bands_times_bytes_a_hundred_times_a_second(tmp_path, data, free, caplog):
    options = ["--out", str(tmp_path / "raw"), "--feature-data", str(data), "--feature-out", str(tmp_path)]
    free(600 * 100 * 40 * 4 + 10_000)
    assert logs.run_command(check_disk_space.main, options) == 0
    free(600 * 100 * 40 * 4 - 1)
    assert logs.run_command(check_disk_space.main, options) == 1
    assert logs.run_command(check_disk_space.main, [*options, "--compress", "cm2"]) == 0


def test_large_sizes_are_said_in_gigabytes(tmp_path, free):
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "utt2dur").write_text("a 8000000\n")
    free(20e9)
    with pytest.raises(ValueError, match=r"needs about 256\.0 GB more .* has 20\.0 GB free"):
        disk_space.check(Writing([tmp_path / "big"], tmp_path / "dump", Encoding()))


def test_segments_count_where_there_is_no_utt2dur(tmp_path, caplog):
    (tmp_path / "segments").write_text("a f 0.5 2.5\nb f 3 4\n")
    assert disk_space._durations(tmp_path)[1] == 3.0
    (tmp_path / "segments").unlink()
    with pytest.raises(ValueError, match=r"no wav\.scp, so not a data directory"):
        disk_space._durations(tmp_path)
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    with caplog.at_level(logging.WARNING):
        assert disk_space._durations(tmp_path)[1] == 0.0
    assert "is not known, and not counted" in caplog.text


def test_two_sets_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two data directories are called train"):
        Writing([tmp_path / "a" / "train", tmp_path / "b" / "train"], tmp_path, Encoding())


def test_audio_and_features_are_summed_before_any_is_written(tmp_path, data, free, caplog):
    raw, features = tmp_path / "dump" / "raw", tmp_path / "dump" / "fbank"
    options = ["--data", str(data), "--out", str(raw), "--feature-data", str(data), "--feature-out", str(features)]
    audio, frames = 600 * 32_000, 600 * 100 * 40 * 4
    free(audio + 10_000)
    assert logs.run_command(check_disk_space.main, options[:4]) == 0
    assert logs.run_command(check_disk_space.main, ["--out", str(raw), *options[4:]]) == 0
    assert logs.run_command(check_disk_space.main, options) == 1
    error = caplog.records[-1].getMessage()
    assert f"{raw} and {features}: stage 3 needs about 0.0288" in error
    assert f" in {raw}, 0.0096" in error
    assert "the disk has 0.019210 GB free" in error and "\n" not in error
    assert not (tmp_path / "dump").exists()
    free(audio + frames + 20_000)
    assert logs.run_command(check_disk_space.main, options) == 0


def test_of_the_sum_only_what_is_missing_counts(tmp_path, data, free):
    raw, features = tmp_path / "dump" / "raw", tmp_path / "dump" / "fbank"
    both = Writing([data], raw, Encoding()), Writing([data], features, Encoding("fbank", 40, 4))
    for job in (1, 2):
        pack.pack_part(data, Part(raw / "train", job, 2))
    join.finish(data, raw / "train", 2)
    part = features / "train" / "parts" / "1" / "feats.ark"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(600 * 100 * 40 * 2))
    free(600 * 100 * 40 * 2 + 10_000)
    disk_space.check(*both)
    free(600 * 100 * 40 * 2 - 10_000)
    with pytest.raises(ValueError, match=r"0\.000000 in .*/raw, 0\.0048.* in .*/fbank"):
        disk_space.check(*both)


def test_two_disks_are_compared_each_by_itself(tmp_path, data, monkeypatch):
    features = tmp_path / "other"
    features.mkdir()
    monkeypatch.setattr(disk_space, "_device", lambda out: int(out == features))
    free_of = {features: 10_000_000}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free_of.get(path, 19_300_000)))
    both = Writing([data], tmp_path / "dump" / "raw", Encoding()), Writing([data], features, Encoding("fbank", 40, 4))
    disk_space.check(*both)
    free_of[features] = 9_000_000
    with pytest.raises(ValueError, match=r"/other: stage 3 needs about 0\.0096.* GB more .* has 0\.009000 GB free"):
        disk_space.check(*both)


def test_a_disk_that_is_really_too_small_stops_the_stage_before_it_writes(tmp_path, data):
    disk = tmp_path / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no right to mount a small tmpfs here")
    try:
        raw = Writing([data], disk / "dump" / "raw", Encoding())
        disk_space.check(raw)
        with pytest.raises(ValueError, match=r"needs about 0\.0288.* has 0\.02\d+ GB free"):
            disk_space.check(raw, Writing([data], disk / "dump" / "fbank", Encoding("fbank", 40, 4)))
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_segments_that_end_with_their_file_count_by_its_header(tmp_path, write_audio, caplog):
    write_audio(tmp_path / "f.wav", 4 * 16000)
    (tmp_path / "wav.scp").write_text(f"f {tmp_path}/f.wav\ng cat {tmp_path}/f.wav |\n")
    (tmp_path / "segments").write_text("a f 0.5 -1\nb f 1 2\nc g 1 2\n")
    assert disk_space._durations(tmp_path)[1] == 3.5 + 1 + 1
    (tmp_path / "segments").write_text("a f 0.5 -1\nb g 1 -1\nc g 1 2\n")
    assert disk_space._durations(tmp_path)[1] == 3.5 + 1
    assert "the lengths of 1 segments are not known, and not counted" in caplog.text


def test_features_need_a_folder_and_sets(tmp_path, data):
    for words in (["--feature-data", str(data)], ["--feature-out", str(tmp_path)]):
        with pytest.raises(SystemExit, match="2"):
            check_disk_space.main(["--out", str(tmp_path), *words])
