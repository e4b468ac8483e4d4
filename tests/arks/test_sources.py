"""Digests of the files that a set was packed of: every byte counts, and none is hashed twice."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sslsv_tk import digests
from sslsv_tk.arks import sources
from sslsv_tk.arks.audio_archive import write_pcm_ark
from sslsv_tk.arks.sources import KnownSamples, SourceDigests
from sslsv_tk.kaldi import tables
from sslsv_tk.packing import pack
from sslsv_tk.packing.parts import Part, Wanted

SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 3000, dtype=np.int16)


def digest_of(path: str | Path, known: KnownSamples | None = None) -> bytes:
    found = SourceDigests()
    found.add(str(path).encode(), known)
    out = Path(str(path).partition(".ark:")[0]).parent / "digests"
    found.write(out)
    return out.read_bytes()


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A wav file with a chunk behind its samples."""
    soundfile.write(tmp_path / "a.wav", SAMPLES, 16000)
    with open(tmp_path / "a.wav", "ab") as stream:
        stream.write(b"LIST\x04\x00\x00\x00word")
    return tmp_path / "a.wav"


def test_samples_that_are_known_give_the_digest_of_the_file_that_is_read(wav: Path) -> None:
    known = KnownSamples(2 * len(SAMPLES), digests.of_stretch(SAMPLES.tobytes()))
    assert digest_of(wav, known) == digest_of(wav)


def test_samples_that_are_not_all_of_the_file_are_not_taken_for_it(wav: Path) -> None:
    known = KnownSamples(100, digests.of_stretch(SAMPLES[:50].tobytes()))
    assert digest_of(wav, known) == digest_of(wav)


@pytest.mark.parametrize("place", [0, 24, 43, 44, 3000, 6043, 6044, 6055])
def test_every_byte_of_a_file_counts(wav: Path, place: int) -> None:
    before, contents = digest_of(wav), bytearray(wav.read_bytes())
    contents[place] ^= 1
    wav.write_bytes(contents)
    assert digest_of(wav) != before


@pytest.mark.parametrize("change", [lambda all_: all_[:-1], lambda all_: all_ + b"x", lambda all_: all_[:5000]])
def test_a_file_that_was_cut_or_grew_is_another(wav: Path, change) -> None:
    before = digest_of(wav)
    wav.write_bytes(change(wav.read_bytes()))
    assert digest_of(wav) != before


def test_other_kinds_of_files_are_known_by_all_their_bytes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", SAMPLES, 16000)
    soundfile.write(tmp_path / "b.wav", SAMPLES, 8000)
    for name in ("a.flac", "b.wav"):
        assert digest_of(tmp_path / name).hex() == digests.of_file(tmp_path / name)


def test_the_source_of_an_entry_of_an_ark_is_the_ark(tmp_path: Path) -> None:
    write_pcm_ark([("a", SAMPLES)], tmp_path / "x.ark", tmp_path / "scp", tmp_path / "lengths")
    assert digest_of(f"{tmp_path}/x.ark:2").hex() == digests.of_file(tmp_path / "x.ark")


@pytest.mark.parametrize("copy", [True, False])
def test_packing_hashes_the_samples_of_each_wav_file_once(tmp_path: Path, monkeypatch, copy: bool) -> None:
    keys = ["a", "b", "c"]
    for number, key in enumerate(keys):
        soundfile.write(tmp_path / f"{key}.wav", SAMPLES[number:], 16000)
    (tmp_path / "data").mkdir()
    tables.write_table(tmp_path / "data/wav.scp", keys, [f"{tmp_path}/{key}.wav" for key in keys])
    hashed: list[int] = []
    in_memory, in_file = digests.of_stretch, digests.of_stretch_in
    monkeypatch.setattr(digests, "of_stretch", lambda all_: hashed.append(len(all_)) or in_memory(all_))
    monkeypatch.setattr(digests, "of_stretch_in", lambda stream, count: hashed.append(count) or in_file(stream, count))
    pack.pack_part(tmp_path / "data", Part(tmp_path / "out", 1, 1), Wanted(copy=copy))
    assert hashed == [6000, 5998, 5996]
    found = (tmp_path / "out/split/sources.1").read_bytes()
    assert found == b"".join(digest_of(tmp_path / f"{key}.wav") for key in keys)
    assert sources.stamps_of(tmp_path / "out/split/sources.1").stat().st_size == 3 * 24
