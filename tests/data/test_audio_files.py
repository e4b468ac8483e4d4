"""Finding audio files, and what identifies them."""

import pytest

from sslsv_tk.data import audio_files


def test_files_are_found_at_any_depth_sorted_without_hidden_ones(tmp_path, write_audio):
    for name in ("b/c/2.wav", "b/1.FLAC", "a.wav", "b/._2.wav", ".hidden/x.wav"):
        write_audio(tmp_path / name.replace("FLAC", "flac")).tobytes()
    (tmp_path / "b/1.flac").rename(tmp_path / "b/1.FLAC")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    found = audio_files.find(tmp_path)
    assert [file.relative for file in found] == ["a.wav", "b/1.FLAC", "b/c/2.wav", "linked/1.FLAC", "linked/c/2.wav"]
    assert found[0].path == str(tmp_path / "a.wav") and found[0].size == (tmp_path / "a.wav").stat().st_size


def test_missing_and_empty_folders_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="gone: no such folder"):
        audio_files.find(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"no \.wav or \.flac file at any depth\.$"):
        audio_files.find(tmp_path)
    (tmp_path / "a.m4a").write_text("x")
    with pytest.raises(ValueError, match=r"such as .*/a\.m4a, which need conversion"):
        audio_files.find(tmp_path)


def test_the_listing_sees_names_and_sizes(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 100)
    before = audio_files.listing(audio_files.find(tmp_path))
    assert audio_files.listing(audio_files.find(tmp_path)) == before
    write_audio(tmp_path / "a.wav", 101)
    changed = audio_files.listing(audio_files.find(tmp_path))
    (tmp_path / "a.wav").rename(tmp_path / "b.wav")
    assert len({before, changed, audio_files.listing(audio_files.find(tmp_path))}) == 3
