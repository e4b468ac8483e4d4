"""Noise trees and room responses to data directories."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslsv_tk import artifacts
from sslsv_tk.corpora import noises
from sslsv_tk.kaldi.directories import DataDirectory, validate

RATE = 16000


@pytest.fixture
def musan(tmp_path, write_audio):
    """One file of 25 s, one of exactly 20 s, two short ones."""
    write_audio(tmp_path / "musan" / "noise" / "free" / "n-1.wav", 25 * RATE)
    write_audio(tmp_path / "musan" / "noise" / "n-2.wav", RATE // 2)
    write_audio(tmp_path / "musan" / "music" / "m.wav", 20 * RATE)
    write_audio(tmp_path / "musan" / "speech" / "deep" / "er" / "s.flac", 3 * RATE + 7)
    return tmp_path / "musan"


def test_cuts_carry_their_category_and_stand_in_segments(tmp_path, musan):
    noises.prepare_noises(str(musan), tmp_path / "data")
    noise = tmp_path / "data" / "musan_noise"
    assert (noise / "segments").read_text() == (
        "noise-free-n-1-00000 noise-free-n-1 0.000000 10.000000\n"
        "noise-free-n-1-00001 noise-free-n-1 10.000000 25.000000\n"
        "noise-n-2-00000 noise-n-2 0.000000 0.500000\n"
    )
    assert (noise / "utt2dur").read_text().split()[1::2] == ["10.000000", "15.000000", "0.500000"]
    for category, cuts in (("noise", 3), ("music", 2), ("speech", 1)):
        found = validate(tmp_path / "data" / f"musan_{category}")
        assert found.categories is not None and found.categories.tolist() == [category.encode()] * cuts


def bounds_one_by_one(samples: int, cut: int) -> list[tuple[int, int]]:
    """Pieces of one file, one after the other."""
    pieces = max(1, samples // cut)
    return [(i * cut, (i + 1) * cut if i < pieces - 1 else samples) for i in range(pieces)]


@given(st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 3000)), min_size=1, max_size=5))
def test_cuts_cover_every_sample_once_and_only_whole_files_are_short(files_and_cuts):
    samples, cuts = np.array(files_and_cuts).T
    files, numbers, starts, ends = noises.cut_bounds(samples, cuts)
    for file, (length, cut) in enumerate(files_and_cuts):
        bounds = list(zip(starts[files == file].tolist(), ends[files == file].tolist(), strict=True))
        assert bounds == bounds_one_by_one(length, cut)
        assert numbers[files == file].tolist() == list(range(len(bounds)))
        assert bounds[0][0] == 0 and bounds[-1][1] == length
        assert all(end == start for (_, end), (start, _) in itertools.pairwise(bounds))
        assert len(bounds) == 1 or cut <= bounds[-1][1] - bounds[-1][0] < 2 * cut


def test_times_in_segments_give_back_the_exact_samples(tmp_path, write_audio):
    for category in noises.CATEGORIES:
        write_audio(tmp_path / "musan" / category / "x.wav", 54_321)
    noises.prepare_noises(str(tmp_path / "musan"), tmp_path / "data", cut_seconds=0.7777)
    cuts = DataDirectory.load(tmp_path / "data" / "musan_music").cuts
    assert cuts is not None
    bounds = [(round(start * RATE), round(end * RATE)) for start, end in zip(cuts.starts, cuts.ends, strict=True)]
    assert bounds == bounds_one_by_one(54_321, round(0.7777 * RATE))


def test_another_folder_on_top_is_an_error_that_lists_the_three(tmp_path, musan, write_audio):
    write_audio(musan / "babble" / "b.wav")
    with pytest.raises(ValueError, match=r"babble/b\.wav: .*one of noise, music, speech; found 'babble'"):
        noises.prepare_noises(str(musan), tmp_path / "data")
    (musan / "babble" / "b.wav").rename(musan / "b.wav")
    with pytest.raises(ValueError, match=r"/b\.wav: .*one of noise, music, speech; found 'a file there'"):
        noises.prepare_noises(str(musan), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_category_without_audio_is_an_error(tmp_path, musan):
    (musan / "music" / "m.wav").unlink()
    with pytest.raises(ValueError, match=r"no audio file below music; expected noise, music, speech"):
        noises.prepare_noises(str(musan), tmp_path / "data")


def test_one_id_for_two_noises_names_both(tmp_path, musan, write_audio):
    write_audio(musan / "noise" / "free-n-1.wav")
    with pytest.raises(ValueError, match=r"noise/free-n-1\.wav and .*noise/free/n-1\.wav both have the id"):
        noises.prepare_noises(str(musan), tmp_path / "data")


def test_noises_made_of_other_cuts_are_stale(tmp_path, musan, caplog):
    noises.prepare_noises(str(musan), tmp_path / "data")
    with caplog.at_level(logging.INFO):
        noises.prepare_noises(str(musan), tmp_path / "data")
    assert caplog.text.count("nothing to do") == 3
    with pytest.raises(artifacts.StaleArtifact, match=r"cut_seconds: was 10\.0, now 5\.0"):
        noises.prepare_noises(str(musan), tmp_path / "data", cut_seconds=5.0)
    noises.prepare_noises(str(musan), tmp_path / "data", cut_seconds=5.0, force=True)
    assert len(validate(tmp_path / "data" / "musan_music").keys) == 4


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_cut_needs_a_length(tmp_path, musan, seconds):
    with pytest.raises(ValueError, match=r"at least 0\.1 seconds"):
        noises.prepare_noises(str(musan), tmp_path / "data", cut_seconds=seconds)


def test_damaged_noises_are_left_out_within_the_tolerance(tmp_path, musan):
    (musan / "noise" / "n-2.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 2 audio files cannot be used"):
        noises.prepare_noises(str(musan), tmp_path / "data")
    noises.prepare_noises(str(musan), tmp_path / "data", tolerance=0.5)
    assert len(validate(tmp_path / "data" / "musan_noise").keys) == 2


def test_responses_of_any_tree(tmp_path, write_audio):
    write_audio(tmp_path / "rirs" / "small" / "r1.wav", 800)
    write_audio(tmp_path / "rirs" / "r2.flac", 900)
    noises.prepare_responses(str(tmp_path / "rirs"), tmp_path / "data")
    found = validate(tmp_path / "data")
    assert found.keys.tolist() == [b"r2", b"small-r1"] and found.channels is None
    assert found.durations is not None and found.durations.tolist() == [900 / RATE, 800 / RATE]


def test_of_rirs_noises_the_point_source_noises_are_passed_over(tmp_path, write_audio, caplog):
    write_audio(tmp_path / "rirs" / "simulated_rirs" / "smallroom" / "r1.wav", 800)
    write_audio(tmp_path / "rirs" / "real_rirs_isotropic_noises" / "r2.wav", 900, channels=8)
    write_audio(tmp_path / "rirs" / "pointsource_noises" / "n.wav", 900)
    with caplog.at_level(logging.INFO):
        noises.prepare_responses(str(tmp_path / "rirs"), tmp_path / "data")
    assert caplog.text.count("1 of 2 responses have several channels; the first is taken") == 1
    found = validate(tmp_path / "data")
    assert found.keys.tolist() == [b"real_rirs_isotropic_noises-r2", b"simulated_rirs-smallroom-r1"]
    assert found.channels is not None and found.channels.tolist() == [1, 1]


REAL = "real_rirs_isotropic_noises"
RECORDED = ("RVB2014_type1_noise_largeroom1_1", "RWCP_type4_noise_r1a", "isotropic_1")


@pytest.mark.parametrize("source", ["", "RIRS_NOISES", f"RIRS_NOISES/{REAL}"])
def test_noise_recordings_of_rirs_noises_are_no_responses_wherever_the_tree_begins(
    tmp_path, write_audio, caplog, source
):
    top = tmp_path / "RIRS_NOISES"
    names = {
        "RVB2014_type1_rir_largeroom1_far_angla": 8,
        "air_type1_air_binaural_aula": 2,
        **dict.fromkeys(RECORDED, 1),
    }
    for name, channels in names.items():
        write_audio(top / REAL / f"{name}.wav", 900, channels=channels)
    write_audio(top / "simulated_rirs" / "noiseroom" / "Room001-00001.wav", 800)
    write_audio(top / "pointsource_noises" / "noise-free-sound-0000.wav", 800)
    (top / REAL / "noise_list").write_text(
        "".join(
            f"--noise-id {n} --noise-type isotropic RIRS_NOISES/{REAL}/{name}.wav\n" for n, name in enumerate(RECORDED)
        )
    )
    with caplog.at_level(logging.INFO):
        noises.prepare_responses(str(tmp_path / source), tmp_path / "data")
    found = validate(tmp_path / "data")
    stems = sorted(Path(value.decode()).stem for value in found.values.tolist())
    responses = ["RVB2014_type1_rir_largeroom1_far_angla", "air_type1_air_binaural_aula"]
    assert stems == sorted(responses + ([] if REAL in source else ["Room001-00001"]))
    assert f"{3 if REAL in source else 4} noises, such as" in caplog.text
    assert set(found.categories.tolist()) == {noises.RESPONSE}


def test_a_folder_of_noises_alone_has_no_response(tmp_path, write_audio):
    write_audio(tmp_path / "pointsource_noises" / "a.wav", 800)
    with pytest.raises(ValueError, match="only noises of RIRS_NOISES, no room response"):
        noises.prepare_responses(str(tmp_path / "pointsource_noises"), tmp_path / "data")
