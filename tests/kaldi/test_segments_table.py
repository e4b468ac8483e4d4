"""The table segments with four columns and with five."""

from pathlib import Path

import numpy as np
import pytest

from sslsv_tk.kaldi import segments
from sslsv_tk.kaldi.directories import DataDirectory


def folder(path: Path, lines: str, **tables: str) -> Path:
    (path / "wav.scp").write_text("f f.wav\ng g.wav\n")
    (path / "segments").write_text(lines)
    for name, text in tables.items():
        (path / name).write_text(text)
    return path


def test_times_and_no_channel(tmp_path):
    found = segments.read(folder(tmp_path, "a f 0 1.5\nb g 2.25 -1\n") / "segments")
    assert found.cuts.starts.tolist() == [0, 2.25] and found.cuts.ends.tolist() == [1.5, np.inf]
    assert found.cuts.files.tolist() == [b"f", b"g"] and found.channels is None


def test_a_fifth_column_is_the_channel_counted_from_0_and_is_written_as_utt2channel(tmp_path):
    found = DataDirectory.load(folder(tmp_path, "a f 0 1.5 0\nb f 0 1.5 1\n"))
    assert found.channels is not None and found.channels.tolist() == [1, 2]
    found.write(tmp_path / "out")
    assert (tmp_path / "out" / "utt2channel").read_text() == "a 1\nb 2\n"
    assert DataDirectory.load(tmp_path / "out").channels.tolist() == [1, 2]


def test_any_channel_throughout_is_none(tmp_path):
    assert DataDirectory.load(folder(tmp_path, "a f 0 1.5 -1\nb f 0 1.5 -1\n")).channels is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a f 0 1 0\nb f 0 1 -1\n", "segments:2: expected a channel, counted from 0, found '-1'"),
        ("a f 0 1 left\n", "segments:1: expected a number, found 'left'"),
        ("a f 0 1 0.5\n", "segments:1: expected a channel"),
        ("a f 0 1\nb f 0 1 0\n", "segments:2: expected 4 words, found 5"),
        ("a f 0 1 0\nb f 0 1\n", "segments:2: expected 5 words, found 4"),
        ("a f 0\n", "segments:1: expected 4 or 5 words, found 3"),
    ],
)
def test_other_columns_are_named_with_their_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        DataDirectory.load(folder(tmp_path, lines))


def test_two_tables_that_name_other_channels_are_refused(tmp_path):
    data = folder(tmp_path, "a f 0 1 0\nb f 0 1 1\n", utt2channel="a 1\nb 1\n")
    with pytest.raises(ValueError, match="utt2channel and the last column of segments name other channels for b"):
        DataDirectory.load(data)
