"""Digests against hashlib, and against what must not look the same."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from sslsv_tk import digests

MEBIBYTE = 2**20


def test_a_digest_is_128_bits_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    expected = hashlib.sha256(b"abc" * 1000).hexdigest()[:32]
    assert digests.of_file(tmp_path / "a") == expected == digests.of_chunks([b"abc"] * 1000)
    assert len(expected) == 32


@pytest.mark.parametrize("place", [0, 40 * MEBIBYTE, 80 * MEBIBYTE - 1])
def test_a_change_anywhere_in_a_large_file_is_seen(tmp_path: Path, place: int) -> None:
    path = tmp_path / "large"
    with open(path, "wb") as stream:
        stream.truncate(80 * MEBIBYTE)  # sparse: takes no room
    before = digests.of_file(path)
    with open(path, "r+b") as stream:
        stream.seek(place)
        stream.write(b"x")
    assert digests.of_file(path) != before


def test_a_stretch_is_the_same_whether_in_memory_or_in_a_file(tmp_path: Path) -> None:
    contents = np.random.default_rng(0).bytes(MEBIBYTE + 3)
    (tmp_path / "a").write_bytes(b"head" + contents + b"tail")
    with open(tmp_path / "a", "rb") as stream:
        assert stream.read(4) == b"head"
        assert digests.of_stretch_in(stream, len(contents)) == digests.of_stretch(contents)
        assert stream.read() == b"tail", "not a byte more was read"
        stream.seek(4)
        assert digests.of_stretch_in(stream, 10 * MEBIBYTE) == digests.of_stretch(contents + b"tail")


def test_files_are_known_by_contents_order_and_where_they_end(tmp_path: Path) -> None:
    for name, text in (("a", b"ab"), ("b", b"c"), ("c", b"a"), ("d", b"bc"), ("e", b"ab")):
        (tmp_path / name).write_bytes(text)

    def of(*names: str) -> str:
        return digests.of_files(tmp_path / name for name in names)

    assert of("a", "b") == of("e", "b") != of("b", "a")
    assert of("a", "b") != of("c", "d")


def test_the_order_of_keys_of_a_value_does_not_count() -> None:
    assert digests.of_value({"a": 1, "b": [2]}) == digests.of_value({"b": [2], "a": 1}) != digests.of_value({"a": 1})


def test_columns_are_known_by_their_types_values_and_ends() -> None:
    words, numbers = np.array([b"ab", b"c"]), np.arange(4)
    different = [
        [words, numbers],
        [numbers, words],
        [words, None],
        [words],
        [words.astype("S3"), numbers],
        [words, numbers.astype(np.float64)],
        [words[:1], numbers],
        [words, numbers[::-1]],
        [words[:1], words[1:], numbers],
    ]
    assert len({digests.of_columns(columns) for columns in different}) == len(different)
    assert digests.of_columns([np.arange(8)[::2]]) == digests.of_columns([np.array([0, 2, 4, 6])])
