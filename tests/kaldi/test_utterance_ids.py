"""Ids from paths against the obvious reading of one path after the other."""

import re
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslsv_tk.kaldi import utterance_ids
from sslsv_tk.kaldi.tables import as_words

part = st.sampled_from(["id10270", "id1", "id", "idx1", "anna", "wav", "a.b", "00001", "é", "x"])
suffix = st.sampled_from([*utterance_ids.AUDIO_SUFFIXES, ".WAV", ".Flac", "", ".txt"])
path = st.builds(lambda parts, end: "/".join(parts) + end, st.lists(part, min_size=1, max_size=6), suffix)


def id_of(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    if suffix.lower() in utterance_ids.AUDIO_SUFFIXES:
        path = path[: -len(suffix)]
    parts = path.split("/")
    if len(parts) >= 3 and re.fullmatch(r"id\d+", parts[-3]):
        parts = parts[-3:]
    return "-".join(parts)


@given(st.lists(path, min_size=1, max_size=8))
def test_ids_are_those_of_one_path_after_the_other(paths):
    found = utterance_ids.utterance_ids(as_words(paths))
    assert [key.decode() for key in found.tolist()] == [id_of(path) for path in paths]


@given(st.lists(path, min_size=1, max_size=8))
def test_what_is_above_and_what_remains_are_the_whole_path(paths):
    is_voxceleb, above, place = utterance_ids.split_voxceleb(as_words(paths))
    assert [(a + b).decode() for a, b in zip(above.tolist(), place.tolist(), strict=True)] == paths
    expected = [bool(re.fullmatch(r"(.*/)?id\d+/[^/]*/[^/]*", path)) for path in paths]
    assert is_voxceleb.tolist() == expected


def test_one_suffix_is_taken_off_and_no_more():
    names = as_words(["a/b/c.wav", "c.flac.wav", "x", ".wav", "wav", "a.m4a", "B.WAV"])
    assert utterance_ids.utterance_ids(names).tolist() == [b"a-b-c", b"c.flac", b"x", b"", b"wav", b"a", b"B"]
    assert len(utterance_ids.utterance_ids(as_words([]))) == 0


@pytest.mark.parametrize("bad", [b"a b", b"a\tb", b"a\x07", b"\xff", b"", b"\x7f", "a\u00a0b".encode()])
def test_what_cannot_be_an_id_is_named_by_its_path(bad):
    ids = np.array([b"good", "gut\u00e9".encode(), bad])
    with pytest.raises(ValueError, match=r"^'/third'.* cannot be in an id"):
        utterance_ids.check(ids, as_words(["/first", "/second", "/third"]))
    utterance_ids.check(ids[:2], as_words(["/first", "/second"]))


def test_one_file_of_each_id_by_the_first_kind_that_is_preferred():
    ids = as_words(["b", "a", "a", "a", "c"])
    paths = as_words(["/b.m4a", "/a.M4A", "/a.wav", "/a.mp4", "/c.flac"])
    chosen = utterance_ids.sorted_once(ids, paths, (".mp4", ".wav"))
    assert paths[chosen].tolist() == [b"/a.mp4", b"/b.m4a", b"/c.flac"]
    with pytest.raises(ValueError, match=r"/a\.M4A and /a\.mp4 both have the id a \(1 such ids\).* --prefer wav"):
        utterance_ids.sorted_once(ids[[1, 3]], paths[[1, 3]])
    with pytest.raises(ValueError, match=r"/x/a\.wav and /y/a\.wav both have the id a"):
        utterance_ids.sorted_once(as_words(["a", "a"]), as_words(["/y/a.wav", "/x/a.wav"]), (".wav",))
    with pytest.raises(ValueError, match=r"/a\.M4A and /a\.mp4 both have the id a"):
        utterance_ids.sorted_once(ids[[1, 3]], paths[[1, 3]], (".flac",))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["wav", "m4a", "mp4"])), min_size=1, max_size=9))
def test_the_choice_is_that_of_a_dictionary(files):
    files = sorted(set(files))
    prefer = ("m4a", "wav", "mp4")
    expected = {}
    for key, kind in sorted(files, key=lambda file: -prefer.index(file[1])):
        expected[key] = f"{key}.{kind}"
    paths = as_words([f"{key}.{kind}" for key, kind in files])
    chosen = utterance_ids.sorted_once(as_words([key for key, _ in files]), paths, (".m4a", ".wav", ".mp4"))
    assert [path.decode() for path in paths[chosen].tolist()] == [expected[key] for key in sorted(expected)]
