"""Scores as text: what was written is read back, whatever else lies there is read or refused in one line."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslsv_tk import records
from sslsv_tk.kaldi.tables import as_words
from sslsv_tk.records import Made
from sslsv_tk.report import comparison, system
from sslsv_tk.report.score_file import read_scores, write_scores

anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.text("abc-é0/", min_size=1, max_size=5)
scores = st.floats(width=32, allow_nan=False, allow_infinity=False)


@anything
@given(st.lists(st.tuples(names, names, scores), min_size=1, max_size=9))
def test_what_was_written_is_read_back_bit_for_bit(tmp_path: Path, trials: list[tuple[str, str, float]]) -> None:
    enrol, test, values = (list(column) for column in zip(*trials, strict=True))
    write_scores(tmp_path / "s", as_words(enrol), as_words(test), np.array(values, dtype=np.float32))
    found = read_scores(tmp_path / "s")
    assert [[word.decode() for word in side.tolist()] for side in found[:2]] == [enrol, test]
    np.testing.assert_array_equal(found[2].astype(np.float32), np.array(values, dtype=np.float32))


WORDS = st.sampled_from(
    ["a", "b", "1", "-1", "1.5", "nan", "inf", "1e999", "1_000", "0x1", "é", "\u00a0", "٣", "|", "\x0b", "\0", "\r", ""]
)
lines = st.lists(st.lists(WORDS, max_size=4).map(" ".join), max_size=5).map("\n".join).map(str.encode)


def number_of(word: bytes) -> float:
    """What a float32 or float64 in text says; nan where it says none."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


@anything
@given(st.one_of(lines, st.binary(max_size=60)), st.sampled_from([b"", b"\n"]))
def test_any_bytes_are_three_columns_with_numbers_or_refused(tmp_path: Path, contents: bytes, end: bytes) -> None:
    (tmp_path / "s").write_bytes(contents + end)
    try:
        _, _, found = read_scores(tmp_path / "s")
    except ValueError as error:
        assert str(tmp_path / "s") in str(error)
        return
    assert [
        number_of(line.replace(b"\t", b" ").split(b" ")[-1]) for line in _stripped(contents + end)
    ] == found.tolist()


def _stripped(contents: bytes) -> list[bytes]:
    return [line.strip(b" \t") for line in contents.split(b"\n")[:-1]]


@anything
@given(st.data())
def test_a_damaged_ark_of_embeddings_gives_others_or_one_line(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    folder = tmp_path_factory.mktemp("embeddings")
    vectors = {f"u{row}": np.full(4, row, dtype=np.float32) for row in range(3)}
    kaldiio.save_ark(f"{folder}/xvector.ark", vectors, scp=f"{folder}/xvector.scp")
    records.write(folder, Made({}, {}), contents="00")
    path = folder / data.draw(st.sampled_from(["xvector.ark", "xvector.scp", "made.json"]))
    contents = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, 10_000)) % len(contents)  # paths in a table are not equally long in each run
    contents[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path.write_bytes(contents)
    try:
        keys, matrix = system.read_embeddings(folder)
    except (ValueError, OSError) as error:
        assert str(error).strip()
        return
    assert matrix.shape[0] == len(keys) and (keys[1:] > keys[:-1]).all()


@anything
@given(st.one_of(st.binary(max_size=60), st.sampled_from([b'{"kind": "epoch", "seconds": "x"}', b"3", b'{"kind": 1}'])))
def test_any_metrics_are_numbers_or_one_line(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(contents)
    try:
        found = comparison.last_epoch(tmp_path)
    except ValueError as error:
        assert "metrics.jsonl:" in str(error)
        return
    assert all(isinstance(value, (int, float)) for value in found.values())
