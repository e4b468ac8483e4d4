"""What combine, subset, split and copy do to a data directory with every kind of table, against dictionaries."""

from pathlib import Path

import numpy as np
import pytest

from sslsv_tk.kaldi import directories, table_sets
from sslsv_tk.kaldi.table_sets import TableSet, combine

TABLES = {
    "wav.scp": "f1 /f1.wav\nf2 /f 2.wav\nf3 sph2pipe x.sph |\n",
    "segments": "anna-1 f1 0.0 1.5\nanna-2 f2 0.5 1.0\nbert-1 f3 0.0 2.0\ncarl-1 f3 3.0 4.0\n",
    "utt2spk": "anna-1 anna\nanna-2 anna\nbert-1 bert\ncarl-1 carl\n",
    "spk2utt": "anna anna-1 anna-2\nbert bert-1\ncarl carl-1\n",
    "utt2dur": "anna-1 1.5\nanna-2 0.5\nbert-1 2\ncarl-1 1\n",
    "utt2channel": "anna-1 1\nanna-2 2\nbert-1 1\ncarl-1 1\n",
    "feats.scp": "anna-1 x.ark:7\nanna-2 x.ark:70\nbert-1 x.ark:99\ncarl-1 y.ark:7\n",
    "vad.scp": "anna-1 v.ark:7\nanna-2 v.ark:70\nbert-1 v.ark:99\ncarl-1 w.ark:7\n",
    "text": "anna-1 two words\nanna-2 one\nbert-1 x\ncarl-1 y z\n",
    "reco2file_and_channel": "f1 f1 A\nf2 f2 A\nf3 f3 B\n",
    "spk2gender": "anna f\nbert m\n",
}


def lay_out(folder: Path, tables: dict[str, str] = TABLES) -> Path:
    folder.mkdir(parents=True)
    for name, text in tables.items():
        (folder / name).write_text(text)
    return folder


def without_segments(folder: Path) -> Path:
    names = ("utt2spk", "spk2utt", "utt2dur", "text", "spk2gender")
    lay_out(folder, {name: TABLES[name] for name in names})
    (folder / "wav.scp").write_text("".join(f"{key} /{key}.wav\n" for key in ("anna-1", "anna-2", "bert-1", "carl-1")))
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def lines_of(text: str, *keys: str) -> str:
    return "".join(line + "\n" for line in text.splitlines() if line.split()[0] in keys)


def test_all_utterances_are_the_same_directory(tmp_path):
    found = TableSet.load(lay_out(tmp_path / "a"))
    found.select(np.array([3, 1, 0, 2])).write(tmp_path / "b")
    assert contents(tmp_path / "b") == TABLES


def test_a_selection_takes_its_lines_of_every_table(tmp_path):
    TableSet.load(lay_out(tmp_path / "a")).select(np.array([True, False, True, False])).write(tmp_path / "b")
    kept = {"anna-1", "bert-1", "f1", "f3", "anna", "bert"}
    expected = {name: lines_of(text, *kept) for name, text in TABLES.items()}
    assert contents(tmp_path / "b") == {**expected, "spk2utt": "anna anna-1\nbert bert-1\n"}
    assert contents(tmp_path / "a") == TABLES


def test_a_table_of_which_nothing_remains_is_not_written(tmp_path):
    TableSet.load(lay_out(tmp_path / "a")).select(np.array([3])).write(tmp_path / "b")
    assert sorted(set(TABLES) - set(contents(tmp_path / "b"))) == ["spk2gender"]
    directories.validate(tmp_path / "b")


def test_no_utterance_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none of 4 utterances is left"):
        TableSet.load(lay_out(tmp_path / "a")).select(np.zeros(4, dtype=np.bool_))


def test_files_that_are_no_tables_stay_behind_and_are_named(tmp_path, caplog):
    (lay_out(tmp_path / "a") / "trials_x").write_text("a b target\n")
    caplog.set_level("INFO")
    TableSet.load(tmp_path / "a").write(tmp_path / "b")
    assert "not carried along: trials_x" in caplog.text and not (tmp_path / "b" / "trials_x").exists()


def test_renaming_reaches_every_table_and_sorts_anew(tmp_path):
    lay_out(tmp_path / "a", {"wav.scp": "a /a\na-b /ab\n", "utt2spk": "a a\na-b a\n", "spk2utt": "a a a-b\n"})
    TableSet.load(tmp_path / "a").rename((b"x-", b"-z"), (b"x-", b"")).write(tmp_path / "b", speaker_prefix=True)
    assert contents(tmp_path / "b") == {
        "wav.scp": "x-a-b-z /ab\nx-a-z /a\n",
        "utt2spk": "x-a-b-z x-a\nx-a-z x-a\n",
        "spk2utt": "x-a x-a-b-z x-a-z\n",
    }


def test_renaming_keeps_the_files_of_segments(tmp_path):
    TableSet.load(lay_out(tmp_path / "a")).rename((b"s-", b""), (b"s-", b"")).write(tmp_path / "b")
    found = contents(tmp_path / "b")
    assert found["wav.scp"] == TABLES["wav.scp"] and found["segments"].startswith("s-anna-1 f1 0.0 1.5\n")
    assert found["spk2gender"] == "s-anna f\ns-bert m\n" and found["text"].startswith("s-anna-1 two words\n")


def test_unknown_speakers_are_renamed_with_their_utterances(tmp_path):
    lay_out(tmp_path / "a", {"wav.scp": "a /a\n", "utt2spk": "a a\n", "spk2utt": "a a\n"})
    TableSet.load(tmp_path / "a").rename((b"x-", b"-y"), (b"", b"")).write(tmp_path / "b")
    assert contents(tmp_path / "b")["utt2spk"] == "x-a-y x-a-y\n"


def test_a_broken_result_is_refused_and_leaves_nothing(tmp_path):
    found = TableSet.load(lay_out(tmp_path / "a"))
    with pytest.raises(ValueError, match=f"{tmp_path}/b/utt2spk:1: the speaker anna is no prefix"):
        found.rename((b"s-", b""), (b"", b"")).write(tmp_path / "b", speaker_prefix=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_is_there_is_replaced_only_by_force(tmp_path):
    found = TableSet.load(lay_out(tmp_path / "a"))
    without_segments(tmp_path / "b")
    (tmp_path / "b" / "notes").write_text("mine")
    with pytest.raises(ValueError, match="b: a data directory is there already"):
        found.write(tmp_path / "b")
    found.write(tmp_path / "b", force=True)
    assert contents(tmp_path / "b") == {**TABLES, "notes": "mine"}


def test_what_was_divided_is_one_again(tmp_path):
    whole = TableSet.load(lay_out(tmp_path / "a"))
    parts = [whole.select(np.array(rows)) for rows in ([0, 3], [1], [2])]
    combine(parts).write(tmp_path / "b")
    assert contents(tmp_path / "b") == TABLES


def test_a_table_that_one_lacks_is_left_out_and_said(tmp_path, caplog):
    one = TableSet.load(lay_out(tmp_path / "a")).select(np.array([0, 1]))
    other = TableSet.load(tmp_path / "a").select(np.array([2]))
    del other.tables["vad.scp"]
    made = combine([one, other])
    assert "vad.scp" not in made.tables and "feats.scp" in made.tables
    assert "vad.scp is left out: not all of the directories have it" in caplog.text


def test_directories_without_segments_get_whole_files(tmp_path):
    one = TableSet.load(lay_out(tmp_path / "a"))
    other = TableSet.load(without_segments(tmp_path / "b")).rename((b"z-", b""), (b"z-", b""))
    made = combine([one, other])
    made.write(tmp_path / "c")
    found = directories.validate(tmp_path / "c")
    assert len(found.keys) == 8 and found.cuts is not None
    assert contents(tmp_path / "c")["segments"].splitlines()[4:] == [
        "z-anna-1 z-anna-1 0.000000 1.5",
        "z-anna-2 z-anna-2 0.000000 0.5",
        "z-bert-1 z-bert-1 0.000000 2",
        "z-carl-1 z-carl-1 0.000000 1",
    ]
    del other.tables["utt2dur"]
    with pytest.raises(ValueError, match="the others need utt2dur"):
        combine([one, other])


def test_the_same_utterance_twice_and_two_values_of_a_file_are_named(tmp_path):
    one = TableSet.load(lay_out(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"4 utterance\(s\) are in several of the directories, the first is anna-1"):
        combine([one, one])
    other = one.rename((b"z-", b""), (b"z-", b""))
    keys, values = other.tables["wav.scp"]
    other.tables["wav.scp"] = (keys, np.where(keys == b"f2", b"/other", values))
    with pytest.raises(ValueError, match=r"wav\.scp: f2 is '/.*' in one directory and '/.*' in another"):
        combine([one, other])


def test_every_table_of_a_data_directory_is_known():
    assert set(directories.TABLES) - {"spk2utt"} <= set(table_sets.KNOWN)
