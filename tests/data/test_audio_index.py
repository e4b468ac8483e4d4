"""audio.index against the tables: the same rows, never those of other tables, never damaged ones."""

import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.data import audio_index
from sslsv_tk.data.arks import AudioArchive, write_pcm_ark
from sslsv_tk.data.tables import write_table

COLUMNS = ("keys", "files", "file_of_row", "offsets", "samples")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five utterances in two arks, with their index."""
    for part in range(2):
        pairs = [(f"u{part}{row}", np.full(10 + row, 7 * part + row, np.int16)) for row in range(2 + part)]
        write_pcm_ark(pairs, tmp_path / f"{part}.ark", tmp_path / f"{part}.scp", tmp_path / f"samples.{part}")
    for name, pattern in (("wav.scp", "{}.scp"), ("utt2samples", "samples.{}")):
        (tmp_path / name).write_text("".join((tmp_path / pattern.format(part)).read_text() for part in range(2)))
    audio_index.write(tmp_path)
    return tmp_path


def same(left: audio_index.AudioIndex, right: audio_index.AudioIndex) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in COLUMNS)


def test_the_mapped_index_is_what_the_tables_say(folder):
    mapped = audio_index.load(folder)
    assert mapped.head is not None
    assert same(mapped, audio_index.from_tables(folder))
    for name in COLUMNS:
        assert not getattr(mapped, name).flags.writeable
    archive = AudioArchive(folder)
    assert archive.read(4, 0, 12).tolist() == [9] * 12


def test_without_an_index_the_tables_are_read(folder):
    (folder / audio_index.NAME).unlink()
    assert audio_index.load(folder).head is None
    assert AudioArchive(folder).read(4, 0, 12).tolist() == [9] * 12


def test_an_index_of_other_tables_is_passed_over_and_written_anew(folder, caplog):
    write_table(folder / "utt2samples", ["u00", "u01", "u10", "u11", "u12"], np.array([10, 11, 10, 11, 5]))
    with caplog.at_level(logging.WARNING):
        assert audio_index.load(folder).samples.tolist() == [10, 11, 10, 11, 5]
    assert "is not of the tables beside it" in caplog.text
    audio_index.write(folder)
    assert audio_index.load(folder).head is not None
    assert audio_index.load(folder).samples.tolist() == [10, 11, 10, 11, 5]


def test_an_index_that_fits_is_not_written_again(folder):
    before = (folder / audio_index.NAME).stat()
    audio_index.write(folder)
    after = (folder / audio_index.NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_index_never_gives_other_rows(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    write_pcm_ark(
        [("a", np.ones(5, np.int16)), ("b", np.ones(6, np.int16))],
        *(folder / n for n in ("x.ark", "wav.scp", "utt2samples")),
    )
    audio_index.write(folder)
    path = folder / audio_index.NAME
    contents = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        contents = contents[: data.draw(st.integers(0, len(contents) - 1))]
    else:
        place = data.draw(st.integers(0, len(contents) - 1))
        contents[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(contents)
    assert same(audio_index.load(folder), audio_index.from_tables(folder))


def test_loader_workers_map_the_same_file_and_carry_no_rows(folder):
    archive = AudioArchive(folder)
    archive.read(0, 0, 1)
    sent = pickle.dumps(archive)
    assert b"u00" not in sent
    copy = pickle.loads(sent)
    assert copy._index.head == archive._index.head
    assert copy.read(4, 0, 12).tolist() == [9] * 12


def test_an_index_that_changed_on_the_way_to_a_worker_is_an_error(folder):
    sent = pickle.dumps(AudioArchive(folder))
    write_table(folder / "utt2samples", ["u00", "u01", "u10", "u11", "u12"], np.array([10, 11, 10, 11, 5]))
    audio_index.write(folder)
    with pytest.raises(ValueError, match="was changed or removed while it was in use"):
        pickle.loads(sent)
    (folder / audio_index.NAME).unlink()
    with pytest.raises(ValueError, match="was changed or removed while it was in use"):
        pickle.loads(sent)


def test_two_hundred_thousand_wav_files_open_in_little_memory(tmp_path):
    rows = 200_000
    keys = [f"id{row:08d}" for row in range(rows)]
    write_table(tmp_path / "wav.scp", keys, [f"/corpus/of/many/files/{key}/recording/00001.wav" for key in keys])
    write_table(tmp_path / "utt2samples", keys, np.arange(rows) + 16000)
    write_table(tmp_path / audio_index.OFFSETS, keys, np.full(rows, 44))
    audio_index.write(tmp_path)
    program = (
        "import resource, sys; from sslsv_tk.data.arks import AudioArchive\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); archive = AudioArchive(sys.argv[1])\n"
        "print(len(archive), int(archive.samples[-1]), peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    count, last, grown_kilobytes = (int(word) for word in done.stdout.split())
    assert (count, last) == (rows, rows + 15999)
    assert grown_kilobytes < 8_000, "the columns alone are 18 MB: they were read, not mapped"
