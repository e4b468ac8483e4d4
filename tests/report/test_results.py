"""Tables of result rows and the sections of a kept RESULTS.md."""

import json

import numpy as np
import pytest

from sslsv_tk import digests
from sslsv_tk.kaldi.tables import as_words
from sslsv_tk.report import results
from sslsv_tk.report.score_file import read_scores, write_scores

ROW = {
    "system": "simclr",
    "checkpoint": "averaged",
    "trials": "O",
    "data": "voxceleb1_test",
    "number_of_trials": 37611,
    "eer_percent": 9.4123,
    "eer_interval_percent": [8.7, 10.126],
    "against_chance": "",
    "eer_nearest_percent": 9.4321,
    "eer_rocch_percent": 9.388,
    "mindcf_001": 0.63784,
    "mindcf_005": 0.5,
    "seed": 0,
    "arithmetic": "bf16, compiled",
    "commit": "abcdef012",
    "config_fingerprint": "0123456789abcdef",
    "extraction": {},
    "hardware": "a processor",
    "date": "2026-01-02T03:04:05+00:00",
}


def write_rows(folder, *rows):
    for number, row in enumerate(rows):
        path = folder / row["system"] / "scores" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(digests.sealed(row)))


@pytest.mark.parametrize(
    ("name", "count", "cell"),
    [
        ("veri_test2", 37_611, "veri_test2 (VoxCeleb1-O, cleaned; 37,611)"),
        ("veri_test", 37_720, "veri_test (VoxCeleb1-O, original; 37,720)"),
        ("list_test_hard2", 550_894, "list_test_hard2 (VoxCeleb1-H, cleaned; 550,894)"),
        ("veri_test2", 5_610, "veri_test2 (5,610)"),
        ("mine", 37_611, "mine (37,611)"),
    ],
)
def test_an_official_list_is_said_to_be_original_or_cleaned(name, count, cell):
    assert f": {cell} |" in results.table([{**ROW, "trials": name, "number_of_trials": count}])


def test_a_row_reads_as_a_human_wants_it():
    line = results.table([ROW]).splitlines()[2]
    assert line == (
        "| simclr | averaged | voxceleb1_test: O (37,611) | 9.41 [8.70, 10.13] | 9.43 | 9.39 | 0.6378 | 0.5000 | 0 "
        "| bf16, compiled | abcdef012 | 0123456789abcdef |"
    )


def test_what_is_not_known_is_a_dash_and_no_interval():
    line = results.table(
        [{**ROW, "eer_interval_percent": None, "seed": None, "arithmetic": None, "config_fingerprint": None}]
    )
    assert "| 9.41 | 9.43 | 9.39 |" in line and line.splitlines()[2].endswith("| - | - | abcdef012 | - |")


def test_a_row_at_chance_is_said_to_be():
    line = results.table([{**ROW, "against_chance": "at chance"}])
    assert "| 9.41 [8.70, 10.13], at chance | 9.43 |" in line


@pytest.mark.parametrize(
    ("epochs", "text"),
    [([7], "averaged (epoch 7)"), ([1, 2, 3], "averaged (3 epochs, 1 to 3)"), ([], "averaged"), ([None], "averaged")],
)
def test_the_averaged_epochs_are_said(epochs, text):
    assert f"| {text} |" in results.table([{**ROW, "extraction": {"epochs": epochs}}])


def test_all_lines_of_a_table_have_the_same_columns():
    lines = results.table([ROW, {**ROW, "system": "ssps"}]).split("\n\n")[0].splitlines()
    assert {line.count("|") for line in lines} == {len(results.COLUMNS) + 1}


def test_rows_are_sorted_by_list_system_and_checkpoint_with_numbers_as_numbers(tmp_path):
    wanted = [
        ("E", "b", "averaged"),
        ("O", "a2", "9"),
        ("O", "a2", "10"),
        ("O", "a2", "averaged"),
        ("O", "a10", "averaged"),
    ]
    rows = [{**ROW, "trials": trials, "system": system, "checkpoint": point} for trials, system, point in wanted]
    write_rows(tmp_path, *reversed(rows))
    found = [(row["trials"], row["system"], row["checkpoint"]) for row in results.read_rows(tmp_path)]
    assert found == wanted


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"eer_percent": None}, "wrong eer_percent None"),
        ({"number_of_trials": "many"}, "wrong number_of_trials 'many'"),
        ({"number_left_out": "many"}, "wrong number_left_out"),
        ({"system": 3}, "wrong system 3"),
        ({"eer_interval_percent": [1]}, "wrong eer_interval_percent"),
        ({"eer_interval_percent": ["a", "b"]}, "wrong eer_interval_percent"),
        ({"extraction": []}, r"wrong extraction \[\]"),
        ({"extraction": {"epochs": 3}}, "wrong list of epochs"),
    ],
)
def test_a_row_with_a_value_of_another_kind_is_named(tmp_path, changed, message):
    path = tmp_path / "simclr" / "scores" / "O.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(digests.sealed({**ROW, **changed})))
    with pytest.raises(ValueError, match=f"O.json: a row of results with a {message}"):
        results.read_rows(tmp_path)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "3", "{}"], ids=["empty", "deep", "number", "table"])
def test_what_is_no_row_is_named(tmp_path, text):
    path = tmp_path / "simclr" / "scores" / "O.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"O.json: (not a row of results|a row of results without)"):
        results.read_rows(tmp_path)


def test_names_that_begin_with_numbers_sort_beside_those_that_do_not(tmp_path):
    write_rows(tmp_path, *({**ROW, "system": name} for name in ("x", "1x", "10", "9")))
    assert [row["system"] for row in results.read_rows(tmp_path)] == ["1x", "9", "10", "x"]


def test_text_around_a_kept_section_stays_as_it_is(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Mine\n\nWords.\n\n## A\nobsolete\n### A detail\nobsolete\n\n## A b\nstays\n\n# Last\nstays\n")
    results.keep_results([ROW], "A", path)
    text = path.read_text()
    assert text.startswith("# Mine\n\nWords.\n\n## A\n") and text.endswith("\n\n## A b\nstays\n\n# Last\nstays\n")
    assert "obsolete" not in text and "### A detail" not in text and text.count("| simclr") == 1
    assert "2026-01-02 on a processor" in text


def test_a_heading_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("## A\n\n## A\n")
    with pytest.raises(ValueError, match=r"RESULTS\.md:3: .* already on line 1"):
        results.keep_results([ROW], "A", path)
    assert path.read_text() == "## A\n\n## A\n"


@pytest.mark.parametrize("title", ["", "  ", "a\nb"])
def test_a_title_is_one_line(tmp_path, title):
    with pytest.raises(ValueError, match="one line of text"):
        results.keep_results([ROW], title, tmp_path / "RESULTS.md")


def test_score_files_keep_every_float32_apart(tmp_path):
    scores = np.float32(0.1) + np.arange(200_000, dtype=np.float32) * np.finfo(np.float32).eps / 16
    keys = as_words([f"s{number % 7}-ä" for number in range(len(scores))])
    write_scores(tmp_path / "a.score", keys, keys[::-1], scores)
    enrol, test, found = read_scores(tmp_path / "a.score")
    np.testing.assert_array_equal(found.astype(np.float32), scores)
    np.testing.assert_array_equal(enrol, keys)
    np.testing.assert_array_equal(test, keys[::-1])


@pytest.mark.parametrize(
    ("line", "message"), [("a b", ":2: expected 3 words"), ("a b x", ":2: .*'x'"), ("a b nan", ":2: .*'nan'")]
)
def test_broken_score_files_are_named_with_the_line(tmp_path, line, message):
    (tmp_path / "a.score").write_text(f"a b 0.5\n{line}\n")
    with pytest.raises(ValueError, match=r"a\.score" + message):
        read_scores(tmp_path / "a.score")
