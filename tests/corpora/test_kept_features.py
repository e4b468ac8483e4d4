"""Features that came with a data directory: taken as they are, compared with the configuration, never mixed."""

import logging
import os
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from small_corpus import write_configuration

from sslsv_tk import artifacts, logs, records
from sslsv_tk.arks import identity
from sslsv_tk.arks.feature_archive import FeatureArchive
from sslsv_tk.bin import copy_data_dir, keep_features, prepare_corpus, verify
from sslsv_tk.corpora import kept_features
from sslsv_tk.corpora.data_directories import Features
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.kaldi.directories import DataDirectory, validate
from sslsv_tk.records import Made
from sslsv_tk.runs import training_data

KEYS = ("ann-1", "ann-2", "bob-1")
SETTINGS = LogMelConfig().of_frames()


def frames_of(bands: int = 40) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(bands)
    return {key: generator.normal(size=(20 + row, bands)).astype(np.float32) for row, key in enumerate(KEYS)}


def lay_out(top: Path, entries: dict[str, np.ndarray], method: int | None = None, **tables: str) -> Path:
    """TOP/data/set as Kaldi leaves it, arks in TOP/fbank, paths relative to TOP."""
    (top / "fbank").mkdir(parents=True, exist_ok=True)
    folder = top / "data" / "set"
    folder.mkdir(parents=True, exist_ok=True)
    items = list(entries.items())
    lines = ""
    for number, part in enumerate((items[:2], items[2:])):
        scp = top / "part.scp"
        kaldiio.save_ark(str(top / f"fbank/raw.{number}.ark"), dict(part), str(scp), compression_method=method)
        lines += scp.read_text().replace(f"{top}/", "")
    (folder / "feats.scp").write_text(lines)
    (folder / "utt2spk").write_text("ann-1 ann\nann-2 ann\nbob-1 bob\n")
    (folder / "spk2utt").write_text("ann ann-1 ann-2\nbob bob-1\n")
    for name, contents in tables.items():
        (folder / name.replace("_scp", ".scp")).write_text(contents)
    return folder


def adopt(tmp_path: Path, source: Path, features: Features = "auto", name: str = "out", **options) -> Path:
    prepare(Corpus([str(source)], features=features, **options), tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("method", [None, 2, 3, 5])
def test_frames_of_every_kind_are_those_that_kaldiio_reads(tmp_path, method):
    source = lay_out(tmp_path / "kaldi", frames_of(), method)
    before = {path: path.read_bytes() for path in (tmp_path / "kaldi").rglob("*") if path.is_file()}
    data, out = adopt(tmp_path, source), tmp_path / "dump"
    assert [path.name for path in sorted(data.glob("*")) if path.suffix not in (".index", ".stamps")] == [
        *("feats.scp", "made.json", "spk2utt", "utt2dur", "utt2num_frames", "utt2spk")
    ]
    kept_features.take(data, out, SETTINGS)
    archive = FeatureArchive(out)
    assert archive.frames.tolist() == [20, 21, 22] and archive.bands == 40
    assert validate(data).durations.tolist() == [0.2, 0.21, 0.22]
    paths = dict(line.split() for line in (out / "feats.scp").read_text().splitlines())
    for row, key in enumerate(KEYS):
        assert paths[key].startswith(f"{tmp_path}/kaldi/fbank/raw.")
        expected = kaldiio.load_mat(paths[key])
        np.testing.assert_allclose(archive.read(row, 3, 9), expected[3:12], rtol=0, atol=1e-6)
    assert {path: path.read_bytes() for path in before} == before
    assert archive.read_codes("utt2spk").tolist() == [0, 0, 1]


def test_lengths_of_the_directory_are_used_and_compared_with_the_arks(tmp_path, caplog):
    lengths = "ann-1 20\nann-2 21\nbob-1 22\n"
    source = lay_out(tmp_path / "kaldi", frames_of(), utt2num_frames=lengths)
    with caplog.at_level(logging.INFO):
        data = adopt(tmp_path, source)
    assert "reading 3 headers" not in caplog.text
    kept_features.take(data, tmp_path / "dump", SETTINGS)
    lay_out(tmp_path / "kaldi", frames_of(), utt2num_frames=lengths.replace("20", "19"))
    data = adopt(tmp_path, source, name="wrong")
    with pytest.raises(ValueError, match=r"ann-1: expected 19 frames of 40 bands, found 20 of 40"):
        kept_features.take(data, tmp_path / "other", SETTINGS)
    assert not (tmp_path / "other" / "made.json").exists()


def test_segments_bring_durations_and_recordings_also_without_audio(tmp_path):
    segments = "ann-1 call 0 0.5\nann-2 call 0.5 1.25\nbob-1 other 0 3\nzoe-1 other 3 4\n"
    data = adopt(tmp_path, lay_out(tmp_path / "kaldi", frames_of(), segments=segments))
    found = DataDirectory.load(data)
    assert found.durations.tolist() == [0.5, 0.75, 3.0] and found.recordings.tolist() == [b"call", b"call", b"other"]
    open_end = segments.replace("1.25", "-1")
    data = adopt(tmp_path, lay_out(tmp_path / "kaldi", frames_of(), segments=open_end), name="open")
    assert DataDirectory.load(data).durations.tolist() == [0.2, 0.21, 0.22]
    lay_out(tmp_path / "kaldi", frames_of(), segments="ann-1 call 0 0.5\n")
    with pytest.raises(ValueError, match=r"segments lacks ann-2 of feats\.scp"):
        adopt(tmp_path, tmp_path / "kaldi/data/set", name="lacking")


def test_auto_computes_where_there_is_audio_and_keep_keeps(tmp_path, write_audio, caplog):
    write_audio(tmp_path / "a.wav", 16000)
    source = lay_out(
        tmp_path / "kaldi",
        frames_of(),
        wav_scp="".join(f"{key} {tmp_path}/a.wav\n" for key in KEYS),
        vad_scp="ann-1 x\nann-2 x\nbob-1 x\n",
    )
    (source / "vad.scp").unlink()
    with caplog.at_level(logging.INFO):
        assert DataDirectory.load(adopt(tmp_path, source)).table == "wav.scp"
    assert "feats.scp is not used" in caplog.text and "--features keep" in caplog.text
    with pytest.raises(artifacts.StaleArtifact, match="option features: was absent, now kept"):
        adopt(tmp_path, source, "keep")
    prepare(Corpus([str(source)], features="keep"), tmp_path / "out", force=True)
    assert DataDirectory.load(tmp_path / "out").table == "feats.scp" and not (tmp_path / "out" / "wav.scp").exists()
    prepare(Corpus([str(source)], features="compute"), tmp_path / "out", force=True)
    assert DataDirectory.load(tmp_path / "out").table == "wav.scp"
    (source / "wav.scp").unlink()
    with pytest.raises(ValueError, match=r"expected wav\.scp, found feats\.scp alone: .*--feats-type fbank"):
        adopt(tmp_path, source, "compute", "none")


def test_audio_in_place_of_features_leaves_none_of_them(tmp_path, data, corpus):
    assert (data / "feats.scp").is_file() and (data / "features.index").is_file()
    prepare(Corpus([str(corpus)]), data, force=True)
    assert not [path.name for path in data.iterdir() if path.name.startswith("feat") or "frames" in path.name]
    assert DataDirectory.load(data).table == "wav.scp"


def test_speech_decisions_are_not_applied_and_that_is_said(tmp_path, caplog):
    source = lay_out(tmp_path / "kaldi", frames_of(), vad_scp="ann-1 v.ark:6\nann-2 v.ark:9\nbob-1 v.ark:12\n")
    data = adopt(tmp_path, source)
    assert "vad.scp is not applied to features that are kept" in caplog.text and not (data / "vad.scp").exists()


def test_what_keeps_nothing_is_one_line(tmp_path, corpus, caplog):
    words = ["--source", str(corpus), "--out", str(tmp_path / "out"), "--features", "keep"]
    assert logs.run_command(prepare_corpus.main, words) == 1
    assert f"{corpus}: no feats.scp, so no features to keep" in caplog.text
    source = lay_out(tmp_path / "kaldi", frames_of())
    for value, what in (("copy-feats ark:x ark:- |", "a command"), ("fbank/raw.0.ark:6[0:9]", "a range of frames")):
        (source / "feats.scp").write_text(f"ann-1 {value}\nann-2 fbank/raw.0.ark:9\nbob-1 fbank/raw.1.ark:6\n")
        with pytest.raises(
            ValueError, match=rf"feats\.scp:1: expected file\.ark:offset, found {what}.*copy-feats scp:"
        ):
            adopt(tmp_path, source)


@pytest.fixture
def data(tmp_path) -> Path:
    return adopt(tmp_path, lay_out(tmp_path / "kaldi", frames_of()), name="data")


def words(tmp_path: Path, *more: str) -> list[str]:
    write_configuration(tmp_path)
    config = ["--config", str(tmp_path / "system.yaml")]
    return [*config, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "dump"), *more]


def test_other_bands_are_one_line_with_both_numbers_and_the_remedy(tmp_path, data, caplog):
    assert logs.run_command(keep_features.main, words(tmp_path, "--set", "frontend.bands=80")) == 1
    error = caplog.records[-1].getMessage()
    assert "expected features of 80 bands (frontend.bands), found 40. Give run.sh --config FILE" in error
    assert "`frontend: {bands: 40}`" in error and "--features compute" in error and "\n" not in error
    assert not (tmp_path / "dump").exists()
    assert logs.run_command(keep_features.main, words(tmp_path)) == 0


def test_a_second_time_nothing_is_done_and_other_arks_are_noticed(tmp_path, data, caplog):
    kept_features.take(data, tmp_path / "dump", SETTINGS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "dump").iterdir() if path.suffix != ".stamps"}
    with caplog.at_level(logging.INFO):
        kept_features.take(data, tmp_path / "dump", SETTINGS)
    assert "complete; nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (tmp_path / "dump" / "feats.scp").unlink()
    kept_features.take(data, tmp_path / "dump", SETTINGS)
    assert (tmp_path / "dump" / "feats.scp").is_file()
    ark = tmp_path / "kaldi" / "fbank" / "raw.1.ark"
    ark.write_bytes(ark.read_bytes() + b"more")
    with pytest.raises(artifacts.StaleArtifact, match=r"1 arks have other contents .* is .*/raw\.1\.ark\. Re"):
        kept_features.take(data, tmp_path / "dump", SETTINGS)
    kept_features.take(data, tmp_path / "dump", SETTINGS, force=True)
    ark.unlink()
    with pytest.raises(ValueError, match=r"raw\.1\.ark: No such file or directory; feats\.scp names it"):
        kept_features.take(data, tmp_path / "dump", SETTINGS)


def flip(ark: Path) -> None:
    """One bit of the last value, the file's time kept."""
    contents, times = bytearray(ark.read_bytes()), ark.stat()
    contents[-2] ^= 1
    ark.write_bytes(contents)
    os.utime(ark, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_kept_arks_are_known_by_their_contents(tmp_path, data, capsys):
    dump, ark = tmp_path / "dump", tmp_path / "kaldi" / "fbank" / "raw.1.ark"
    kept_features.take(data, dump, SETTINGS)
    before, whole = identity.contents(dump), ark.read_bytes()
    os.utime(ark)
    assert identity.contents(dump) == before, "another time alone is no other content"
    flip(ark)
    os.utime(ark)
    with pytest.raises(ValueError, match=r"raw\.1\.ark has other contents than were written. Restore what others made"):
        identity.contents(dump)
    with pytest.raises(artifacts.StaleArtifact, match=r"the first is .*/raw\.1\.ark"):
        kept_features.take(data, dump, SETTINGS)
    assert logs.run_command(verify.main, [str(dump)]) == 1
    assert capsys.readouterr().out.startswith(f"{ark} has other contents than were written: restore it, or take it as")
    kept_features.take(data, dump, SETTINGS, force=True)
    assert identity.contents(dump) != before
    ark.write_bytes(whole)
    kept_features.take(data, dump, SETTINGS, force=True)
    assert identity.contents(dump) == before


def test_verify_sees_a_bit_of_a_kept_ark_whose_time_is_kept(tmp_path, data, capsys):
    kept_features.take(data, tmp_path / "dump", SETTINGS)
    flip(tmp_path / "kaldi" / "fbank" / "raw.0.ark")
    assert logs.run_command(verify.main, [str(tmp_path / "dump")]) == 1
    assert "raw.0.ark has other contents than were written" in capsys.readouterr().out


def test_the_contents_of_kept_arks_are_the_same_wherever_they_lie(tmp_path):
    found = set()
    for name in ("one", "other"):
        data = adopt(tmp_path, lay_out(tmp_path / name, frames_of()), name=f"data_{name}")
        kept_features.take(data, tmp_path / f"dump_{name}", SETTINGS)
        found.add(identity.contents(tmp_path / f"dump_{name}"))
    assert len(found) == 1


def test_damaged_arks_stop_before_anything_is_written(tmp_path, data):
    ark = tmp_path / "kaldi" / "fbank" / "raw.1.ark"
    os.truncate(ark, ark.stat().st_size - 4)
    with pytest.raises(ValueError, match=r"raw\.1\.ark.*cut short"):
        kept_features.take(data, tmp_path / "dump", SETTINGS)
    assert not (tmp_path / "dump").exists()


@pytest.mark.parametrize(("prefix", "suffix"), [("cn-", ""), ("", "-b"), ("ann-", "@A-1"), ("1", "1")])
def test_a_renamed_directory_keeps_its_arks_with_the_old_keys(tmp_path, data, prefix, suffix):
    renamed, out = tmp_path / "renamed", tmp_path / "dump"
    options = [f"--utt-prefix={prefix}", f"--spk-prefix={prefix}", f"--utt-suffix={suffix}"]
    assert logs.run_command(copy_data_dir.main, [str(data), str(renamed), *options]) == 0
    (renamed / "utt2num_frames").unlink()
    kept_features.take(adopt(tmp_path, renamed, name="again"), out, SETTINGS)
    archive, expected = FeatureArchive(out), frames_of()
    assert archive.keys.tolist() == [f"{prefix}{key}{suffix}".encode() for key in KEYS]
    for row, key in enumerate(KEYS):
        np.testing.assert_array_equal(archive.read(row, 0, 20 + row), expected[key])


def test_renamed_keys_are_renamed_alike_in_all_of_an_ark(tmp_path):
    source = lay_out(tmp_path / "kaldi", frames_of())
    lines = (source / "feats.scp").read_text().split("\n")
    places = [line.split(" ")[1] for line in lines[:2]]
    (source / "feats.scp").write_text(f"x-ann-1 {places[0]}\ny-ann-2 {places[1]}\n")
    for name in ("utt2spk", "spk2utt"):
        (source / name).unlink()
    message = r"raw\.0\.ark: expected the key y-ann-2 before offset \d+, found .*made elsewhere: take feats\.scp"
    with pytest.raises(ValueError, match=message):
        adopt(tmp_path, source)


def test_arks_of_other_utterances_are_noticed_with_a_remedy_that_fits(tmp_path, data):
    fbank = tmp_path / "kaldi" / "fbank"
    os.replace(fbank / "raw.1.ark", fbank / "raw.0.ark")
    with pytest.raises(ValueError, match=r"expected the key ann-1 before .*'bob-1 '.*made elsewhere: take feats\.scp"):
        FeatureArchive(data)


def test_values_that_are_not_finite_are_named(tmp_path):
    entries = frames_of()
    entries["bob-1"][4, 7] = -np.inf
    data = adopt(tmp_path, lay_out(tmp_path / "kaldi", entries))
    with pytest.raises(ValueError, match=r"raw\.1\.ark:\d+: bob-1 has values that are not finite"):
        kept_features.take(data, tmp_path / "dump", SETTINGS)


def test_another_number_of_frames_per_second_is_a_warning(tmp_path, caplog):
    source = lay_out(tmp_path / "kaldi", frames_of(), utt2dur="ann-1 0.4\nann-2 0.42\nbob-1 0.44\n")
    kept_features.take(adopt(tmp_path, source), tmp_path / "dump", SETTINGS)
    assert "50.0 frames per second of utt2dur, where frontend.shift_seconds gives 100.0" in caplog.text
    caplog.clear()
    kept_features.take(tmp_path / "out", tmp_path / "dump", {**SETTINGS, "shift_seconds": 0.02}, force=True)
    assert "frames per second" not in caplog.text


def test_a_directory_of_audio_has_nothing_to_keep(tmp_path, corpus):
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "data")
    with pytest.raises(ValueError, match=r"expected feats\.scp without wav\.scp, found audio"):
        kept_features.take(tmp_path / "data", tmp_path / "dump", SETTINGS)


def test_a_system_reads_frames_of_one_maker(tmp_path, data):
    kept, computed, unknown = (tmp_path / name for name in ("kept", "computed", "unknown"))
    for folder in (kept, computed, unknown):
        kept_features.take(data, folder, SETTINGS)
    made = {f"frontend.{name}": value for name, value in SETTINGS.items()}
    records.write(computed, Made({"feats_type": "fbank", "compress": "none", **made}, {}))
    (unknown / "made.json").unlink()
    for_kept = LogMelConfig(feats_type="fbank", frames="kept")
    for_computed = LogMelConfig(feats_type="fbank")
    for config, folder in ((for_kept, kept), (for_kept, unknown), (for_computed, computed), (for_computed, unknown)):
        assert len(training_data.open_checked(config, folder)) == 3
    with pytest.raises(
        ValueError, match=r"kept holds frames that were kept; the system reads .* computed.*--features compute"
    ):
        training_data.open_checked(for_computed, kept)
    with pytest.raises(ValueError, match=r"computed holds frames that were computed; .* kept .*--features keep"):
        training_data.open_checked(for_kept, computed)
    with pytest.raises(ValueError, match=r"frontend\.frames kept needs frontend\.feats_type fbank"):
        LogMelConfig(frames="kept")
