"""The reader of features against kaldiio's full read, against every way an ark can be wrong, and offline copies."""

import logging
import os
import pickle
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk import records
from sslsv_tk.arks import feature_archive
from sslsv_tk.arks.audio_archive import AudioArchive, write_pcm_ark
from sslsv_tk.arks.feature_archive import CopiedFeatures, FeatureArchive, check_settings, open_archive
from sslsv_tk.kaldi.tables import write_table
from sslsv_tk.records import Made

METHODS = {"FM": None, "CM": 2, "CM2": 3, "CM3": 5, "DM": None}
BY_ROWS = [kind for kind in METHODS if kind != "CM"]


def matrices(lengths: dict[str, int], kind: str = "FM", bands: int = 5) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(len(lengths))
    dtype = np.float64 if kind == "DM" else np.float32
    return {key: generator.normal(-5, 4, (rows, bands)).astype(dtype) for key, rows in lengths.items()}


def write(folder: Path, entries: dict[str, np.ndarray], kind: str = "FM", lengths: bool = True) -> Path:
    """A folder of features as kaldiio writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    kaldiio.save_ark(str(folder / "feats.ark"), entries, str(folder / "feats.scp"), compression_method=METHODS[kind])
    if lengths:
        write_table(folder / "utt2num_frames", list(entries), [str(len(entry)) for entry in entries.values()])
    return folder


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, FeatureArchive]:
    """Twelve utterances of 1 to 60 frames in each kind."""
    root = tmp_path_factory.mktemp("kinds")
    lengths = {f"utterance{row:02d}": 1 + 7 * row * row % 60 for row in range(12)}
    return {kind: FeatureArchive(write(root / kind, matrices(lengths, kind), kind)) for kind in METHODS}


@pytest.fixture(scope="module")
def whole(archives) -> dict[str, list[np.ndarray]]:
    """What kaldiio reads of the same arks."""
    return {
        kind: [matrix.astype(np.float32) for matrix in kaldiio.load_scp(str(archive.folder / "feats.scp")).values()]
        for kind, archive in archives.items()
    }


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BY_ROWS), st.integers(0, 11), st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_a_range_is_that_of_the_full_read(archives, whole, kind, row, ends):
    expected = whole[kind][row]
    start, end = sorted(min(end, len(expected)) for end in ends)
    found = archives[kind].read(row, start, end - start)
    assert found.dtype == np.float32 and found.shape == (end - start, 5)
    np.testing.assert_array_equal(found, expected[start:end])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BY_ROWS), st.integers(0, 11), st.integers(0, 200), st.integers(0, 200))
def test_a_looped_read_is_that_of_the_utterance_repeated_without_end(archives, whole, kind, row, start, count):
    matrix = whole[kind][row]
    endless = np.tile(matrix, ((start + count) // len(matrix) + 1, 1))
    np.testing.assert_array_equal(archives[kind].read_looped(row, start, count), endless[start : start + count])


@pytest.mark.parametrize(("start", "count"), [(-1, 5), (0, 11), (10, 1), (5, -1)])
def test_a_range_outside_the_utterance_is_refused(tmp_path, start, count):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 10})))
    with pytest.raises(ValueError, match="a has 10 frames"):
        archive.read(0, start, count)


@pytest.mark.parametrize(("kind", "item"), [("FM", 4), ("CM2", 2)])
def test_only_the_bytes_needed_are_read(tmp_path, monkeypatch, kind, item):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 1000}), kind))
    asked = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, offset: asked.append(count) or pread(file, count, offset))
    archive.read(0, 400, 10)
    archive.read(0, 700, 20)
    assert asked == [len("a ") + 22, 10 * 5 * item, 20 * 5 * item]


def test_frames_of_column_major_matrices_are_those_of_the_whole(archives, whole):
    archive = archives["CM"]
    for row, expected in enumerate(whole["CM"]):
        found = archive.read(row, 0, len(expected))
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)
        for start in range(0, len(expected), 3):
            count = min(5, len(expected) - start)
            np.testing.assert_array_equal(archive.read(row, start, count), found[start : start + count])
    copied = CopiedFeatures(archive, ("clean",))
    np.testing.assert_array_equal(copied.read_looped(0, 5, 2, 4), archive.read_looped(5, 2, 4))


def test_lengths_come_from_the_headers_where_kaldi_left_no_table(tmp_path):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 3, "b": 8}), lengths=False))
    assert archive.frames.tolist() == [3, 8] and archive.bands == 5


def test_a_pickled_archive_reads_the_same_and_takes_no_open_file_along(archives, whole):
    archives["CM2"].read(3, 0, 1)
    copy = pickle.loads(pickle.dumps(archives["CM2"]))
    assert copy._open_files == {}
    np.testing.assert_array_equal(copy.read(3, 0, len(whole["CM2"][3])), whole["CM2"][3])


def test_codes_number_the_sorted_names_and_unknown_speakers_are_none(tmp_path):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 3, "b": 3, "c": 3})))
    write_table(tmp_path / "utt2rec", ["a", "b", "c"], ["z", "x", "z"])
    write_table(tmp_path / "utt2spk", ["a", "b", "c"], ["a", "b", "c"])
    codes = archive.read_codes("utt2rec")
    assert codes is not None and codes.tolist() == [1, 0, 1]
    assert archive.read_codes("utt2spk") is None and archive.read_codes("utt2gender") is None


# damage


def test_an_ark_cut_short_names_ark_offset_and_bytes(tmp_path):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 10, "b": 10})))
    ark = tmp_path / "feats.ark"
    os.truncate(ark, ark.stat().st_size - 30)
    assert archive.read(1, 0, 8).shape == (8, 5)
    with pytest.raises(
        ValueError,
        match=r"feats\.ark: cut short: expected 200 bytes at offset 234 for b, found 170\. The ark was made el",
    ):
        archive.read(1, 0, 10)


def test_an_ark_of_other_utterances_is_noticed_at_the_first_read(tmp_path):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 10})))
    write(tmp_path / "other", matrices({"b": 10}))
    os.replace(tmp_path / "other" / "feats.ark", tmp_path / "feats.ark")
    with pytest.raises(ValueError, match=r"expected the key a before offset 2, found 'b '"):
        archive.read(0, 0, 1)


@pytest.mark.parametrize(("rows", "bands"), [(9, 5), (11, 5), (10, 4)])
def test_a_matrix_of_another_size_is_noticed_at_the_first_read(tmp_path, rows, bands):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 10})))
    kaldiio.save_ark(str(tmp_path / "feats.ark"), matrices({"a": rows}, bands=bands))
    with pytest.raises(ValueError, match=rf"expected 10 frames of 5 bands, found {rows} of {bands}"):
        archive.read(0, 0, 1)


@pytest.mark.parametrize("contents", [b"a RIFF" + bytes(60), b"a \0BFM ", b"a [ 1 2 ]\n", b"a "])
def test_what_is_no_matrix_is_described(tmp_path, contents):
    write(tmp_path, matrices({"a": 10}))
    (tmp_path / "feats.ark").write_bytes(contents)
    with pytest.raises(ValueError, match=r"feats\.ark:2: a: expected"):
        FeatureArchive(tmp_path)


def test_an_empty_ark_is_cut_short(tmp_path):
    write(tmp_path, matrices({"a": 10}))
    (tmp_path / "feats.ark").write_bytes(b"")
    with pytest.raises(ValueError, match=r"feats\.ark: cut short: expected 24 bytes at offset 0 for a, found 0"):
        FeatureArchive(tmp_path)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("feats.scp", None, "no feats.scp, so not a folder of features. Run stage 3 with --feats-type fbank"),
        ("feats.scp", "a x.ark\n", r"feats\.scp:1"),
        ("feats.scp", "a gone.ark:2\n", r"points to gone\.ark, which does not exist"),
        ("utt2num_frames", "a 0\n", r"utt2num_frames:1: an utterance without frames"),
        ("utt2num_frames", "a x\n", r"utt2num_frames:1: expected a whole number"),
        ("utt2num_frames", "b 10\n", "utt2num_frames and feats.scp do not list the same utterances"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, name, contents, message):
    write(tmp_path, matrices({"a": 10}))
    (tmp_path / name).unlink()
    if contents is not None:
        (tmp_path / name).write_text(contents)
    with pytest.raises(ValueError, match=message):
        FeatureArchive(tmp_path)


# what a folder holds, and how it was made


def test_a_folder_is_opened_as_what_it_holds(tmp_path):
    write(tmp_path / "f", matrices({"a": 10}))
    folder = tmp_path / "r"
    write_pcm_ark([("a", np.zeros(9, np.int16))], folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
    assert isinstance(open_archive(tmp_path / "f"), FeatureArchive)
    assert isinstance(open_archive(folder), AudioArchive)
    feature_archive.refuse_other_kind("raw", folder)
    feature_archive.refuse_other_kind("fbank", tmp_path / "f")
    with pytest.raises(ValueError, match=r"/r holds audio, and .*feats_type is fbank: it reads features.*dump/fbank/r"):
        feature_archive.refuse_other_kind("fbank", folder)
    with pytest.raises(ValueError, match=r"/f holds features, and .*feats_type is raw"):
        feature_archive.refuse_other_kind("raw", tmp_path / "f")


def test_settings_are_compared_by_name(tmp_path, caplog):
    archive = FeatureArchive(write(tmp_path, matrices({"a": 10})))
    with pytest.raises(ValueError, match=r"has 5 bands; frontend.bands is 40"):
        check_settings(archive, {"bands": 40})
    with caplog.at_level(logging.WARNING):
        check_settings(archive, {"bands": 5, "window": "hann"})
    assert "only the number of bands could be compared" in caplog.text
    records.write(tmp_path, Made({"frontend.bands": 5, "frontend.window": "hamming"}, {}))
    check_settings(archive, {"bands": 5, "window": "hamming"})
    with pytest.raises(ValueError, match=r"computed with frontend.window = hamming; the configuration says hann"):
        check_settings(archive, {"bands": 5, "window": "hann"})


# copies


@pytest.fixture
def copied(tmp_path) -> Path:
    """`train` and its copies noise and reverb, whose keys sort in another order than the clean ones."""
    lengths = {"s-x": 9, "s-x-1": 7, "s-y": 8}
    write(tmp_path / "train", matrices(lengths))
    for copy in ("noise", "reverb"):
        keys = sorted(f"{key}-{copy}" for key in lengths)
        write(tmp_path / f"train_{copy}", matrices({key: lengths[key.removesuffix(f"-{copy}")] for key in keys}))
    return tmp_path


def test_a_copy_is_read_by_the_row_of_the_clean_utterance(copied):
    found = CopiedFeatures(FeatureArchive(copied / "train"), ("noise", "clean", "reverb"))
    for number, (folder, ending) in enumerate((("train_noise", "-noise"), ("train", ""), ("train_reverb", "-reverb"))):
        expected = kaldiio.load_scp(str(copied / folder / "feats.scp"))
        for row, key in enumerate(("s-x", "s-x-1", "s-y")):
            np.testing.assert_array_equal(found.read_looped(number, row, 2, 4), expected[key + ending][2:6])


def test_rows_of_copies_are_found_again_by_a_worker_and_in_blocks(copied, monkeypatch):
    found = CopiedFeatures(FeatureArchive(copied / "train"), ("noise", "clean", "reverb"))
    assert [rows.tolist() for rows in found._rows] == [[1, 0, 2], [0, 1, 2], [1, 0, 2]]
    sent = pickle.dumps(found)
    assert b"s-x" not in sent and len(sent) < 1000
    monkeypatch.setattr("sslsv_tk.kaldi.tables._BLOCK_ROWS", 2)
    for again in (pickle.loads(sent), CopiedFeatures(found.clean, found.names)):
        assert again.names == found.names and again.clean.folder == found.clean.folder
        for rows, expected in zip(again._rows, found._rows, strict=True):
            np.testing.assert_array_equal(rows, expected)


def test_segments_of_an_utterance_come_from_different_copies_each_as_often(copied):
    found = CopiedFeatures(FeatureArchive(copied / "train"), ("noise", "clean", "reverb"))
    everyone = np.arange(6000)
    turns = np.stack([found.draw(3, 1, everyone, turn) for turn in range(4)])
    assert (np.sort(turns[:3], axis=0) == np.arange(3)[:, None]).all()
    assert (turns[3] == turns[0]).all()
    counts = [np.bincount(turn, minlength=3) for turn in turns]
    assert np.abs(np.array(counts) - 2000).max() < 5 * np.sqrt(6000 * 2 / 9)
    assert (found.draw(3, 1, everyone[::-1], 0) == turns[0][::-1]).all()
    assert (found.draw(3, 2, everyone, 0) != turns[0]).any() and (found.draw(4, 1, everyone, 0) != turns[0]).any()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", r"train_noise: no feats.scp, so the copy noise is not there.*augmentation.copies"),
        ("lacking", r"train_noise lacks copies of 1 utterances of .*train \(s-x-1\)"),
        ("length", r"s-y-noise has 6 frames, the clean one 8"),
        ("bands", r"train_noise has 4 bands, .*train 5"),
    ],
)
def test_copies_that_do_not_fit_are_refused(copied, fault, message):
    folder = copied / "train_noise"
    lengths = {"s-x-1-noise": 7, "s-x-noise": 9, "s-y-noise": 8}
    if fault == "missing":
        shutil.rmtree(folder)
    elif fault == "lacking":
        del lengths["s-x-1-noise"]
        write(folder, matrices(lengths))
    elif fault == "length":
        write(folder, matrices({**lengths, "s-y-noise": 6}))
    else:
        write(folder, matrices(lengths, bands=4))
    with pytest.raises(ValueError, match=message):
        CopiedFeatures(FeatureArchive(copied / "train"), ("noise",))
