"""Tables against the obvious reading line by line."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.kaldi import tables

word = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1, max_size=8)
value = st.lists(word, min_size=1, max_size=3).map(" ".join)


def write(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


@settings(max_examples=60, deadline=None)
@given(rows=st.dictionaries(word, value, min_size=1, max_size=20), separator=st.sampled_from([" ", "\t", "  ", " \t "]))
def test_a_table_reads_as_line_by_line_whatever_the_white_space(tmp_path_factory, rows, separator):
    path = tmp_path_factory.mktemp("table") / "table"
    path.write_bytes("".join(f"{key}{separator}{value}{separator[1:]}\n" for key, value in rows.items()).encode())
    keys, values = tables.read_table(path)
    assert [key.decode() for key in keys.tolist()] == list(rows)
    assert [value.decode() for value in values.tolist()] == list(rows.values())


@settings(max_examples=60, deadline=None)
@given(rows=st.dictionaries(word, value, min_size=1, max_size=20))
def test_what_is_written_is_read_again_and_sorts_like_bytes(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "table"
    ordered = sorted(rows, key=str.encode)
    tables.write_table(path, ordered, [rows[key] for key in ordered])
    assert path.read_text() == "".join(f"{key} {rows[key]}\n" for key in ordered)
    keys, _ = tables.read_table(path)
    assert tables.is_sorted(keys)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "empty"),
        (b"a 1\nb\n", r"table:2: expected a key, a space and a value; found no value in 'b'"),
        (b"a 1\nb  \n", r"table:2: .*no value"),
        (b"a 1\n\nc 3\n", r"table:2: .*no key"),
        (b" a 1\n", r"table:1: .*no key"),
        (b"a 1\r\nb 2\r\n", r"table:1: a carriage return"),
        (b"a 1\nb\x002 3\n", r"table:2: a NUL byte"),
        (b"a 1\nb \xff\n", r"table:2: not UTF-8"),
        (b"a 1\nb 2", r"table:2: the last line has no newline"),
        (b"b 1\na 2\nc 3\na 4\na 5\n", r"table:4: the key a is there already on line 2 \(2 such keys\)"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(tmp_path, contents, message):
    with pytest.raises(ValueError, match=message):
        tables.read_table(write(tmp_path / "table", contents))


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        (["b", "a"], ["1", "2"], "sorted"),
        (["a", "a"], ["1", "2"], "unique"),
        (["a b"], ["1"], "'a b' cannot be a key"),
        (["a"], ["1\n2"], "cannot be a value"),
        (["a"], [""], "cannot be a value"),
        (["a"], ["1", "2"], "1 keys but 2 values"),
        ([], [], "nothing to write"),
    ],
)
def test_a_table_that_could_not_be_read_is_not_written(tmp_path, keys, values, message):
    with pytest.raises(ValueError, match=message):
        tables.write_table(tmp_path / "table", keys, values)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_table(tmp_path):
    tables.write_table(tmp_path / "table", ["a"], ["1"])
    with pytest.raises(ValueError, match="sorted"):
        tables.write_table(tmp_path / "table", ["b", "a"], ["1", "2"])
    assert (tmp_path / "table").read_text() == "a 1\n"


@given(st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=20))
def test_integers_are_those_of_python(values):
    assert tables.integers(tables.as_words([str(value) for value in values]), "table").tolist() == values


@pytest.mark.parametrize("wrong", ["-1", "1.5", "x", "1e3", "9" * 19])
def test_what_is_no_whole_number_is_named_with_its_line(wrong):
    with pytest.raises(ValueError, match=rf"table:2: expected a whole number, found '{wrong}'"):
        tables.integers(tables.as_words(["1", wrong, "3"]), "table")


@pytest.mark.parametrize("wrong", ["nan", "inf", "x", "1,5"])
def test_what_is_no_finite_number_is_named_with_its_line(wrong):
    assert tables.numbers(tables.as_words(["1", "2.5e-1"]), "table").tolist() == [1.0, 0.25]
    with pytest.raises(ValueError, match=rf"table:2: expected a number, found '{wrong}'"):
        tables.numbers(tables.as_words(["1", wrong, "3"]), "table")


def test_columns_are_split_at_any_white_space(tmp_path):
    path = write(tmp_path / "table", b"a 1  x\n bb\t22 yy \n")
    assert [column.tolist() for column in tables.read_columns(path, 3)] == [[b"a", b"bb"], [b"1", b"22"], [b"x", b"yy"]]


@pytest.mark.parametrize(
    ("contents", "found"), [(b"a b c\na b\nx y z w\n", 2), (b"a b c\n\na b c\n", 0), (b"a b c\na b c d\na b\n", 4)]
)
def test_a_line_with_another_number_of_words_is_named(tmp_path, contents, found):
    with pytest.raises(ValueError, match=rf"table:2: expected 3 words, found {found}"):
        tables.read_columns(write(tmp_path / "table", contents), 3)


def test_blocks_of_a_long_table_join(tmp_path):
    keys = np.array([f"k{number:06d}" for number in range(70_000)])
    tables.write_table(tmp_path / "table", keys, np.arange(70_000))
    found, values = tables.read_table(tmp_path / "table")
    assert (found == tables.as_words(keys)).all()
    assert (tables.integers(values, "table") == np.arange(70_000)).all()


@pytest.mark.parametrize("name", ["utt2spk", "utt2rec", "utt2category", "utt2channel", "utt2num_frames", "spk2gender"])
@pytest.mark.parametrize("line", ["b x y", "b x\ty", "b 1  2 "])
def test_a_third_word_is_refused_with_its_line(tmp_path, name, line):
    with pytest.raises(ValueError, match=rf"{name}:2: expected one word after the key, found '[x1](\s+|\\t)[y2]'"):
        tables.read_table(write(tmp_path / name, f"a x\n{line}\n".encode()))


@pytest.mark.parametrize("name", ["wav.scp", "text", "rejected"])
def test_values_of_other_tables_have_any_number_of_words(tmp_path, name):
    assert tables.read_table(write(tmp_path / name, b"a x y  z\n"))[1].tolist() == [b"x y  z"]


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = write(tmp_path / "table", b"\xef\xbb\xbfa 1\nb 2\n")
    assert tables.read_table(path)[0].tolist() == [b"a", b"b"]
    assert [column.tolist() for column in tables.read_columns(path, 2)] == [[b"a", b"b"], [b"1", b"2"]]


def peak_of(work) -> int:
    """The most bytes that were held while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def long_table(path: Path, lines: int, width: int) -> Path:
    rows = [f"k{row:06d} {'w' * 20}\n" for row in range(lines)]
    rows[lines // 2] = f"k{lines // 2:06d} {'w' * width}\n"
    return write(path, "".join(rows).encode())


def test_one_line_of_megabytes_is_named_and_takes_no_memory(tmp_path):
    path = long_table(tmp_path / "wav.scp", 50_000, 5_000_000)
    words = r"wav\.scp:25001: 5000000 characters in one place, where the 50000 lines have \d+ in the mean"

    def refuse() -> None:
        for read in (tables.read_rows, lambda path: tables.read_columns(path, 2)):
            with pytest.raises(ValueError, match=words):
                read(path)

    assert peak_of(refuse) < 300e6


def test_a_line_of_a_page_takes_an_array_of_its_width_and_little_more(tmp_path):
    path = long_table(tmp_path / "wav.scp", 20_000, 5_000)
    assert peak_of(lambda: tables.read_rows(path)) < 1.6 * 20_000 * 5_000


def test_a_long_sentence_in_text_takes_no_more_than_its_bytes_and_is_written_again(tmp_path):
    path = long_table(tmp_path / "text", 50_000, 1_000_000)
    assert peak_of(lambda: tables.read_rows(path)) < 60e6
    keys, values = tables.read_rows(path)
    assert len(values[25_000]) == 1_000_000 and values[0] == b"w" * 20
    tables.write_table(tmp_path / "copy", keys, values)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="cannot be a value of a table"):
        tables.write_table(tmp_path / "copy", keys[:1], np.array([b"a\nb"], dtype=object))
