"""Trial lists of both forms against the obvious reading, and every way a list can be wrong."""

import logging
import tracemalloc

import numpy as np
import pytest

from sslsv_tk import seeds
from sslsv_tk.kaldi import trials
from sslsv_tk.kaldi.tables import as_words

KEYS = as_words(["id1-v1-00001", "id1-v2-00001", "id2-v1-00001", "id2-v1-00002"])


def lines(path, *rows: str):
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "rows",
    [
        ("1 id1/v1/00001.wav id1/v2/00001.wav", "0 id2/v1/00002.wav id1/v1/00001.wav"),
        ("1 id1-v1-00001 id1-v2-00001", "0 id2-v1-00002 id1-v1-00001"),
        ("id1-v1-00001 id1-v2-00001 target", "id2-v1-00002 id1-v1-00001 nontarget"),
        ("id1-v1-00001 id1/v2/00001.flac 1", "id2-v1-00002 id1-v1-00001 0"),
        ("id1/v1/00001.flac id1-v2-00001 target", "id2/v1/00002.m4a\tid1/v1/00001  nontarget"),
    ],
)
def test_all_forms_and_both_kinds_of_names_give_the_same_trials(tmp_path, rows):
    found = trials.read_trials(lines(tmp_path / "list", *rows), KEYS)
    assert found.enrol.tolist() == [0, 3] and found.test.tolist() == [1, 0] and found.target.tolist() == [True, False]
    assert found.enrol.dtype == np.int32 and found.target.dtype == np.bool_


def test_a_name_that_is_a_key_as_it_stands_is_taken_so(tmp_path):
    keys = as_words(["a.wav", "b/c", "b-c"])
    keys.sort()
    found = trials.read_trials(lines(tmp_path / "list", "1 a.wav b/c", "0 b-c a.wav"), keys)
    assert [keys[row] for row in (*found.enrol, *found.test)] == [b"a.wav", b"b-c", b"b/c", b"a.wav"]


def test_what_is_written_is_read_again(tmp_path):
    draw = seeds.generator("trials")
    made = trials.Trials(
        draw.integers(0, 2, 200, dtype=np.int32), draw.integers(2, 4, 200, dtype=np.int32), np.ones(200, bool)
    )
    made = trials.Trials(made.enrol, made.test, made.enrol == made.test - 2)
    trials.write_trials(tmp_path / "list", made, KEYS)
    assert (tmp_path / "list").read_text().splitlines()[0].split()[2] in ("target", "nontarget")
    found = trials.read_trials(tmp_path / "list", KEYS)
    for name in ("enrol", "test", "target"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "empty"),
        (("1 id1-v1-00001",), "list:1: expected 3 words, found 2"),
        (("2 id1-v1-00001 id1-v2-00001",), "list:1: expected `1|0 a b`, `a b 1|0` or"),
        (
            ("1 id1-v1-00001 id1-v2-00001", "id1-v1-00001 id1-v2-00001 target"),
            "list:2: expected 1 or 0 as on the first",
        ),
        (("id1-v1-00001 id1-v2-00001 target", "id1-v1-00001 id2-v1-00001 non"), "list:2: expected target or nontarget"),
        (
            ("1 id1-v1-00001 id1-v2-00001", "0 id9-v1-00001 id1-v1-00001", "0 id1-v1-00001 id8/v1/00001.wav"),
            r"list:2: 2 utterance\(s\) of 2 trial\(s\) are not among the 4 .*: id8/v1/00001.wav, id9-v1-00001\.",
        ),
        (
            ("1 id1-v1-00001 id2-v1-00001", "1 id1-v1-00001 id1-v2-00001", "0 id1-v1-00001 id2-v1-00001"),
            "list:3: the pair id1-v1-00001 id2-v1-00001 stands on line 1 already and is called target on one",
        ),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        trials.read_trials(lines(tmp_path / "list", *rows), KEYS)


def test_repeated_trials_are_kept_and_named(tmp_path, caplog):
    path = lines(tmp_path / "list", *["1 id1-v1-00001 id1-v2-00001", "0 id1-v1-00001 id2-v1-00001"] * 2)
    with caplog.at_level(logging.WARNING):
        assert len(trials.read_trials(path, KEYS)) == 4
    assert "list:3: the pair id1-v1-00001 id1-v2-00001 stands on line 1 already; 2 of 4 trials" in caplog.text


@pytest.mark.parametrize(("label", "other"), [("1", "nontarget"), ("0", "target")])
def test_one_kind_of_trials_has_no_error_rate(tmp_path, label, other):
    found = trials.read_trials(lines(tmp_path / "list", f"{label} id1-v1-00001 id1-v2-00001"), KEYS)
    with pytest.raises(ValueError, match=rf"list: all 1 trials are \w+ ones; the EER needs {other} trials as well"):
        found.require_both_kinds(tmp_path / "list")


def test_named_rows_are_those_of_ids_and_of_paths(tmp_path):
    path = lines(tmp_path / "list", "1 id1/v2/00001.wav id1-v1-00001", "0 wav/id2/v1/00001.m4a id1/v2/00001.wav")
    assert trials.named_rows(path, KEYS).tolist() == [True, True, True, False]
    path = lines(tmp_path / "list", "1 id1/v2/00001.wav id9/v1/00001.wav")
    with pytest.raises(
        ValueError,
        match=r"list: 1 of 2 utterances are not in the corpus: id9-v1-00001\..*There are \d+, such as \S+\. Is it",
    ):
        trials.named_rows(path, KEYS)


@pytest.mark.parametrize("read", [trials.read_columns, lambda path: trials.read_trials(path, KEYS)])
def test_a_missing_list_is_an_error_that_names_the_official_ones(tmp_path, read):
    with pytest.raises(ValueError, match=r"no trial list .*/list\. .*veri_test2\.txt \(VoxCeleb1-O, cleaned\)"):
        read(tmp_path / "list")


def test_an_official_list_is_described_by_its_name():
    assert trials.described("/lists/list_test_hard2.txt") == "list_test_hard2.txt (VoxCeleb1-H, cleaned)"
    assert trials.described("/lists/mine.txt") == "mine.txt"


def test_a_long_list_keeps_numbers_not_names(tmp_path):
    keys = as_words([f"id{number // 50:05d}-video{number % 50:06d}-00001" for number in range(2000)])
    draw = seeds.generator("long list")
    pairs = draw.permutation(2000 * 2000)[:100_000]
    made = trials.Trials((pairs // 2000).astype(np.int32), (pairs % 2000).astype(np.int32), pairs % 3 == 0)
    trials.write_trials(tmp_path / "list", made, keys)
    tracemalloc.start()
    try:
        found = trials.read_trials(tmp_path / "list", keys)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 100_000 * 9 + 100_000
    np.testing.assert_array_equal(found.enrol, made.enrol)


def test_a_list_may_lack_its_last_newline(tmp_path):
    (tmp_path / "list").write_text("1 id1-v1-00001 id1-v2-00001\n0 id1-v1-00001 id2-v1-00001")
    assert trials.read_trials(tmp_path / "list", KEYS).test.tolist() == [1, 2]
    (tmp_path / "list").write_text("id1-v1-00001 id1-v2-00001 target\nid1-v1-00001 id2-v1-00001 nontarg")
    with pytest.raises(ValueError, match=r"list:2: expected target or nontarget .*found 'nontarg'"):
        trials.read_trials(tmp_path / "list", KEYS)
