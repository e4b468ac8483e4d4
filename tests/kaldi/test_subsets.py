"""Subsets and parts against what they must be: sizes, order, disjointness, whole speakers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslsv_tk.kaldi import subsets
from sslsv_tk.kaldi.tables import as_words


def test_first_last_and_shortest():
    assert subsets.first(5, 2).tolist() == [0, 1]
    assert subsets.last(5, 2).tolist() == [3, 4]
    assert subsets.shortest(np.array([3.0, 1.0, 2.0, 1.0]), 3).tolist() == [1, 2, 3]


@pytest.mark.parametrize("count", [0, -1, 6])
@pytest.mark.parametrize("choose", [subsets.first, subsets.last, lambda n, count: subsets.drawn(n, count, 0)])
def test_a_count_that_is_not_there_is_named(choose, count):
    with pytest.raises(ValueError, match=f"{count} utterances asked for, 5 are there: expected 1 to 5"):
        choose(5, count)


def test_a_draw_follows_the_seed_and_a_smaller_one_is_in_a_larger_one():
    drawn = [subsets.drawn(1000, count, 7).tolist() for count in (100, 300, 1000)]
    assert [len(set(rows)) for rows in drawn] == [100, 300, 1000]
    assert set(drawn[0]) < set(drawn[1]) and drawn[0] == sorted(drawn[0])
    assert subsets.drawn(1000, 100, 7).tolist() == drawn[0] != subsets.drawn(1000, 100, 8).tolist()
    assert 300 < np.mean(drawn[0]) < 700


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40), st.integers(1, 5))
def test_up_to_so_many_of_each_speaker(names, count):
    speakers = as_words(names)
    rows = subsets.per_speaker(speakers, count, 3)
    assert len(set(rows.tolist())) == len(rows) and rows.tolist() == sorted(rows.tolist())
    chosen = speakers[rows].tolist()
    for name in set(names):
        assert chosen.count(name.encode()) == min(count, names.count(name))


def test_none_of_each_speaker_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        subsets.per_speaker(as_words(["a"]), 0, 0)


def test_a_list_names_by_the_first_word_of_its_lines_and_what_is_not_there_is_said(tmp_path, caplog):
    (tmp_path / "list").write_text("\ufeffb\n\nc x y\nnobody")
    assert subsets.listed(as_words(["a", "b", "c"]), tmp_path / "list").tolist() == [False, True, True]
    assert caplog.messages == [f"{tmp_path}/list: 1 of 3 names are not there: nobody"]


@given(st.integers(1, 50), st.integers(1, 50))
def test_parts_by_utterance_cover_all_and_differ_by_one(utterances, parts):
    if parts > utterances:
        with pytest.raises(ValueError, match="parts asked for"):
            list(subsets.parts_by_utterance(utterances, parts))
        return
    found = list(subsets.parts_by_utterance(utterances, parts))
    assert np.concatenate(found).tolist() == list(range(utterances))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_parts_by_speaker_are_whole_not_empty_and_cover_all(counts, parts, random):
    names = [f"s{speaker:02d}" for speaker, count in enumerate(counts) for _ in range(count)]
    random.shuffle(names)
    speakers = as_words(names)
    if parts > len(counts):
        with pytest.raises(ValueError, match="no speaker is divided"):
            list(subsets.parts_by_speaker(speakers, parts))
        return
    found = list(subsets.parts_by_speaker(speakers, parts))
    assert len(found) == parts and all(len(rows) for rows in found)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(names)))
    of_part = [set(speakers[rows].tolist()) for rows in found]
    assert sum(map(len, of_part)) == len(counts)


def test_parts_by_speaker_are_about_equal():
    speakers = as_words([f"s{row // 10:03d}" for row in range(1000)])
    assert [len(rows) for rows in subsets.parts_by_speaker(speakers, 4)] == [250] * 4
