"""Where the audio is: test sets and lists, training folders, what has to be there before any work."""

import re
import shutil
from pathlib import Path

import pytest

from sslsv_tk.kaldi.trials import OFFICIAL_LISTS
from sslsv_tk.recipes import corpora, features, test_sets
from sslsv_tk.recipes.names import Places
from sslsv_tk.recipes.options import Mistake
from sslsv_tk.recipes.test_sets import ScoredSet, TrialList


@pytest.fixture
def audio(recipe):
    """Folders of VoxCeleb, MUSAN, RIRS, two other test sets; a list beside each, and one that lies by itself."""
    for name in ("vox1", "vox2", "musan", "rirs", "cn", "sitw", "with space"):
        (recipe / name).mkdir()
    for path in ("vox1/veri_test2.txt", "cn/trials", "sitw/core.lst", "free.txt"):
        (recipe / path).write_text("1 a b\n")
    return {"VOXCELEB1": "vox1", "VOXCELEB2": "vox2", "MUSAN": "musan", "RIRS": "rirs"}


@pytest.fixture
def find(audio, places, make_options):
    return lambda **given: corpora.find(make_options(**given), places, audio)


def test_without_options_it_is_voxceleb(find):
    found = find()
    assert (found.train_set, found.train_folders, found.musan, found.rirs) == (
        "voxceleb2_train",
        ["vox2"],
        "musan",
        "rirs",
    )
    assert found.test_sets == [ScoredSet("voxceleb1_test", "vox1")]
    assert found.lists == [TrialList("vox1/veri_test2.txt", "voxceleb1_test", "veri_test2")]
    assert found.names == ["voxceleb2_train", "voxceleb1_test"] and found.folders == ["vox2", "vox1"]


def test_a_generated_corpus_lies_in_its_data_folder(find):
    found = find(mini=True)
    assert found.train_folders == ["data_mini/corpus/voxceleb2"] and found.rirs == "data_mini/corpus/rirs"
    assert find(tiny=True, datadir="d").musan == "d/corpus/musan"


def test_sets_and_lists_are_named(find):
    found = find(test_audio="vox1 cn eval=sitw", trials="eval=free.txt sitw/core.lst cn/trials")
    assert found.test_sets == [ScoredSet("voxceleb1_test", "vox1"), ScoredSet("cn", "cn"), ScoredSet("eval", "sitw")]
    assert found.lists == [
        TrialList("free.txt", "eval", "free"),
        TrialList("sitw/core.lst", "eval", "core"),
        TrialList("cn/trials", "cn", "cn"),
        TrialList("vox1/veri_test2.txt", "voxceleb1_test", "veri_test2"),
    ]
    assert find(test_audio="with space").test_sets == [ScoredSet("test", "with space")]
    assert find(test_audio="cn/").test_sets == [ScoredSet("test", "cn")]
    Path("a=b").mkdir()
    assert find(test_audio="x=a=b cn").test_sets[0] == ScoredSet("x", "a=b")
    assert find(test_audio="a=b").test_sets == [ScoredSet("test", "a=b")]


def test_official_lists_stand_for_their_folder_in_their_order(find):
    Path("lists").mkdir()
    for name in [*OFFICIAL_LISTS, "notes.txt"]:
        Path("lists", name).touch()
    assert [found.path for found in find(trials="lists").lists] == [f"lists/{name}" for name in OFFICIAL_LISTS]


def test_lists_of_one_name_have_the_set_before_it(find):
    for folder in ("cn", "sitw"):
        Path(folder, "list.txt").touch()
    found = find(test_audio="cn sitw", trials="cn/list.txt sitw/list.txt")
    assert [trials.name for trials in found.lists] == ["cn_list", "sitw_list"]


def test_paths_begin_where_the_user_stands(audio, recipe, make_options, tmp_path):
    elsewhere = Places(str(tmp_path), str(recipe))
    found = corpora.find(make_options(train_audio="a b", test_audio="x=c", musan="/m", rirs="r"), elsewhere, audio)
    assert found.train_folders == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert found.test_sets == [ScoredSet("x", f"{tmp_path}/c")]
    assert (found.musan, found.rirs) == ("/m", f"{tmp_path}/r")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": "x=free.txt"}, "--trials x=free.txt: there is no test set x; there are: voxceleb1_test"),
        ({"test_audio": "train=cn"}, "'train' cannot be the name of a test set. Give another: NAME=cn"),
        ({"test_audio": ".. cn"}, "'..' cannot be the name of a test set"),
        ({"test_audio": "cn ./cn"}, "two test sets are called cn (cn and ./cn). Name one: NAME=./cn"),
        ({"test_audio": "cn sitw", "trials": "free.txt"}, "Write SET=free.txt; the sets are cn sitw"),
        ({"test_audio": "cn", "trials": "free.txt cn/free.lst"}, "two lists of test are called free"),
        ({"test_audio": "cn", "trials": "free.txt free.txt"}, "the list free.txt of test is given twice"),
        ({"trials": "musan"}, "the folder musan has none of the lists veri_test.txt veri_test2.txt"),
        ({"train_audio": "none", "stage": 4, "stop_stage": 5}, "stages 2, 4 and 5 are about training"),
    ],
)
def test_what_is_not_clear(find, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        find(**given)


def test_a_list_to_watch_is_one_of_those(find):
    lists = find(test_audio="vox1 cn").lists
    assert test_sets.of_validation("", lists) is None
    assert test_sets.of_validation("cn", lists) == lists[1]
    with pytest.raises(Mistake, match=r"there is no such list; there are: veri_test2 cn. Did you mean veri_test2\?"):
        test_sets.of_validation("veri_test", lists)


@pytest.mark.parametrize(
    ("given", "remove", "message"),
    [
        ({"train_audio": "gone"}, None, "VOXCELEB2: there is no folder gone. Set VOXCELEB2 in egs/voxceleb/db.sh"),
        ({"test_audio": "gone", "trials": "free.txt"}, None, "VOXCELEB1: there is no folder gone"),
        ({}, "vox1/veri_test2.txt", "there is no trial list vox1/veri_test2.txt. Expected one of veri_test.txt"),
        ({"musan": "gone"}, None, "MUSAN: there is no folder gone"),
        ({"rirs": "gone"}, None, "RIRS: there is no folder gone"),
    ],
)
def test_what_stages_1_and_2_read_has_to_be_there(find, given, remove, message):
    found = find(**given)
    if remove:
        Path(remove).unlink()
    with pytest.raises(ValueError, match=re.escape(message)):
        corpora.check(found, {1, 2}, generated=False)
    corpora.check(found, {3, 4}, generated=False)
    if "trials" not in message:
        corpora.check(found, {1, 2}, generated=True)


@pytest.mark.parametrize(("test_audio", "word"), [("cn sitw", "sitw=FILE"), ("sitw", "FILE")])
def test_a_set_without_a_list_is_refused_where_it_is_scored_alone(find, test_audio, word):
    found = find(test_audio=test_audio)
    with pytest.raises(Mistake, match=f"--test-audio needs --trials {word}: lines .*Embeddings alone: --stop-stage 6"):
        corpora.check(found, {1, 7}, generated=False)
    corpora.check(found, {1, 3, 6}, generated=False)
    assert test_sets.without_list(found.test_sets, found.lists) == ["sitw" if " " in test_audio else "test"]


def test_paths_with_spaces_and_equals_signs_stay_whole(find, recipe):
    for path in ("with space/a list.txt", "a=b/x.wav"):
        (recipe / path).parent.mkdir(parents=True, exist_ok=True)
        (recipe / path).write_text("1 a b\n")
    found = find(train_audio="with space cn", test_audio="a=b", trials="with space/a list.txt free.txt")
    assert found.train_folders == ["with space", "cn"]
    assert found.test_sets == [ScoredSet("test", "a=b")]
    assert [(trials.path, trials.word) for trials in found.lists] == [
        ("with space/a list.txt", "with space/a list.txt"),
        ("free.txt", "free.txt"),
    ]
    found = find(test_audio="eval=with space cn", trials="eval=with space/a list.txt")
    assert found.test_sets == [ScoredSet("eval", "with space"), ScoredSet("cn", "cn")]
    assert found.lists[0] == TrialList("with space/a list.txt", "eval", "a list")


def test_a_tilde_that_the_shell_left_is_the_home_folder(find, recipe, monkeypatch):
    monkeypatch.setenv("HOME", str(recipe / "home"))
    assert find(train_audio="~/speech").train_folders == [str(recipe / "home" / "speech")]


def test_a_folder_that_is_not_named(places, make_options, recipe):
    with pytest.raises(ValueError, match=r"the folder of VOXCELEB2 is not known. Set VOXCELEB2 in"):
        corpora.check(corpora.find(make_options(), places, {}), {1}, generated=False)


def test_m4a_without_ffmpeg_is_told_before_stage_1(find, monkeypatch):
    Path("vox2/id1/video").mkdir(parents=True)
    Path("vox2/id1/video/00001.m4a").touch()
    corpora.check(find(), {1}, generated=False)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(
        ValueError, match=r"vox2/id1/video/00001\.m4a: needs the program ffmpeg, which is not installed"
    ):
        corpora.check(find(), {1}, generated=False)
    corpora.check(find(), {2, 3}, generated=False)


# -- features ------------------------------------------------------------------------------------------------------


def test_features_alone_are_kept_and_those_of_two_makers_refused(find, make_options):
    options = make_options(feats_type="fbank")
    assert features.decide(options, find(), "data") == "compute"
    Path("cn/feats.scp").touch()
    found = find(test_audio="vox1 cn")
    with pytest.raises(
        ValueError, match=r"vox2 has no feats.scp, but other sets keep the features that they came with"
    ):
        features.decide(options, found, "data")
    assert features.decide(make_options(feats_type="fbank", features="compute"), found, "data") == "compute"
    assert features.decide(make_options(feats_type="raw"), found, "data") == "compute"
    for folder in ("vox1", "vox2"):
        Path(folder, "feats.scp").touch()
    assert features.decide(options, found, "data") == "keep"
    assert "they are made of audio, and cn has no wav.scp" in features.consequence(found)
    for folder in ("vox1", "vox2", "cn"):
        Path(folder, "wav.scp").touch()
    assert features.decide(options, found, "data") == "compute"
    assert "they would be computed by our front end" in features.consequence(found)
    with pytest.raises(Mistake, match="--features keep needs --feats-type fbank"):
        features.decide(make_options(features="keep"), found, "data")


def test_later_stages_look_into_the_data_directories(find, make_options):
    Path("data/voxceleb2_train").mkdir(parents=True)
    Path("data/voxceleb2_train/feats.scp").touch()
    assert features.decide(make_options(feats_type="fbank", stage=3), find(), "data") == "keep"
    assert features.decide(make_options(feats_type="fbank"), find(), "data") == "compute"
