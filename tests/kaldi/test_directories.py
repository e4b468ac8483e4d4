"""The rules of a data directory: what is written reads back, every broken rule is named with its line."""

import functools
from pathlib import Path

import numpy as np
import pytest

from sslsv_tk.kaldi import directories
from sslsv_tk.kaldi.directories import DataDirectory, validate
from sslsv_tk.kaldi.repair import fix
from sslsv_tk.kaldi.segments import Cuts
from sslsv_tk.kaldi.tables import as_words

KEYS = ("anna-r1-u1", "anna-r2-u1", "bert-r1-u1")
FILES = {
    "wav.scp": "anna-r1-u1 /a1.wav\nanna-r2-u1 /a 2.wav\nbert-r1-u1 /b1.wav\n",
    "utt2spk": "anna-r1-u1 anna\nanna-r2-u1 anna\nbert-r1-u1 bert\n",
    "spk2utt": "anna anna-r1-u1 anna-r2-u1\nbert bert-r1-u1\n",
    "utt2rec": "anna-r1-u1 anna-r1\nanna-r2-u1 anna-r2\nbert-r1-u1 bert-r1\n",
    "utt2dur": "anna-r1-u1 1.500000\nanna-r2-u1 0.250000\nbert-r1-u1 2.000000\n",
}


def lay_out(folder: Path, **changes: str | None) -> Path:
    """The files above below `folder`, some changed (by name without the dot) or left out (None)."""
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        text = changes.get(name.replace(".", "_"), text)
        if text is not None:
            (folder / name).write_text(text)
    return folder


def with_cuts() -> DataDirectory:
    return DataDirectory(
        keys=as_words(["f-0", "f-1", "g-0"]),
        values=as_words(["/f.wav", "/f.wav", "/g.wav"]),
        durations=np.array([10.0, 5.5, 3.0]),
        categories=as_words(["noise"] * 3),
        channels=np.array([1, 1, 2]),
        cuts=Cuts(as_words(["f", "f", "g"]), np.array([0.0, 10.0, 0.0]), np.array([10.0, 15.5, 3.0])),
    )


def test_a_directory_is_read_into_columns(tmp_path):
    found = validate(lay_out(tmp_path))
    assert found.keys.tolist() == [key.encode() for key in KEYS]
    assert found.values.tolist() == [b"/a1.wav", b"/a 2.wav", b"/b1.wav"]
    assert found.speakers is not None and found.speakers.tolist() == [b"anna", b"anna", b"bert"]
    assert found.durations is not None and found.durations.tolist() == [1.5, 0.25, 2.0]
    assert found.categories is None and found.cuts is None


def test_what_is_written_is_the_same_text(tmp_path):
    validate(lay_out(tmp_path / "a")).write(tmp_path / "b")
    assert {path.name: path.read_text() for path in (tmp_path / "b").iterdir()} == FILES


def test_cuts_are_written_as_segments_and_read_back(tmp_path):
    with_cuts().write(tmp_path)
    assert (tmp_path / "wav.scp").read_text() == "f /f.wav\ng /g.wav\n"
    assert (tmp_path / "segments").read_text().splitlines()[1] == "f-1 f 10.000000 15.500000"
    found = validate(tmp_path)
    assert found.values.tolist() == [b"/f.wav", b"/f.wav", b"/g.wav"]
    assert found.cuts is not None and found.cuts.ends.tolist() == [10.0, 15.5, 3.0]
    assert found.channels is not None and found.channels.tolist() == [1, 1, 2]


def test_a_cut_to_the_end_of_its_file_is_minus_one_on_disk_and_infinite_in_memory(tmp_path):
    cuts = with_cuts()
    assert cuts.cuts is not None
    cuts.cuts.ends[1] = np.inf
    cuts.write(tmp_path)
    assert (tmp_path / "segments").read_text().splitlines()[1] == "f-1 f 10.000000 -1"
    found = validate(tmp_path).cuts
    assert found is not None and found.ends.tolist() == [10.0, np.inf, 3.0]
    for end in ("-1.0", "-1.00"):
        (tmp_path / "segments").write_text(f"f-0 f 0 10\nf-1 f 10 {end}\ng-0 g 0 3\n")
        assert np.isinf(DataDirectory.load(tmp_path).cuts.ends[1])
    for wrong in ("-2", "-0.5", "nan"):
        (tmp_path / "segments").write_text(f"f-0 f 0 10\nf-1 f 10 {wrong}\ng-0 g 0 3\n")
        with pytest.raises(ValueError, match=r"segments:2: "):
            DataDirectory.load(tmp_path)


def features_alone() -> DataDirectory:
    frames = np.array([7, 9])
    return DataDirectory(as_words(["a", "b"]), as_words(["x.ark:2", "x.ark:99"]), frames=frames, table="feats.scp")


def test_features_stand_in_place_of_audio(tmp_path):
    lay_out(tmp_path)
    features_alone().write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feats.scp", "utt2num_frames"]
    found = validate(tmp_path)
    assert (found.table, found.values.tolist()) == ("feats.scp", [b"x.ark:2", b"x.ark:99"])
    assert found.frames is not None and found.frames.tolist() == [7, 9]
    assert found.select(np.array([1])).table == "feats.scp"
    (tmp_path / "utt2num_frames").write_text("a 7\n")
    with pytest.raises(ValueError, match=r"utt2num_frames does not list the utterances of feats\.scp: lacks 1 \(b\)"):
        DataDirectory.load(tmp_path)


def test_audio_goes_before_features_unless_they_are_asked_for(tmp_path):
    lay_out(tmp_path)
    with pytest.raises(ValueError, match=r"no feats\.scp, so no features to keep"):
        DataDirectory.load(tmp_path, features=True)
    lines = "".join(f"{key} x.ark:{row}\n" for row, key in enumerate(KEYS))
    (tmp_path / "feats.scp").write_text(lines)
    assert DataDirectory.load(tmp_path).table == "wav.scp"
    assert DataDirectory.load(tmp_path, features=True).values.tolist() == [b"x.ark:0", b"x.ark:1", b"x.ark:2"]
    assert directories.fingerprints(tmp_path, True).keys() - directories.fingerprints(tmp_path).keys() == {"feats.scp"}


def test_fix_sorts_a_directory_of_features(tmp_path):
    features_alone().write(tmp_path)
    (tmp_path / "feats.scp").write_text("b x.ark:99\na x.ark:2\nc x.ark:7\n")
    with pytest.raises(ValueError, match=r"feats\.scp:2: a follows b: .*utils/fix_data_dir\.sh sorts it"):
        DataDirectory.load(tmp_path)
    assert fix(tmp_path) == (2, 3)
    assert validate(tmp_path).keys.tolist() == [b"a", b"b"]


def test_writing_removes_tables_of_an_earlier_content(tmp_path):
    lay_out(tmp_path)
    with_cuts().write(tmp_path)
    DataDirectory(as_words(["a"]), as_words(["/a"])).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["wav.scp"]


def test_select_takes_the_same_rows_of_every_table():
    found = with_cuts().select(np.array([2, 0]))
    assert found.keys.tolist() == [b"g-0", b"f-0"] and found.speakers is None
    assert found.durations is not None and found.durations.tolist() == [3.0, 10.0]
    assert found.cuts is not None and found.cuts.files.tolist() == [b"g", b"f"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wav_scp": None}, "no wav.scp"),
        ({"wav_scp": "b x\na y\n"}, r"wav\.scp:2: a follows b: not in the order"),
        ({"wav_scp": "a x\na y\n"}, r"wav\.scp:2: the key a is there already on line 1"),
        ({"utt2rec": "anna-r1-u1 r\nbert-r1-u1 r\n"}, r"utt2rec does not list .*lacks 1 \(anna-r2-u1\)"),
        ({"utt2dur": FILES["utt2dur"] + "zoe 1\n"}, r"utt2dur does not list .*has 1 that are not there \(zoe\)"),
        ({"utt2dur": FILES["utt2dur"].replace("0.25", "0.00")}, r"utt2dur:2: anna-r2-u1 lasts 0 s"),
        ({"utt2dur": FILES["utt2dur"].replace("0.25", "x")}, r"utt2dur:2: expected a number"),
        ({"utt2spk": FILES["utt2spk"].replace("bert\n", "carl\n")}, r"utt2spk:3: the speaker carl is no prefix"),
        ({"spk2utt": None}, "utt2spk and spk2utt come together"),
        ({"utt2spk": None}, "utt2spk and spk2utt come together"),
        ({"spk2utt": "anna anna-r1-u1\nbert bert-r1-u1\n"}, r"spk2utt:1: not the inverse"),
        ({"spk2utt": FILES["spk2utt"] + "zoe zoe-1\n"}, r"spk2utt:3: not the inverse"),
        ({"spk2utt": "anna anna-r1-u1 anna-r2-u1\n"}, r"spk2utt:2: not the inverse"),
    ],
)
def test_a_broken_rule_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        validate(lay_out(tmp_path, **changes))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("g-0 h 0 3", "segments:3: g-0 h 0 3: the file is not in wav.scp"),
        ("g-0 g -1 3", "starts before 0"),
        ("g-0 g 3 3", "ends before it starts"),
        ("g-0 g 0", "segments:3: expected 4 words, found 3"),
    ],
)
def test_a_wrong_segment_is_named(tmp_path, line, message):
    with_cuts().write(tmp_path)
    lines = (tmp_path / "segments").read_text().splitlines()
    (tmp_path / "segments").write_text("\n".join([*lines[:2], line]) + "\n")
    with pytest.raises(ValueError, match=message):
        DataDirectory.load(tmp_path)


def test_unknown_speakers_are_valid(tmp_path):
    validate(lay_out(tmp_path / "a"))
    keys = as_words(KEYS)
    DataDirectory(keys, keys, speakers=keys).write(tmp_path / "b")
    assert (tmp_path / "b" / "spk2utt").read_text().splitlines()[0] == "anna-r1-u1 anna-r1-u1"
    validate(tmp_path / "b")


def test_fingerprints_see_a_change_in_the_middle(tmp_path):
    before = directories.fingerprints(lay_out(tmp_path))
    assert sorted(before) == sorted(FILES)
    lay_out(tmp_path, utt2rec=FILES["utt2rec"].replace("anna-r2\n", "anna-r3\n"))
    after = directories.fingerprints(tmp_path)
    assert [name for name in before if before[name] != after[name]] == ["utt2rec"]


def test_fix_sorts_intersects_and_keeps_the_originals(tmp_path):
    changes = {
        "wav_scp": "bert-r1-u1 /b1.wav\nanna-r1-u1 /a1.wav\nanna-r1-u1 /a1.wav\nanna-r2-u1 /a 2.wav\n",
        "utt2rec": FILES["utt2rec"].replace("anna-r2-u1 anna-r2\n", ""),
        "spk2utt": "nonsense a\n",
    }
    lay_out(tmp_path, **changes)
    assert fix(tmp_path) == (2, 3)
    assert validate(tmp_path).keys.tolist() == [b"anna-r1-u1", b"bert-r1-u1"]
    backed_up = {path.name: path.read_text() for path in (tmp_path / ".backup").iterdir()}
    untouched = {"utt2rec"}
    assert backed_up == {
        name: changes.get(name.replace(".", "_"), text) for name, text in FILES.items() if name not in untouched
    }


def test_fix_of_a_sound_directory_changes_nothing(tmp_path):
    lay_out(tmp_path)
    assert fix(tmp_path) == (3, 3)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == FILES


def test_fix_drops_utterances_without_duration_and_cuts_without_file(tmp_path):
    lay_out(tmp_path / "a", utt2dur=FILES["utt2dur"].replace("0.25", "0.00"))
    assert fix(tmp_path / "a") == (2, 3)
    with_cuts().write(tmp_path / "b")
    (tmp_path / "b" / "wav.scp").write_text("z /z.wav\nf /f.wav\n")
    assert fix(tmp_path / "b") == (2, 3)
    assert (tmp_path / "b" / "wav.scp").read_text() == "f /f.wav\n"
    validate(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"utt2rec": "zoe r\n"}, "kept 0 of 3. Nothing was changed"),
        ({"wav_scp": "a /1\na /2\n"}, r"wav\.scp:2: a has the value '/2' here and '/1' on line 1"),
        ({"wav_scp": None}, "no wav.scp"),
    ],
)
def test_fix_refuses_what_it_cannot_repair_and_touches_nothing(tmp_path, changes, message):
    lay_out(tmp_path, **changes)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        fix(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_fix_killed_at_any_rename_goes_on_to_the_same_directory(tmp_path, kill_at_rename):
    unsorted = "bert-r1-u1 /b1.wav\nanna-r1-u1 /a1.wav\nanna-r2-u1 /a 2.wav\n"
    changes = {"wav_scp": unsorted, "utt2rec": FILES["utt2rec"].replace("anna-r2-u1 anna-r2\n", "")}
    fix(lay_out(tmp_path / "whole", **changes))
    for number in range(1, 5):
        folder = lay_out(tmp_path / str(number), **changes)
        assert kill_at_rename(functools.partial(fix, folder), number)
        fix(folder)
        for name in (*FILES, ".backup/wav.scp", ".backup/utt2dur"):
            assert (folder / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert not kill_at_rename(functools.partial(fix, lay_out(tmp_path / "last", **changes)), 5)
