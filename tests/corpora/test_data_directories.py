"""Data directories as Kaldi, ESPnet and WeSpeaker leave them, through prepare."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sslsv_tk import artifacts, records
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.kaldi.directories import validate
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.parts import Part, Wanted


@pytest.fixture
def kaldi(tmp_path, write_audio) -> Path:
    """A recipe folder with audio below download/ and data/train of three utterances with relative paths."""
    top = tmp_path / "recipe"
    for number in range(3):
        write_audio(top / "download" / f"{number}.wav", 1600 * (number + 1))
    lay_out(
        top / "data" / "train",
        wav_scp="".join(f"spk{n // 2}-u{n} download/{n}.wav\n" for n in range(3)),
        utt2spk="spk0-u0 spk0\nspk0-u1 spk0\nspk1-u2 spk1\n",
        spk2utt="spk0 spk0-u0 spk0-u1\nspk1 spk1-u2\n",
        text="spk0-u0 hello\n",
        feats_scp="spk0-u0 raw.ark:9\n",
    )
    return top


def lay_out(folder: Path, **tables: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in tables.items():
        (folder / name.replace("_scp", ".scp")).write_text(contents)
    return folder


def table(folder: Path, name: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in (folder / name).read_text().splitlines())


def adopt(tmp_path: Path, source: Path, **options) -> Path:
    prepare(Corpus([str(source)], **options), tmp_path / "out")
    return tmp_path / "out"


def test_tables_are_taken_with_absolute_paths_and_durations_of_headers(tmp_path, kaldi, caplog):
    caplog.set_level("INFO")
    before = {path.name: path.read_text() for path in (kaldi / "data/train").iterdir()}
    out = adopt(tmp_path, kaldi / "data" / "train")
    assert table(out, "wav.scp") == {f"spk{n // 2}-u{n}": f"{kaldi}/download/{n}.wav" for n in range(3)}
    assert table(out, "utt2dur") == {"spk0-u0": "0.100000", "spk0-u1": "0.200000", "spk1-u2": "0.300000"}
    assert table(out, "utt2spk")["spk1-u2"] == "spk1" and not (out / "utt2rec").exists()
    assert caplog.text.count("feats.scp is not used") == 1 and not (out / "feats.scp").exists()
    assert {path.name: path.read_text() for path in (kaldi / "data/train").iterdir()} == before
    record = records.read(out)
    assert record is not None and record.options["layout"] == "kaldi"


@pytest.mark.parametrize("where", [".", "data", "data/train"])
def test_relative_paths_may_start_at_the_directory_or_around_it(tmp_path, kaldi, write_audio, where):
    source = kaldi / "data" / "train"
    (kaldi / where / "audio").mkdir()
    write_audio(kaldi / where / "audio" / "x.wav")
    lay_out(source, wav_scp="spk0-u0 audio/x.wav\nspk0-u1 audio/x.wav\nspk1-u2 audio/x.wav\n")
    assert set(table(adopt(tmp_path, source), "wav.scp").values()) == {f"{(kaldi / where / 'audio/x.wav')}"}


def test_relative_paths_may_start_where_the_caller_stands(tmp_path, kaldi, monkeypatch):
    (kaldi / "data" / "train").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"the relative path download/0\.wav is no file below .*Run from the folder"):
        adopt(tmp_path, tmp_path / "moved")
    monkeypatch.chdir(kaldi)
    assert table(adopt(tmp_path, tmp_path / "moved"), "wav.scp")["spk0-u0"] == f"{kaldi}/download/0.wav"


def test_unknown_speakers_map_to_their_utterances(tmp_path, kaldi):
    for name in ("utt2spk", "spk2utt"):
        (kaldi / "data" / "train" / name).unlink()
    assert table(adopt(tmp_path, kaldi / "data" / "train", labels=None), "utt2spk")["spk1-u2"] == "spk1-u2"


def test_labels_false_hides_the_speakers_that_are_there(tmp_path, kaldi):
    out = adopt(tmp_path, kaldi / "data" / "train", labels=False)
    assert all(key == speaker for key, speaker in table(out, "utt2spk").items())


def test_speakers_need_not_be_prefixes(tmp_path, kaldi, caplog):
    source = kaldi / "data" / "train"
    lay_out(source, utt2spk="spk0-u0 zoe\nspk0-u1 amy\nspk1-u2 zoe\n", spk2utt="amy spk0-u1\nzoe spk0-u0 spk1-u2\n")
    caplog.set_level("INFO")
    out = adopt(tmp_path, source)
    assert "speakers are no prefix" in caplog.text and (out / "spk2utt").read_text().startswith("amy spk0-u1\nzoe ")
    adopt(tmp_path, source)
    assert "complete: 3 utterances; nothing to do" in caplog.text
    with pytest.raises(ValueError, match=r"no prefix of its utterance.*--no-spk-sort"):
        validate(out)


def test_segments_bring_durations_and_recordings(tmp_path, kaldi):
    source = lay_out(
        kaldi / "data" / "seg",
        wav_scp="call1 download/1.wav\ncall2 download/2.wav\n",
        segments="a-1 call1 0.00 0.05\na-2 call1 0.05 0.15\nb-1 call2 0 0.3\n",
    )
    out = adopt(tmp_path, source, labels=None)
    found = validate(out)
    assert table(out, "utt2dur") == {"a-1": "0.050000", "a-2": "0.100000", "b-1": "0.300000"}
    assert table(out, "utt2rec") == {"a-1": "call1", "a-2": "call1", "b-1": "call2"}
    assert found.cuts is not None and found.values.tolist()[2] == f"{kaldi}/download/2.wav".encode()


def test_a_segment_that_ends_at_minus_one_lasts_to_the_end_of_its_file(tmp_path, kaldi):
    source = lay_out(
        kaldi / "data" / "seg",
        wav_scp="call1 download/1.wav\ncall2 download/2.wav\n",
        segments="a-1 call1 0.00 0.05\na-2 call1 0.05 -1\nb-1 call2 0.25 -1.00\n",
    )
    out = adopt(tmp_path, source, labels=None)
    assert table(out, "utt2dur") == {"a-1": "0.050000", "a-2": "0.150000", "b-1": "0.050000"}
    assert table(out, "segments")["a-2"] == "call1 0.050000 -1"
    pack.pack_part(out, Part(tmp_path / "raw", 1, 1))
    join.finish(out, tmp_path / "raw", 1)
    archive = AudioArchive(tmp_path / "raw")
    whole = soundfile.read(kaldi / "download/1.wav", dtype="int16")[0]
    assert archive.samples.tolist() == [800, 2400, 800]
    np.testing.assert_array_equal(archive.read(1, 0, 2400), whole[800:])


def test_a_segment_that_begins_after_the_end_of_its_file_is_left_out_as_bad_files_are(tmp_path, kaldi):
    source = lay_out(
        kaldi / "data" / "seg",
        wav_scp="call1 download/1.wav\ngone /nowhere.wav\n",
        segments="a-1 call1 0.00 -1\na-2 call1 0.2 -1\na-3 gone 0 -1\n",
    )
    with pytest.raises(
        ValueError, match=r"2 of 3 .*1\.wav: a segment from 0\.2 s to its end is not in the file of 0\.2 s"
    ):
        adopt(tmp_path, source, labels=None)
    out = adopt(tmp_path, source, labels=None, tolerance=0.7)
    assert list(table(out, "utt2dur")) == ["a-1"] and "No such file" in table(out, "rejected")["a-3"]


def test_segments_of_pipes_to_the_end_have_no_duration_until_they_are_packed(tmp_path, kaldi):
    source = lay_out(
        kaldi / "data" / "seg",
        wav_scp=f"call1 cat {kaldi}/download/1.wav | \n",
        segments="a-1 call1 0.00 0.05\na-2 call1 0.05 -1\n",
    )
    out = adopt(tmp_path, source, labels=None)
    assert not (out / "utt2dur").exists()
    with pytest.raises(ValueError, match="is a command; only audio files are read"):
        pack.pack_part(out, Part(tmp_path / "raw", 1, 1))
    pack.pack_part(out, Part(tmp_path / "raw", 1, 1), Wanted(allow_pipes=True))
    join.finish(out, tmp_path / "raw", 1)
    assert AudioArchive(tmp_path / "raw").samples.tolist() == [800, 2400]


def test_vad_goes_along_with_absolute_paths(tmp_path, kaldi):
    source = kaldi / "data" / "train"
    (source / "vad.1.ark").write_bytes(b"x")
    lay_out(source, vad_scp="".join(f"spk{n // 2}-u{n} data/train/vad.1.ark:{7 + n}\n" for n in range(3)))
    found = validate(adopt(tmp_path, source))
    assert found.vad is not None and found.vad.tolist()[2] == f"{source}/vad.1.ark:9".encode()


def test_pipes_stay_what_they_are_and_leave_lengths_unknown(tmp_path, kaldi, caplog):
    source = kaldi / "data" / "train"
    pipe = "sph2pipe -f wav -p x.sph |"
    lay_out(source, wav_scp=f"spk0-u0 {pipe}\nspk0-u1 download/1.wav\nspk1-u2 {pipe}\n")
    caplog.set_level("INFO")
    out = adopt(tmp_path, source)
    assert table(out, "wav.scp") == {"spk0-u0": pipe, "spk0-u1": f"{kaldi}/download/1.wav", "spk1-u2": pipe}
    assert not (out / "utt2dur").exists() and "2 of 3 utterances are output of commands" in caplog.text


def test_only_a_list_s_utterances_by_the_ids_that_the_tables_have(tmp_path, kaldi, write_audio):
    source = kaldi / "data" / "train"
    for name in ("utt2spk", "spk2utt"):
        (source / name).unlink()
    keys = ("id1/v/00001.wav", "id1/w/00001.wav", "id2/v/00001.wav")
    lay_out(source, wav_scp="".join(f"{key} {kaldi}/download/0.wav\n" for key in keys))
    (tmp_path / "list").write_text(f"0 {keys[0]} {keys[2]}\n")
    out = adopt(tmp_path, source, labels=None, only=[str(tmp_path / "list")])
    assert list(table(out, "wav.scp")) == [keys[0], keys[2]]


def test_files_that_cannot_be_used_are_left_out_within_the_tolerance(tmp_path, kaldi):
    (kaldi / "download" / "1.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 3 audio files cannot be used"):
        adopt(tmp_path, kaldi / "data" / "train")
    out = adopt(tmp_path, kaldi / "data" / "train", tolerance=0.5)
    assert list(table(out, "utt2spk")) == ["spk0-u0", "spk1-u2"] and list(table(out, "rejected")) == ["spk0-u1"]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"wav_scp": "b x\na y\n"}, r"wav\.scp:2: a follows b: .*utils/fix_data_dir\.sh sorts it"),
        ({"utt2spk": "spk0-u0 spk0\n"}, r"utt2spk does not list the utterances of wav\.scp: lacks 2"),
        ({"wav_scp": "a x\na y\n"}, "the key a is there already"),
    ],
)
def test_faults_of_the_tables_are_named_with_the_remedy(tmp_path, kaldi, tables, message):
    lay_out(kaldi / "data" / "train", **tables)
    with pytest.raises(ValueError, match=message):
        adopt(tmp_path, kaldi / "data" / "train")
    assert not (tmp_path / "out").exists()


def test_several_directories_are_to_be_combined_first(tmp_path, kaldi):
    source = str(kaldi / "data" / "train")
    with pytest.raises(ValueError, match=r"utils/combine_data\.sh"):
        prepare(Corpus([source, source]), tmp_path / "out")
    with pytest.raises(ValueError, match=r"no wav\.scp, so not a data directory"):
        prepare(Corpus([str(kaldi)], "kaldi"), tmp_path / "out")


def test_a_directory_is_not_written_over_by_what_is_made_of_it(tmp_path, kaldi, monkeypatch):
    source = kaldi / "data" / "train"
    before = {path: path.read_bytes() for path in source.iterdir()}
    monkeypatch.chdir(kaldi)
    for name in (source, Path("data/../data/train")):
        with pytest.raises(ValueError, match=r"would be written over.*--datadir DIR"):
            prepare(Corpus(["data/train"]), name, force=True)
    assert {path: path.read_bytes() for path in source.iterdir()} == before


def test_a_table_that_changes_makes_the_directory_stale(tmp_path, kaldi):
    adopt(tmp_path, kaldi / "data" / "train")
    lay_out(kaldi / "data" / "train", utt2dur="spk0-u0 1\nspk0-u1 1\nspk1-u2 1\n")
    with pytest.raises(artifacts.StaleArtifact, match=r"input utt2dur: was absent"):
        adopt(tmp_path, kaldi / "data" / "train")
