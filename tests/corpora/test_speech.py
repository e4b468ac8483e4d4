"""Corpora on disk to data directories."""

import functools
import logging
from pathlib import Path

import pytest

from sslsv_tk import artifacts
from sslsv_tk.corpora import speech
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.kaldi.directories import validate


def read(path: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


def test_a_folder_becomes_a_valid_data_directory(tmp_path, corpus):
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "set")
    assert len(validate(tmp_path / "set").keys) == 8
    assert read(tmp_path / "set" / "wav.scp")["bert-r2-u1"] == f"{corpus}/bert/r2/u1.wav"
    assert read(tmp_path / "set" / "utt2spk")["bert-r2-u1"] == "bert"
    assert read(tmp_path / "set" / "utt2rec")["bert-r2-u1"] == "bert-r2"
    assert read(tmp_path / "set" / "utt2dur")["anna-r1-u1"] == f"{1000 / 16000:.6f}"
    assert read(tmp_path / "set" / "spk2utt")["anna"].split() == [
        "anna-r1-u1",
        "anna-r1-u2",
        "anna-r2-u1",
        "anna-r2-u2",
    ]
    assert not (tmp_path / "set" / "rejected").exists()


def test_without_labels_no_file_has_a_speaker_of_two_utterances(tmp_path, corpus):
    prepare(Corpus([str(corpus)], "folder", labels=False), tmp_path / "set")
    assert all(key == speaker for key, speaker in read(tmp_path / "set" / "utt2spk").items())
    assert read(tmp_path / "set" / "utt2rec")["anna-r1-u1"] == "anna-r1"


@pytest.mark.parametrize("layout", ["auto", "voxceleb"])
@pytest.mark.parametrize("above", ["", "wav", "dev/wav", "test", "vox1_test_wav/wav", "a-b/c d"])
def test_voxceleb_is_found_below_whatever_folders(tmp_path, write_audio, above, layout):
    write_audio(tmp_path / "vox" / above / "id10270" / "x6uYqmx31kE" / "00001.wav")
    prepare(Corpus([str(tmp_path / "vox")], layout), tmp_path / "set")
    assert read(tmp_path / "set" / "utt2rec") == {"id10270-x6uYqmx31kE-00001": "id10270-x6uYqmx31kE"}


def test_several_sources_make_one_set_in_c_locale_order(tmp_path, write_audio):
    for source, name in (("a", "b-2/r/u.wav"), ("a", "B/r/u.flac"), ("c", "b/r/u.wav"), ("c", "é/r/u.wav")):
        write_audio(tmp_path / source / name)
    prepare(Corpus([str(tmp_path / "a"), str(tmp_path / "c")], "folder"), tmp_path / "set")
    assert list(read(tmp_path / "set" / "wav.scp")) == ["B-r-u", "b-2-r-u", "b-r-u", "é-r-u"]


@pytest.mark.parametrize(
    ("layout", "name", "expected"),
    [
        ("folder", "anna/u1.wav", "<speaker>/<recording>/<utterance>.wav"),
        ("folder", "wav/anna/r1/u1.wav", "<speaker>/<recording>/<utterance>.wav"),
        ("folder", "u1.wav", "<speaker>/<recording>/<utterance>.wav"),
        ("voxceleb", "anna/r1/u1.wav", "wav/id10270/x6uYqmx31kE/00001.wav"),
        ("voxceleb", "id10270/u1.wav", "wav/id10270/x6uYqmx31kE/00001.wav"),
        ("auto", "anna/u1.wav", "wav/id10270/x6uYqmx31kE/00001.wav or <speaker>/<recording>/<utterance>.wav"),
    ],
)
def test_another_layout_is_an_error_with_an_example(tmp_path, write_audio, layout, name, expected):
    write_audio(tmp_path / "corpus" / name)
    with pytest.raises(ValueError, match=f"not the layout {layout}: expected {expected}.* found .*/corpus/{name}"):
        prepare(Corpus([str(tmp_path / "corpus")], layout), tmp_path / "set")
    assert not (tmp_path / "set" / "wav.scp").exists()


def test_two_files_of_one_id_are_both_named(tmp_path, corpus, write_audio):
    write_audio(corpus / "anna" / "r1" / "u1.flac")
    with pytest.raises(ValueError, match=r"anna/r1/u1\.flac and .*anna/r1/u1\.wav both have the id anna-r1-u1"):
        prepare(Corpus([str(corpus)], "folder"), tmp_path / "set")
    (corpus / "anna" / "r1" / "u1.flac").unlink()
    write_audio(corpus / "anna-r1" / "u1" / "x.wav")
    write_audio(corpus / "anna" / "r1-u1" / "x.wav")
    with pytest.raises(ValueError, match=r"both have the id anna-r1-u1-x"):
        prepare(Corpus([str(corpus)], "folder"), tmp_path / "set")


@pytest.mark.parametrize("name", ["an na/r/u.wav", "anna/r/u\n.wav", "anna/r/u\x07.wav", "anna/r\u00a0/u.wav"])
def test_a_path_that_gives_no_id_is_named(tmp_path, write_audio, name):
    write_audio(tmp_path / "corpus" / name)
    with pytest.raises(ValueError, match="cannot be in an id"):
        prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "set")


def test_a_name_that_is_not_utf8_is_named(tmp_path, write_audio):
    write_audio(tmp_path / "corpus" / "anna" / "r" / "u.wav")
    (tmp_path / "corpus" / "anna" / "r" / "u.wav").rename(tmp_path / "corpus" / "anna" / "r" / "\udcff.wav")
    with pytest.raises(ValueError, match=r"not UTF-8 cannot be in an id"):
        prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "set")


def test_white_space_above_the_corpus_is_no_matter(tmp_path, corpus):
    corpus.rename(tmp_path / "my corpus")
    prepare(Corpus([str(tmp_path / "my corpus")], "folder"), tmp_path / "set")
    assert read(tmp_path / "set" / "wav.scp")["anna-r1-u1"] == f"{tmp_path}/my corpus/anna/r1/u1.wav"


def test_unusable_files_stop_the_step_unless_tolerated(tmp_path, corpus, caplog):
    (corpus / "anna" / "r1" / "u2.wav").write_bytes(b"")
    whole = (corpus / "bert" / "r1" / "u1.wav").read_bytes()
    (corpus / "bert" / "r1" / "u1.wav").write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=r"2 of 8 audio files cannot be used .* 0\.25 where the tolerance is 0.2\."):
        prepare(Corpus([str(corpus)], "folder", tolerance=0.2), tmp_path / "set")
    assert not (tmp_path / "set" / "wav.scp").exists() and not (tmp_path / "set" / artifacts.RECORD).exists()
    with caplog.at_level(logging.WARNING):
        prepare(Corpus([str(corpus)], "folder", tolerance=0.25), tmp_path / "set")
    assert "u2.wav: an empty file" in caplog.text and "left out 2 of 8" in caplog.text
    assert len(validate(tmp_path / "set").keys) == 6
    rejected = read(tmp_path / "set" / "rejected")
    assert list(rejected) == ["anna-r1-u2", "bert-r1-u1"] and "10 bytes" in rejected["bert-r1-u1"]


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_a_tolerance_is_a_share(tolerance):
    with pytest.raises(ValueError, match="tolerance is a share"):
        Corpus(["x"], "folder", tolerance=tolerance)


def test_one_utterance_is_accepted_and_said(tmp_path, write_audio, caplog):
    write_audio(tmp_path / "corpus" / "anna" / "r1" / "u1.wav")
    with caplog.at_level(logging.WARNING):
        prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "set")
    for what in ("one utterance only", "one recording only", "one speaker folder only"):
        assert what in caplog.text
    assert len(validate(tmp_path / "set").keys) == 1


def test_only_a_trial_list_s_utterances_are_taken(tmp_path, corpus):
    (corpus / "bert" / "r1" / "u2.wav").write_bytes(b"damaged, but not asked for")
    (tmp_path / "list").write_text("1 anna/r1/u1.wav anna/r2/u1.wav\n0 anna/r1/u1.wav bert/r1/u1.wav\n")
    prepare(Corpus([str(corpus)], "folder", only=[str(tmp_path / "list")]), tmp_path / "set")
    assert list(read(tmp_path / "set" / "wav.scp")) == ["anna-r1-u1", "anna-r2-u1", "bert-r1-u1"]
    (tmp_path / "more").write_text("bert-r2-u1 bert-r2-u2 target")
    both = Corpus([str(corpus)], "folder", only=[str(tmp_path / "list"), str(tmp_path / "more")])
    prepare(both, tmp_path / "both")
    assert list(read(tmp_path / "both" / "wav.scp"))[2:] == ["bert-r1-u1", "bert-r2-u1", "bert-r2-u2"]
    (tmp_path / "list").write_text("1 anna/r1/u1.wav zoe/r2/u1.wav\n0 anna/r1/u1.wav bert/r1/u1.wav\n")
    with pytest.raises(
        ValueError, match=r"1 of 3 utterances are not in the corpus: zoe-r2-u1\. There are 8, such as anna-r1-u1\."
    ):
        prepare(Corpus([str(corpus)], "folder", only=[str(tmp_path / "list")]), tmp_path / "other")


def test_a_second_run_does_nothing_and_a_changed_corpus_is_noticed(tmp_path, corpus, write_audio, caplog):
    made = Corpus([str(corpus)], "folder")
    prepare(made, tmp_path / "set")
    before = (tmp_path / "set" / "wav.scp").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        prepare(made, tmp_path / "set")
    assert "complete: 8 utterances; nothing to do" in caplog.text
    assert (tmp_path / "set" / "wav.scp").stat().st_mtime_ns == before
    with pytest.raises(artifacts.StaleArtifact, match="labels: was True, now False"):
        prepare(Corpus([str(corpus)], "folder", labels=False), tmp_path / "set")
    write_audio(corpus / "carl" / "r1" / "u1.wav")
    with pytest.raises(artifacts.StaleArtifact, match=r"audio files \(paths and sizes\)"):
        prepare(made, tmp_path / "set")
    prepare(made, tmp_path / "set", force=True)
    assert len(validate(tmp_path / "set").keys) == 9


def test_a_damaged_table_is_made_anew_on_the_next_run(tmp_path, corpus, contents):
    made = Corpus([str(corpus)], "folder")
    prepare(made, tmp_path / "set")
    whole = contents(tmp_path / "set")
    for name in ("wav.scp", "utt2dur", "spk2utt"):
        (tmp_path / "set" / name).write_bytes(whole[name][:-5])
        prepare(made, tmp_path / "set")
        assert contents(tmp_path / "set") == whole
    (tmp_path / "set" / "wav.scp").unlink()
    prepare(made, tmp_path / "set")
    assert contents(tmp_path / "set") == whole


def test_killed_at_any_rename_nothing_is_half_written_and_the_next_run_makes_the_same(
    tmp_path, corpus, contents, kill_at_rename
):
    made = Corpus([str(corpus)], "folder")
    prepare(made, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    renames = 2 * len(whole) - 1  # each table is written, and then moved; the record is written last
    for number in range(1, renames + 1):
        folder = tmp_path / str(number)
        assert kill_at_rename(functools.partial(prepare, made, folder), number)
        found = contents(folder)
        final = {name: found[name] for name in found if not name.endswith((".tmp", ".replacing"))}
        assert artifacts.RECORD not in final
        assert all(final[name] == whole[name] for name in final)
        prepare(made, folder)
        assert contents(folder) == whole
    assert not kill_at_rename(functools.partial(prepare, made, tmp_path / "last"), renames + 1)


def test_every_layout_is_a_word_of_the_command():
    with pytest.raises(ValueError, match="layout 'vox' is not one of voxceleb, folder, any, kaldi, auto"):
        speech.Corpus(["x"], "vox")  # type: ignore[arg-type]


def make(folder: Path, *names: str, write_audio) -> str:
    for name in names:
        write_audio(folder / name.replace(".m4a", ".wav"))
        if name.endswith(".m4a"):  # what is read is what is in the file, whatever its name
            (folder / name.replace(".m4a", ".wav")).rename(folder / name)
    return str(folder)


def test_voxceleb2_as_delivered_gives_dev_alone_where_test_lies_beside_it(tmp_path, write_audio, caplog):
    dev, test = "dev/aac/id00012/21Uxsk56VDQ/00001.m4a", "test/aac/id00017/01dfn2spqyE/00001.m4a"
    source = make(tmp_path / "vox2", dev, test, write_audio=write_audio)
    caplog.set_level("INFO")
    for part, keys in (
        ("dev", ["id00012-21Uxsk56VDQ-00001"]),
        ("test", ["id00017-01dfn2spqyE-00001"]),
        ("all", ["id00012-21Uxsk56VDQ-00001", "id00017-01dfn2spqyE-00001"]),
    ):
        prepare(Corpus([source], part=part), tmp_path / part)
        assert list(read(tmp_path / part / "wav.scp")) == keys
    assert "1 files of dev, 1 others are left out" in caplog.text
    prepare(Corpus([f"{source}/test"], part="dev"), tmp_path / "below")
    assert list(read(tmp_path / "below" / "wav.scp")) == ["id00017-01dfn2spqyE-00001"]


def test_parts_are_told_by_the_names_of_the_archives_too(tmp_path, write_audio):
    names = ("vox1_dev_wav/wav/id10001/a/00001.wav", "vox1_test_wav/wav/id10270/b/00001.wav")
    source = make(tmp_path / "vox1", *names, write_audio=write_audio)
    prepare(Corpus([source], part="test"), tmp_path / "set")
    assert list(read(tmp_path / "set" / "wav.scp")) == ["id10270-b-00001"]


def test_m4a_and_wav_of_one_utterance_need_a_preference(tmp_path, write_audio):
    names = ("aac/id00012/v/00001.m4a", "wav/id00012/v/00001.wav", "aac/id00012/v/00002.m4a")
    source = make(tmp_path / "vox", *names, write_audio=write_audio)
    with pytest.raises(ValueError, match=r"aac/.*00001\.m4a and .*wav/.*00001\.wav both have .* --prefer wav"):
        prepare(Corpus([source]), tmp_path / "set")
    prepare(Corpus([source], prefer=(".wav",)), tmp_path / "set")
    assert read(tmp_path / "set" / "wav.scp") == {
        "id00012-v-00001": f"{source}/wav/id00012/v/00001.wav",
        "id00012-v-00002": f"{source}/aac/id00012/v/00002.m4a",
    }
    with pytest.raises(artifacts.StaleArtifact, match="option prefer"):
        prepare(Corpus([source], prefer=(".m4a",)), tmp_path / "set")
    with pytest.raises(ValueError, match=r"--prefer \.aiff: expected one of \.wav"):
        Corpus([source], prefer=(".aiff",))


def test_unlabelled_audio_at_any_depth_has_neither_speakers_nor_recordings(tmp_path, write_audio):
    source = make(tmp_path / "files", "a.wav", "b/c.flac", "d/e/f/g.wav", "h/i/j.wav", write_audio=write_audio)
    for layout in ("auto", "any"):
        prepare(Corpus([source], layout, labels=False), tmp_path / layout)
        assert list(read(tmp_path / layout / "wav.scp")) == ["a", "b-c", "d-e-f-g", "h-i-j"]
        assert all(key == speaker for key, speaker in read(tmp_path / layout / "utt2spk").items())
        assert not (tmp_path / layout / "utt2rec").exists()
    with pytest.raises(ValueError, match="Audio at any depth, its speakers unknown: --labels false"):
        prepare(Corpus([source]), tmp_path / "set")
    with pytest.raises(ValueError, match="layout any has no speakers"):
        Corpus([source], "any")


def test_a_validation_list_over_voxceleb_and_files_of_its_own(tmp_path, write_audio):
    names = ("wav/id10341/rX4/00006.wav", "wav/id10341/Sh1/00016.wav", "VoxSRC2022_dev/dev_00000.wav", "noise/x.wav")
    source = make(tmp_path / "vox1", *names, write_audio=write_audio)
    (tmp_path / "voxsrc").write_text(
        "1 id10341/rX4/00006.wav voxceleb1/id10341/Sh1/00016.wav\n"
        "0 VoxSRC2022_dev/dev_00000.wav id10341/rX4/00006.wav\n"
    )
    prepare(Corpus([source], labels=None, only=[str(tmp_path / "voxsrc")]), tmp_path / "set")
    assert list(read(tmp_path / "set" / "utt2spk").items()) == [
        (key, key) for key in ("VoxSRC2022_dev-dev_00000", "id10341-Sh1-00016", "id10341-rX4-00006")
    ]
    (tmp_path / "vox").write_text("1 id10341/rX4/00006.wav id10341/Sh1/00016.wav\n")
    prepare(Corpus([source], labels=None, only=[str(tmp_path / "vox")]), tmp_path / "known")
    assert set(read(tmp_path / "known" / "utt2spk").values()) == {"id10341"}
