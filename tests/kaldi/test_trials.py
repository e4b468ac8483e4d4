"""Trial lists of both forms against the obvious reading, and every way a list can be wrong."""

import logging
import tracemalloc
import unicodedata

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
            r"list:2: 2 utterance\(s\) of 2 trial\(s\) are not among the 4 .*: id8/v1/00001.wav, id9-v1-00001;",
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


NAMES = ["id1-v1-00001", "id1-v2-00001", "id2-v1-00001"]


@pytest.mark.parametrize(
    "form",
    ["{0}", "./{0}", "wav/./{0}", "wav//{0}", ".//wav/../wav/{0}", "/any/where/{0}"],
)
def test_paths_of_voxceleb_are_found_whatever_dots_and_slashes_are_in_them(tmp_path, form):
    a, b, c = (form.format(name.replace("-", "/") + ".wav") for name in NAMES)
    found = trials.read_trials(lines(tmp_path / "list", f"1 {a} {b}", f"0 {a} {c}"), KEYS)
    assert (found.enrol.tolist(), found.test.tolist()) == ([0, 0], [1, 2])


@pytest.mark.parametrize("form", ["{}", "./{}", "anna/../{}", "/corpus/{}", "/corpus//{}", "/corpus/./{}"])
def test_paths_of_any_corpus_are_found_below_it_and_whole(tmp_path, form):
    keys, files = as_words(["anna-r1-1", "anna-r2-1", "bert-r1-1"]), ["anna/r1/1.wav", "anna/r2/1.wav", "bert/r1/1.wav"]
    a, b, c = (form.format(file) for file in files)
    path = lines(tmp_path / "list", f"1 {a} {b}", f"0 {a} {c}")
    found = trials.read_trials(path, keys, files=as_words([f"/corpus/{file}" for file in files]))
    assert (found.enrol.tolist(), found.test.tolist()) == ([0, 0], [1, 2])
    assert trials.named_rows(path, keys, as_words([f"/corpus/{file}" for file in files])).all()


@pytest.mark.parametrize(("form", "other", "words"), [("NFC", "NFD", "decomposed"), ("NFD", "NFC", "composed")])
def test_accents_that_are_other_bytes_are_told_apart(tmp_path, form, other, words):
    name = "J\u00f6rg-r1-1"
    keys = as_words(sorted([unicodedata.normalize(other, name), "anna-r1-1"], key=str.encode))
    path = lines(tmp_path / "list", f"1 anna-r1-1 {unicodedata.normalize(form, name)}")
    for read in (trials.read_trials, trials.named_rows):
        with pytest.raises(
            ValueError, match=rf"The corpus writes accents {words} \({other}\).*uconv -x any-{other.lower()}"
        ):
            read(path, keys)


def test_trials_of_utterances_that_were_left_out_are_counted_and_others_refused(tmp_path):
    (tmp_path / "rejected").write_text("id8-v1-00001 a.wav: an empty file\nid7-v1-00001 b.wav: cut short\n")
    without = trials.left_out(tmp_path)
    assert without.tolist() == [b"id7-v1-00001", b"id8-v1-00001"]
    rows = ["1 id1-v1-00001 id1-v2-00001", "1 id8/v1/00001.wav id1-v1-00001", "0 id7-v1-00001 id8-v1-00001"]
    found = trials.read_trials(lines(tmp_path / "list", *rows), KEYS, without)
    assert (found.enrol.tolist(), found.test.tolist(), found.left_out) == ([0], [1], 2)
    with pytest.raises(
        ValueError, match=r"all 1 trials are target ones \(2 others name utterances that were left out\)"
    ):
        found.require_both_kinds("list")
    with pytest.raises(ValueError, match=r"list:4: 1 utterance.s. of 1 trial.s. are not among the 4"):
        trials.read_trials(lines(tmp_path / "list", *rows, "0 id8-v1-00001 id9-v1-00001"), KEYS, without)


def test_a_byte_order_mark_before_a_list_is_passed_over(tmp_path):
    for line in ("1 id1-v1-00001 id1-v2-00001", "id1-v1-00001 id1-v2-00001 1"):
        (tmp_path / "list").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\n")
        assert trials.read_trials(tmp_path / "list", KEYS).test.tolist() == [1]
