"""Any input to the readers of tables, lists and data directories: it is read, or one line says what is wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslsv_tk.data import arks, directories, repair, shares, table_sets, tables, trials
from sslsv_tk.data.corpora import Corpus, prepare
from sslsv_tk.data.tables import as_words

KEYS = as_words(["a", "a-b", "b"])
anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = "a|b|a-b|id1/v/0.wav|0|1|-1|1.5|nan|1e999|target|nontarget|é|x.ark:7|:|/|x.ark:999999999999999999999"
word = st.sampled_from([*WORDS.split("|"), "|", "", "\u00a0", "\x85", "\u2028", "\t", "\x0b", "\x00", "\r"])
line = st.lists(word, max_size=5).map(" ".join)
lines = st.lists(line, max_size=6).map("\n".join).map(str.encode)
ended = st.tuples(st.one_of(lines, st.binary(max_size=80)), st.sampled_from([b"", b"\n"])).map(b"".join)


def read_or_one_line(read: Callable[[], object]) -> None:
    """Nothing but ValueError and OSError may come out, and each is one line once white space is joined."""
    try:
        read()
    except (ValueError, OSError) as error:
        assert str(error).strip()


@pytest.mark.parametrize(
    "read",
    [
        tables.read_rows,
        tables.read_table,
        lambda path: tables.read_columns(path, 3),
        lambda path: tables.read_columns(path, 4, may_lack_newline=True),
        lambda path: tables.numbers(tables.read_rows(path)[1], path),
        lambda path: tables.integers(tables.read_rows(path)[1], path),
        arks.read_scp,
        trials.read_columns,
        lambda path: trials.read_trials(path, KEYS),
        lambda path: trials.named_rows(path, KEYS),
        lambda path: shares.listed(KEYS, path),
    ],
)
@anything
@given(contents=ended)
def test_a_file_of_any_bytes(tmp_path, read, contents):
    (tmp_path / "file").write_bytes(contents)
    read_or_one_line(lambda: read(tmp_path / "file"))


@anything
@given(contents=ended)
def test_what_was_read_is_what_line_by_line_reading_finds(tmp_path, contents):
    (tmp_path / "file").write_bytes(contents)
    try:
        keys, values = tables.read_rows(tmp_path / "file")
    except (ValueError, OSError):
        return
    expected = [line.replace(b"\t", b" ").split(b" ", 1) for line in contents.split(b"\n")[:-1]]
    assert keys.tolist() == [key for key, _ in expected]
    found = [value.replace(b"\t", b" ") for value in values.tolist()]
    assert found == [value.strip(b" ") for _, value in expected]


tables_of_a_directory = st.dictionaries(
    st.sampled_from([*directories.TABLES, "feats.scp", "text", "spk2gender"]), ended, max_size=5
)


@pytest.mark.parametrize(
    "read",
    [
        directories.DataDirectory.load,
        directories.validate,
        directories.fingerprints,
        repair.fix,
        lambda path: table_sets.combine([table_sets.TableSet.load(path)] * 2),
        lambda path: table_sets.TableSet.load(path).rename((b"x", b""), (b"", b"y")).write(path / "out", force=True),
    ],
)
@anything
@given(contents=tables_of_a_directory)
def test_a_data_directory_of_any_tables(tmp_path_factory, read, contents):
    folder = tmp_path_factory.mktemp("data")
    for name, text in {"wav.scp": b"a /a.wav\na-b /b.wav\nb /b.wav\n", **contents}.items():
        (folder / name).write_bytes(text)
    read_or_one_line(lambda: read(folder))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=tables_of_a_directory)
def test_any_tables_taken_over_as_a_corpus(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("data")
    for name, text in {"wav.scp": b"a /a.wav\na-b /b.wav\nb /b.wav\n", **contents}.items():
        (folder / name).write_bytes(text)
    read_or_one_line(lambda: prepare(Corpus([str(folder)], labels=None, tolerance=0.9), folder / "out"))


@anything
@given(contents=tables_of_a_directory)
def test_what_fix_repairs_is_well_formed_or_says_why_not(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("data")
    for name, text in {"wav.scp": b"b /b.wav\na /a.wav\na-b /b.wav\n", **contents}.items():
        (folder / name).write_bytes(text)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    try:
        kept, total = repair.fix(folder)
    except (ValueError, OSError):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        return
    assert 1 <= kept <= total
    read_or_one_line(lambda: directories.validate(folder, speaker_prefix=False))


names = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.lists(st.tuples(names, names, names), min_size=1, max_size=4), labels=st.sampled_from([True, False, None])
)
def test_a_tree_of_any_names(tmp_path_factory, paths, labels):
    folder = tmp_path_factory.mktemp("tree")
    for parts in paths:
        path = folder.joinpath("corpus", *(part if part not in (".", "..") else "x" for part in parts))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{path}.wav").write_bytes(b"x")
        except OSError:
            continue
    read_or_one_line(lambda: prepare(Corpus([str(folder / "corpus")], labels=labels), folder / "out"))


def test_words_of_any_width_are_gathered_as_slices_are():
    buffer = np.frombuffer(b"one two  three", dtype=np.uint8)
    starts, ends = np.array([0, 4, 8, 9, 9]), np.array([3, 7, 8, 14, 10])
    assert tables.gather(buffer, starts, ends).tolist() == [b"one", b"two", b"", b"three", b"t"]
