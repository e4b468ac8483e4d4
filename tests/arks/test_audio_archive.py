"""The reader of packed audio against kaldiio's full read, and against every way an ark can be wrong."""

import os
import pickle
import tracemalloc
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk import seeds
from sslsv_tk.arks import entries
from sslsv_tk.arks.audio_archive import AudioArchive, write_pcm_ark
from sslsv_tk.kaldi.tables import write_table


def waveforms(count: int, longest: int = 3000) -> dict[str, np.ndarray]:
    draw = seeds.generator("arks", count)
    return {
        f"utterance{number:04d}": draw.integers(-32768, 32768, draw.integers(1, longest), dtype=np.int16)
        for number in range(count)
    }


def pack(folder: Path, utterances: dict[str, np.ndarray]) -> AudioArchive:
    write_pcm_ark(utterances.items(), folder / "wav.1.ark", folder / "wav.scp", folder / "utt2samples")
    return AudioArchive(folder)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> tuple[AudioArchive, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("packed")
    archive = pack(folder, waveforms(20))
    return archive, {key: array for key, (rate, array) in kaldiio.load_scp(str(folder / "wav.scp")).items()}


def test_kaldiio_reads_what_was_written_bit_for_bit(tmp_path):
    utterances = waveforms(10)
    pack(tmp_path, utterances)
    found = kaldiio.load_scp(str(tmp_path / "wav.scp"))
    assert list(found) == list(utterances)
    for key, waveform in utterances.items():
        rate, array = found[key]
        assert rate == 16000 and array.dtype == np.int16
        np.testing.assert_array_equal(array, waveform)


def test_an_ark_is_byte_for_byte_the_one_that_kaldiio_writes(tmp_path):
    utterances = waveforms(5)
    pack(tmp_path, utterances)
    with kaldiio.WriteHelper(f"ark:{tmp_path}/theirs.ark") as writer:
        for key, waveform in utterances.items():
            writer(key, (16000, waveform))
    assert (tmp_path / "wav.1.ark").read_bytes() == (tmp_path / "theirs.ark").read_bytes()


def test_a_pipe_in_the_place_of_an_ark_is_one_line_and_not_waited_for(tmp_path):
    archive = pack(tmp_path, {"utterance0000": np.arange(900, dtype=np.int16)})
    (tmp_path / "wav.1.ark").unlink()
    os.mkfifo(tmp_path / "wav.1.ark")
    with pytest.raises(OSError, match=r"a pipe, not a file: .*wav\.1\.ark'"):
        archive.read(0, 0, 100)


@settings(max_examples=200, deadline=None)
@given(row=st.integers(0, 19), ends=st.tuples(st.integers(0, 3000), st.integers(0, 3000)))
def test_a_range_is_that_of_the_full_read(packed, row, ends):
    archive, whole = packed
    waveform = whole[archive.keys[row].decode()]
    start, end = sorted(min(end, len(waveform)) for end in ends)
    found = archive.read(row, start, end - start)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, waveform[start:end])


@settings(max_examples=200, deadline=None)
@given(row=st.integers(0, 19), start=st.integers(0, 9000), count=st.integers(0, 9000))
def test_a_looped_read_is_that_of_the_utterance_repeated_without_end(packed, row, start, count):
    archive, whole = packed
    waveform = whole[archive.keys[row].decode()]
    endless = np.tile(waveform, (start + count) // len(waveform) + 1)
    np.testing.assert_array_equal(archive.read_looped(row, start, count), endless[start : start + count])


@pytest.mark.parametrize(("start", "count"), [(-1, 5), (0, 101), (100, 1), (5, -1)])
def test_a_range_outside_the_utterance_is_refused(tmp_path, start, count):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16)})
    with pytest.raises(ValueError, match="a has 100 samples"):
        archive.read(0, start, count)


def test_only_the_bytes_needed_are_read(tmp_path, monkeypatch):
    archive = pack(tmp_path, {"a": np.zeros(100_000, np.int16)})
    asked = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, offset: asked.append(count) or pread(file, count, offset))
    archive.read(0, 50_000, 10)
    archive.read(0, 70_000, 20)
    assert asked == [len("a ") + 44, 20, 40]


def test_memory_and_open_files_stay_flat_over_epochs(tmp_path):
    for part in range(3):
        utterances = {f"p{part}u{number:03d}": np.full(500, number, np.int16) for number in range(300)}
        write_pcm_ark(
            utterances.items(), tmp_path / f"wav.{part}.ark", tmp_path / f"{part}.scp", tmp_path / f"samples.{part}"
        )
    for name, pattern in (("wav.scp", "{}.scp"), ("utt2samples", "samples.{}")):
        (tmp_path / name).write_text("".join((tmp_path / pattern.format(part)).read_text() for part in range(3)))
    archive = AudioArchive(tmp_path)

    def epoch() -> None:
        for row in range(len(archive)):
            archive.read_looped(row, row, 400)

    epoch()
    open_files = len(os.listdir("/proc/self/fd"))
    tracemalloc.start()
    try:
        epoch()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            epoch()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4096
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert len(archive._open_files) == 3


def test_no_more_files_are_open_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "_MOST_OPEN_FILES", 2)
    keys, scp = [f"u{part}" for part in range(5)], []
    for part, key in enumerate(keys):
        write_pcm_ark([(key, np.full(9, part, np.int16))], tmp_path / f"{part}.ark", tmp_path / "s", tmp_path / "u")
        scp.append(f"{tmp_path}/{part}.ark:3")
    write_table(tmp_path / "wav.scp", keys, scp)
    write_table(tmp_path / "utt2samples", keys, np.full(5, 9))
    archive = AudioArchive(tmp_path)
    for _ in range(2):
        for row in range(5):
            assert (archive.read(row, 0, 9) == row).all()
            assert len(archive._open_files) <= 2


def test_a_pickled_archive_reads_the_same_and_takes_no_open_file_along(packed):
    archive, whole = packed
    archive.read(3, 0, 1)
    copy = pickle.loads(pickle.dumps(archive))
    assert copy._open_files == {}
    np.testing.assert_array_equal(copy.read(3, 0, int(copy.samples[3])), whole["utterance0003"])


def test_an_ark_cut_short_names_ark_offset_and_bytes(tmp_path):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16), "b": np.ones(100, np.int16)})
    ark = tmp_path / "wav.1.ark"
    ark.write_bytes(ark.read_bytes()[:-50])
    assert (archive.read(1, 0, 75) == 1).all()
    with pytest.raises(ValueError, match=r"wav\.1\.ark: cut short: expected 200 bytes at offset 292 for b, found 150"):
        archive.read(1, 0, 100)


@pytest.mark.parametrize("keep", [0, 1, 30])
def test_an_ark_cut_before_the_samples_is_cut_short(tmp_path, keep):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16)})
    ark = tmp_path / "wav.1.ark"
    ark.write_bytes(ark.read_bytes()[:keep])
    with pytest.raises(ValueError, match="cut short"):
        archive.read(0, 0, 10)


def test_an_ark_of_other_utterances_is_noticed_at_the_first_read(tmp_path):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16)})
    pack(tmp_path / "other", {"b": np.zeros(100, np.int16)})
    os.replace(tmp_path / "other" / "wav.1.ark", tmp_path / "wav.1.ark")
    with pytest.raises(ValueError, match=r"expected the key a before offset 2, found 'b '"):
        archive.read(0, 0, 10)


@pytest.mark.parametrize(
    ("rate", "shape", "found"),
    [(8000, (100,), "8000 Hz, 1 channel"), (16000, (50, 2), "2 channel"), (16000, (90,), "90 samples")],
)
def test_a_header_that_is_not_what_the_tables_say_is_described(tmp_path, rate, shape, found):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16)})
    kaldiio.save_ark(str(tmp_path / "wav.1.ark"), {"a": (rate, np.zeros(shape, np.int16))})
    with pytest.raises(
        ValueError, match=rf"wav\.1\.ark:2: a: expected 16000 Hz, 1 channel.*100 samples; found.*{found}"
    ):
        archive.read(0, 0, 10)


def test_features_instead_of_audio_are_described(tmp_path):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16)})
    kaldiio.save_ark(str(tmp_path / "wav.1.ark"), {"a": np.zeros((50, 40), np.float32)})
    with pytest.raises(ValueError, match="found no RIFF header"):
        archive.read(0, 0, 10)


def test_a_row_is_verified_again_only_until_it_was_right(tmp_path):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16)})
    ark = tmp_path / "wav.1.ark"
    contents = ark.read_bytes()
    ark.write_bytes(b"x" + contents[1:])
    for _ in range(2):
        with pytest.raises(ValueError, match="expected the key a"):
            archive.read(0, 0, 10)
    ark.write_bytes(contents)
    assert archive.read(0, 0, 10).tolist() == [0] * 10


def test_a_scp_that_points_nowhere_names_the_ark(tmp_path):
    archive = pack(tmp_path, {"a": np.zeros(100, np.int16)})
    (tmp_path / "wav.1.ark").unlink()
    with pytest.raises(ValueError, match=r"wav\.scp points to .*wav\.1\.ark, which does not exist"):
        archive.read(0, 0, 10)


@pytest.mark.parametrize("missing", ["wav.scp", "utt2samples"])
def test_a_folder_without_its_tables_says_which(tmp_path, missing):
    pack(tmp_path, {"a": np.zeros(100, np.int16)})
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"no {missing}.*stage 3"):
        AudioArchive(tmp_path)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("wav.scp", "a x.ark\n", r"wav\.scp:1: expected a path\.ark:offset, found 'x\.ark'"),
        ("wav.scp", "a x.ark:q\n", r"wav\.scp:1: expected a whole number"),
        ("utt2samples", "a 0\n", r"utt2samples:1: expected 1 to 2147483625 samples, found 0"),
        ("utt2samples", "a 99999999999\n", r"utt2samples:1: expected 1 to 2147483625 samples, found 99999999999"),
        ("utt2samples", "b 100\n", "do not list the same utterances"),
        ("utt2samples", "a 100\nb 100\n", "do not list the same utterances"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, name, contents, message):
    pack(tmp_path, {"a": np.zeros(100, np.int16)})
    (tmp_path / name).write_text(contents)
    with pytest.raises(ValueError, match=message):
        AudioArchive(tmp_path)


def test_codes_number_the_sorted_names_and_unknown_speakers_are_none(tmp_path):
    archive = pack(tmp_path, {key: np.zeros(10, np.int16) for key in ("a", "b", "c")})
    write_table(tmp_path / "utt2rec", ["a", "b", "c"], ["z", "x", "z"])
    write_table(tmp_path / "utt2spk", ["a", "b", "c"], ["a", "b", "c"])
    codes = archive.read_codes("utt2rec")
    assert codes is not None and codes.dtype == np.int32 and codes.tolist() == [1, 0, 1]
    assert archive.read_codes("utt2spk") is None
    assert archive.read_codes("utt2category") is None
    write_table(tmp_path / "utt2spk", ["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match=r"utt2spk and wav\.scp do not list the same utterances"):
        archive.read_codes("utt2spk")


@pytest.mark.parametrize("waveform", [np.zeros(0, np.int16), np.zeros(5, np.float32), np.zeros((5, 1), np.int16)])
def test_what_is_no_waveform_is_not_packed_and_leaves_nothing(tmp_path, waveform):
    with pytest.raises(ValueError, match=r"b: expected \(samples,\) int16"):
        pack(tmp_path, {"a": np.zeros(5, np.int16), "b": waveform})
    assert list(tmp_path.iterdir()) == []


def test_an_ark_path_with_colons_and_spaces_works(tmp_path):
    folder = tmp_path / "with: a space"
    archive = pack(folder, {"a": np.arange(5, dtype=np.int16)})
    assert archive.files.tolist() == [f"{folder}/wav.1.ark".encode()]
    assert archive.read(0, 1, 3).tolist() == [1, 2, 3]


@pytest.mark.parametrize("compares", [False, True])
@pytest.mark.parametrize("count", [1, 200, 2000, 5000])
def test_segments_of_many_rows_are_the_looped_reads_of_each(tmp_path, count, compares):
    archive = pack(tmp_path, waveforms(20))
    archive.compares = compares
    draw = np.random.default_rng(count)
    rows, starts = draw.integers(0, 20, 60), draw.integers(0, 4000, 60)
    rows[:2], starts[:2] = 3, 0
    found = archive.read_segments(rows, starts, count)
    assert found.dtype == np.int16 and found.flags.writeable
    expected = np.stack([archive.read_looped(r, s, count) for r, s in zip(rows.tolist(), starts.tolist(), strict=True)])
    np.testing.assert_array_equal(found, expected)


def test_segments_are_read_in_the_order_of_the_disk(tmp_path, monkeypatch):
    archive = pack(tmp_path, waveforms(20))
    archive.read_segments(np.arange(20), np.zeros(20, np.int64), 1)  # compares the headers
    begins, read = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, into, begin: (begins.append(begin), read(file, into, begin))[1])
    archive.read_segments(np.array([7, 3, 19, 3, 0]), np.array([0, 5, 0, 2, 0]), 1)
    assert len(begins) == 5 and begins == sorted(begins)


def test_a_segment_of_an_ark_cut_short_says_so(tmp_path):
    archive = pack(tmp_path, waveforms(5))
    os.truncate(tmp_path / "wav.1.ark", (tmp_path / "wav.1.ark").stat().st_size - 10)
    last = int(archive.samples[4])
    with pytest.raises(ValueError, match=rf"cut short: expected {2 * last} bytes at offset"):
        archive.read_segments(np.array([0, 4]), np.array([0, 0]), last)
