"""The table of an offline copy, read again: the same rows, and every damaged line by its number."""

from pathlib import Path

import numpy as np
import pytest

from sslsv_tk.corpora import copies, copy_tables
from sslsv_tk.corpora.copies import CopyConfig, prepare_copies
from sslsv_tk.corpora.copy_tables import CopyTable, kind_of
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import as_words

CLIPS = {"musan_noise": 2, "musan_music": 3, "musan_speech": 9, "rirs": 4}


@pytest.fixture
def data(tmp_path) -> Path:
    """`train` of 600 utterances, the lists of noises and responses."""
    keys = as_words(sorted(f"s{row // 10}-r{row // 3}{'-x' * (row % 3)}" for row in range(600)))
    DataDirectory(keys, keys, keys, durations=np.full(600, 4.0)).write(tmp_path / "train")
    for name, count in CLIPS.items():
        keys = as_words([f"{name}{row}" for row in range(count)])
        DataDirectory(keys, keys, durations=np.arange(1.0, count + 1)).write(tmp_path / name)
    return tmp_path


def lines(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "augmentation").read_text().splitlines()]


@pytest.mark.parametrize("kind", copies.KINDS)
def test_rows_of_the_table_come_back_as_numbers(data, kind, monkeypatch):
    prepare_copies(data / "train", data, CopyConfig())
    clips = sorted(f"{copies.CLIPS[kind]}{row}" for row in range(CLIPS[copies.CLIPS[kind]]))
    monkeypatch.setattr(copy_tables, "_CHUNK", 100)
    rows = [0, 1, 5, 6, 7, 300, 599]
    found, written = (
        CopyTable(data / f"train_{kind}", as_words(clips)).read(np.array(rows)),
        lines(data / f"train_{kind}"),
    )
    assert kind_of(data / f"train_{kind}") == kind
    for place, row in enumerate(rows):
        line = written[row]
        assert found.response_B[place] == (clips.index(line[2]) if line[2] != "-" else -1)
        assert found.snr_B[place] == (np.float32(line[3]) if line[3] != "-" else np.inf)
        assert found.clip_BK[place].tolist() == [clips.index(word) if word != "-" else -1 for word in line[4::2]]
        assert found.start_BK[place].tolist() == [int(word) for word in line[5::2]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", r"augmentation:4: expected 6 words that begin s0-r1\S*-noise noise\. Run stage 2 with --force true"),
        ("x-noise noise - 3.0 musan_noise0 5", r"augmentation:4: expected 6 words that begin .*found 'x-noise"),
        ("KEY babble - 3.0 musan_noise0 5", r"augmentation:4: expected 6 words that begin .* noise, found"),
        ("KEY noise - 3.0 musan_noise0", r"augmentation:4: expected 6 words"),
        ("KEY noise - 3.0 musan_noise9 5", r"augmentation:4: musan_noise9 is not among the packed clips"),
        ("KEY noise - loud musan_noise0 5", r"augmentation:4: expected numbers"),
        ("KEY noise - nan musan_noise0 5", r"augmentation:4: expected an SNR"),
        ("KEY noise - 3.0 musan_noise0 99999999999999999999", r"augmentation:4: expected numbers"),
        ("KEY noise - 3.0 musan_noise0 -5", r"augmentation:4: expected an SNR and first samples"),
    ],
)
def test_a_damaged_line_is_named(data, line, message):
    prepare_copies(data / "train", data, CopyConfig(), ["noise"])
    table = data / "train_noise" / "augmentation"
    text = table.read_text().splitlines()
    text[3] = line.replace("KEY", text[3].split()[0])
    table.write_text("\n".join(text) + "\n")
    with pytest.raises(ValueError, match=message):
        CopyTable(data / "train_noise", as_words(["musan_noise0", "musan_noise1"])).read(np.array([3, 7]))


def test_a_folder_without_the_table_is_no_copy(data):
    with pytest.raises(ValueError, match=r"train: no table augmentation, so not an offline copy"):
        kind_of(data / "train")
    (data / "train" / "augmentation").write_text("a noisy -\n")
    with pytest.raises(ValueError, match=r"augmentation:1: expected a key and one of noise, music, babble, reverb"):
        kind_of(data / "train")


def test_a_table_cut_short_is_refused(data):
    prepare_copies(data / "train", data, CopyConfig(), ["noise"])
    table = data / "train_noise" / "augmentation"
    table.write_bytes(table.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"augmentation: 599 lines for 600 utterances of .*train_noise"):
        CopyTable(data / "train_noise", as_words(["musan_noise0"]))
