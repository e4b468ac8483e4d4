"""Finding audio files, and what identifies them."""

import hashlib
import os

import numpy as np
import pytest

from sslsv_tk.corpora import audio_files


def test_files_are_found_at_any_depth_sorted_without_hidden_ones(tmp_path, write_audio):
    for name in ("b/c/2.wav", "b/1.flac", "a.wav", "b/._2.wav", ".hidden/x.wav"):
        write_audio(tmp_path / name)
    (tmp_path / "b/1.flac").rename(tmp_path / "b/1.FLAC")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    found = audio_files.find(tmp_path)
    assert found.relative.tolist() == [b"a.wav", b"b/1.FLAC", b"b/c/2.wav", b"linked/1.FLAC", b"linked/c/2.wav"]
    assert found.paths().tolist() == [f"{tmp_path}/{name.decode()}".encode() for name in found.relative.tolist()]
    assert found.stems().tolist() == [b"a", b"b/1", b"b/c/2", b"linked/1", b"linked/c/2"]
    assert found.sizes.tolist() == [os.path.getsize(path) for path in found.paths().tolist()]


def test_every_kind_that_decoding_reads_is_found_and_no_other(tmp_path):
    for suffix in (*audio_files.SUFFIXES, ".txt", ".wav2", ""):
        (tmp_path / f"x{suffix}").write_bytes(b"x" * 3)
    found = audio_files.find(tmp_path)
    assert found.relative.tolist() == sorted(f"x{suffix}".encode() for suffix in audio_files.SUFFIXES)
    assert found.sizes.tolist() == [3] * len(audio_files.SUFFIXES)


def test_missing_and_empty_folders_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="gone: no such folder"):
        audio_files.find(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"no audio file at any depth; expected \.wav, .*\.aac\.$"):
        audio_files.find(tmp_path)
    (tmp_path / "a.sph").write_text("x")
    with pytest.raises(ValueError, match=r"such as .*/a\.sph, which need conversion"):
        audio_files.find(tmp_path)


def test_a_link_to_a_folder_around_it_is_named_and_does_not_loop(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.wav").write_bytes(b"x")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match=r"a/b/up is a link to .*/a, the folder around it"):
        audio_files.find(tmp_path)


def test_two_folders_that_link_to_each_other_are_named(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").write_bytes(b"x")
        (tmp_path / name / "other").symlink_to(tmp_path / other)
    with pytest.raises(ValueError, match=r"(a|b)/other/other is a link"):
        audio_files.find(tmp_path)


def test_links_that_point_nowhere_or_in_a_circle_count_as_empty_files(tmp_path):
    (tmp_path / "gone.wav").symlink_to("nowhere.wav")
    (tmp_path / "circle.wav").symlink_to("circle.wav")
    assert audio_files.find(tmp_path).sizes.tolist() == [0, 0]


def test_the_digest_sees_names_and_sizes_and_is_that_of_the_lines(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 100)
    found = audio_files.find(tmp_path)
    before = found.digest()
    assert before == hashlib.sha256(f"a.wav {found.sizes[0]}\n".encode()).hexdigest()[:32]
    write_audio(tmp_path / "a.wav", 101)
    changed = audio_files.find(tmp_path).digest()
    (tmp_path / "a.wav").rename(tmp_path / "b.wav")
    assert len({before, changed, audio_files.find(tmp_path).digest()}) == 3


def test_a_selection_keeps_names_and_sizes_together(tmp_path):
    for size in range(1, 4):
        (tmp_path / f"{size}.wav").write_bytes(b"x" * size)
    chosen = audio_files.find(tmp_path).select(np.array([2, 0]))
    assert (chosen.relative.tolist(), chosen.sizes.tolist()) == ([b"3.wav", b"1.wav"], [3, 1])


def test_files_of_other_kinds_beside_audio_are_said_by_kind(tmp_path, caplog):
    for name in ("a.wav", "b.sph", "c/d.SPH", "c/e.aiff", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert len(audio_files.find(tmp_path)) == 1
    assert "passed over: 1 .aiff, 2 .sph, such as" in caplog.text and "notes" not in caplog.text
