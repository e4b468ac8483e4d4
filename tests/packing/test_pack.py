"""Stage 3 against kaldiio and the source files, and against kills, damage and change."""

import json
import logging
import os
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from sslsv_tk import artifacts
from sslsv_tk.arks import identity
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.corpora import noises
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.kaldi.directories import DataDirectory, validate
from sslsv_tk.kaldi.tables import as_words
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.parts import Part, Wanted


def pack_corpus(data: Path, out: Path, num_jobs: int = 3, **options) -> None:
    for job in range(1, num_jobs + 1):
        pack.pack_part(data, Part(out, job, num_jobs), **options)
    join.finish(data, out, num_jobs)


@pytest.fixture
def data(tmp_path, corpus, monkeypatch) -> Path:
    """The data directory of eight utterances; the current folder is one of its own, as for a recipe."""
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "data")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "data"


@pytest.mark.parametrize("num_jobs", [1, 3, 8, 11])
def test_kaldiio_reads_every_source_bit_for_bit_whatever_the_number_of_jobs(data, num_jobs):
    pack_corpus(data, Path("dump/raw"), num_jobs)
    found = kaldiio.load_scp("dump/raw/wav.scp")
    wanted = DataDirectory.load(data)
    assert list(found) == [key.decode() for key in wanted.keys]
    archive = AudioArchive("dump/raw")
    for row, (key, source) in enumerate(zip(wanted.keys, wanted.values, strict=True)):
        waveform, _ = soundfile.read(source.decode(), dtype="int16")
        rate, array = found[key.decode()]
        assert rate == 16000
        np.testing.assert_array_equal(array, waveform)
        np.testing.assert_array_equal(archive.read(row, 0, len(waveform)), waveform)
    validate("dump/raw")
    for name in ("utt2spk", "spk2utt", "utt2rec", "utt2dur"):
        assert Path("dump/raw", name).read_text() == (data / name).read_text()
    assert Path("dump/raw/wav.scp").read_text().startswith("anna-r1-u1 dump/raw/split/wav.")


def test_cuts_become_entries_and_keep_their_category(tmp_path, write_audio):
    waveforms = {
        category: write_audio(tmp_path / "musan" / category / "x.wav", 50_000) for category in noises.CATEGORIES
    }
    noises.prepare_noises(str(tmp_path / "musan"), tmp_path / "data", cut_seconds=1.0)
    pack_corpus(tmp_path / "data" / "musan_music", tmp_path / "out")
    archive = AudioArchive(tmp_path / "out")
    assert archive.samples.tolist() == [16000, 16000, 18000]
    np.testing.assert_array_equal(archive.read(2, 0, 18000), waveforms["music"][32000:])
    assert (tmp_path / "out" / "utt2category").read_text().split()[1::2] == ["music"] * 3
    assert not (tmp_path / "out" / "segments").exists()


def test_of_responses_the_first_channel_is_packed(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "rirs" / "a.wav", 700, channels=4)
    write_audio(tmp_path / "rirs" / "b.wav", 800)
    noises.prepare_responses(str(tmp_path / "rirs"), tmp_path / "data")
    pack_corpus(tmp_path / "data", tmp_path / "out")
    np.testing.assert_array_equal(AudioArchive(tmp_path / "out").read(0, 0, 700), waveform[:, 0])


def test_other_rates_and_channels_become_16_khz_mono_and_are_said_once(tmp_path, data, write_audio, caplog):
    write_audio(tmp_path / "corpus" / "anna" / "r1" / "u1.wav", 800, rate=8000)
    write_audio(tmp_path / "corpus" / "anna" / "r1" / "u2.wav", 4410, rate=44100)
    stereo = write_audio(tmp_path / "corpus" / "bert" / "r1" / "u1.wav", 500, channels=2)
    with caplog.at_level(logging.INFO):
        pack_corpus(data, Path("out"))
    archive = AudioArchive("out")
    assert archive.samples[:2].tolist() == [1600, 1600]
    np.testing.assert_array_equal(archive.read(4, 0, 500), np.rint(stereo.mean(axis=1)))
    assert caplog.text.count("resampled to 16000 Hz: 1 from 8000 Hz, 1 from 44100 Hz; of 8 utterances") == 1
    assert caplog.text.count("mixed down to one channel: 1 with 2 channels; of 8 utterances") == 1
    assert Path("out/utt2dur").read_text().startswith("anna-r1-u1 0.100000\nanna-r1-u2 0.100000\n")


def test_damaged_audio_is_named_listed_and_leaves_no_ark(tmp_path, data, caplog):
    corpus = tmp_path / "corpus"
    soundfile.write(corpus / "anna" / "r1" / "u2.wav", np.array([0.0, np.nan]), 16000, subtype="FLOAT")
    whole = (corpus / "anna" / "r2" / "u1.wav").read_bytes()
    (corpus / "anna" / "r2" / "u1.wav").write_bytes(whole[:-40])
    (corpus / "bert" / "r2" / "u2.wav").unlink()
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="3 of 8 audio files cannot be used"):
        pack.pack_part(data, Part(Path("out"), 1, 1), tolerance=0.3)
    for reason in ("u2.wav: NaN or infinite", "u1.wav: cut short: 40 bytes", "u2.wav: No such file"):
        assert reason in caplog.text
    assert sorted(os.listdir("out/split")) == [".rejected.1.files", "rejected.1"]
    with pytest.raises(ValueError, match="part 1 of 1 has not been made"):
        join.finish(data, Path("out"), 1)
    pack_corpus(data, Path("out"), 1, tolerance=0.4)
    assert len(validate("out").keys) == 5
    assert list(kaldiio.load_scp("out/wav.scp")) == [
        f"{key}" for key in ("anna-r1-u1", "anna-r2-u2", "bert-r1-u1", "bert-r1-u2", "bert-r2-u1")
    ]
    assert [line.split()[0] for line in Path("out/rejected").read_text().splitlines()] == [
        "anna-r1-u2",
        "anna-r2-u1",
        "bert-r2-u2",
    ]
    assert "bert bert-r1-u1 bert-r1-u2 bert-r2-u1\n" in Path("out/spk2utt").read_text()


def test_a_part_made_with_tolerance_is_not_taken_without(tmp_path, data):
    (tmp_path / "corpus" / "anna" / "r1" / "u1.wav").write_bytes(b"")
    pack.pack_part(data, Part(Path("out"), 1, 1), tolerance=0.5)
    with pytest.raises(ValueError, match="1 of 8 audio files"):
        pack.pack_part(data, Part(Path("out"), 1, 1))


def test_repaired_audio_leaves_no_list_of_the_rejected(tmp_path, data, write_audio):
    path = tmp_path / "corpus" / "anna" / "r1" / "u1.wav"
    whole = path.read_bytes()
    path.write_bytes(b"")
    pack_corpus(data, Path("out"), 2, tolerance=0.5)
    path.write_bytes(whole)
    for job in (1, 2):
        pack.pack_part(data, Part(Path("out"), job, 2), force=True)
    join.finish(data, Path("out"), 2, force=True)
    assert len(AudioArchive("out")) == 8 and not list(Path("out").rglob("rejected*"))


def test_features_without_audio_cannot_be_packed(tmp_path):
    DataDirectory(as_words(["a"]), as_words(["x.ark:2"]), table="feats.scp").write(tmp_path / "data")
    with pytest.raises(ValueError, match=r"features without audio \(no wav\.scp\): there is nothing to pack"):
        pack.pack_part(tmp_path / "data", Part(tmp_path / "out", 1, 1))


def test_a_command_in_wav_scp_is_never_run(tmp_path):
    DataDirectory(as_words(["a"]), as_words([f"touch {tmp_path}/ran |"])).write(tmp_path / "data")
    with pytest.raises(ValueError, match=r"a: 'touch .* in wav\.scp is a command"):
        pack.pack_part(tmp_path / "data", Part(tmp_path / "out", 1, 1))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("job", "num_jobs"), [(0, 2), (3, 2), (-1, 1), (1, 0)])
def test_a_job_outside_the_array_is_refused(job, num_jobs):
    with pytest.raises(
        ValueError, match=f"--job {job} of --num-jobs {num_jobs}: expected" if num_jobs else "--num-jobs 0"
    ):
        Part(Path("out"), job, num_jobs)


def test_shares_cover_every_utterance_once():
    for utterances in (0, 1, 7, 100):
        for num_jobs in (1, 3, 9):
            rows = [
                row
                for job in range(1, num_jobs + 1)
                for row in range(utterances)[Part(Path(), job, num_jobs).share(utterances)]
            ]
            assert rows == list(range(utterances))


def test_a_second_run_does_nothing_also_with_another_number_of_jobs(data, contents, caplog):
    pack_corpus(data, Path("out"), 3)
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*") if path.suffix != ".stamps"}
    with caplog.at_level(logging.INFO):
        pack_corpus(data, Path("out"), 3)
        pack_corpus(data, Path("out"), 2)
    assert caplog.text.count("out is complete; nothing to do") == 7
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_only_missing_and_broken_parts_are_made_again(data, contents):
    pack_corpus(data, Path("out"), 3)
    whole = contents(Path("out"))
    for damage in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])):
        damage(Path("out/split/wav.2.ark"))
        kept = Path("out/split/wav.1.ark").stat().st_mtime_ns
        pack_corpus(data, Path("out"), 3)
        assert contents(Path("out")) == whole
        assert Path("out/split/wav.1.ark").stat().st_mtime_ns == kept


def test_a_broken_folder_is_made_again_by_another_number_of_jobs(data):
    pack_corpus(data, Path("out"), 3)
    Path("out/split/wav.2.ark").unlink()
    pack.pack_part(data, Part(Path("out"), 1, 2))
    with pytest.raises(
        ValueError, match=r"part 2 of 2 .*num_jobs: was 3, now 2.*Run pack_audio .*--num-jobs 2 --job 2"
    ):
        join.finish(data, Path("out"), 2)
    pack_corpus(data, Path("out"), 2)
    assert len(kaldiio.load_scp("out/wav.scp")) == 8
    assert sorted(path.name for path in Path("out/split").glob("wav.*.ark")) == ["wav.1.ark", "wav.2.ark"]


def test_parts_of_two_arrays_are_not_mixed(data):
    pack.pack_part(data, Part(Path("out"), 1, 2))
    pack.pack_part(data, Part(Path("out"), 2, 3))
    pack.pack_part(data, Part(Path("out"), 3, 3))
    with pytest.raises(
        ValueError, match=r"part 1 of 3 was made otherwise \(option num_jobs: was 2, now 3; input utterances"
    ):
        join.finish(data, Path("out"), 3)


def test_changed_inputs_are_stale_until_forced(tmp_path, data, corpus, write_audio):
    pack_corpus(data, Path("out"), 2)
    waveform = write_audio(corpus / "carl" / "r1" / "u1.wav", 4000)
    prepare(Corpus([str(corpus)], "folder"), data, force=True)
    for step in (
        lambda: pack.pack_part(data, Part(Path("out"), 1, 2)),
        lambda: join.finish(data, Path("out"), 2),
    ):
        with pytest.raises(
            artifacts.StaleArtifact, match=r"out was made otherwise .*input utterances: was .*--force true"
        ):
            step()
    for job in (1, 2):
        pack.pack_part(data, Part(Path("out"), job, 2), force=True)
    join.finish(data, Path("out"), 2)
    assert len(AudioArchive("out")) == 9
    np.testing.assert_array_equal(AudioArchive("out").read(8, 0, 4000), waveform)


@pytest.mark.parametrize("copy", [True, False])
def test_audio_of_the_same_length_in_the_place_of_other_is_refused(data, corpus, copy):
    wanted = Wanted(copy=copy)
    for job in (1, 2):
        pack.pack_part(data, Part(Path("out"), job, 2), wanted)
    join.finish(data, Path("out"), 2)
    path = corpus / "anna" / "r1" / "u1.wav"
    whole, times = path.read_bytes(), path.stat()
    os.utime(path, (1, 1))
    join.finish(data, Path("out"), 2)  # touched alone: hashed, and the same
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(artifacts.StaleArtifact, match=r"1 files have other contents than were .*anna/r1/u1.wav"):
        join.finish(data, Path("out"), 2)
    if not copy:
        with pytest.raises(ValueError, match=r"anna/r1/u1.wav has changed since out was made of it"):
            identity.contents("out")
    path.write_bytes(whole)
    join.finish(data, Path("out"), 2)
    path.unlink()
    if copy:  # a corpus that is gone is no fault where it was copied
        join.finish(data, Path("out"), 2)


def test_audio_in_place_and_packed_audio_are_the_same_input(data):
    for copy in (True, False):
        pack.pack_part(data, Part(Path(f"out{copy}"), 1, 1), Wanted(copy=copy))
        join.finish(data, Path(f"out{copy}"), 1)
    assert identity.contents("outTrue") == identity.contents("outFalse")


@pytest.mark.parametrize("copy", [True, False])
def test_a_corpus_that_was_moved_is_the_same(tmp_path, data, corpus, copy):
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "moving")
    pack.pack_part(tmp_path / "moving", Part(Path("out"), 1, 1), Wanted(copy=copy))
    join.finish(tmp_path / "moving", Path("out"), 1)
    before = identity.contents("out")
    corpus.rename(corpus.with_name("elsewhere"))
    prepare(Corpus([str(corpus.with_name("elsewhere"))], "folder"), tmp_path / "moving")
    assert "elsewhere" in (tmp_path / "moving/wav.scp").read_text()
    pack.pack_part(tmp_path / "moving", Part(Path("out"), 1, 1), Wanted(copy=copy))
    join.finish(tmp_path / "moving", Path("out"), 1)
    assert identity.contents("out") == before and len(AudioArchive("out").read(0, 0, 100)) == 100


def test_a_flipped_label_of_the_data_directory_is_not_packed(tmp_path, data, corpus):
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "made")
    table = tmp_path / "made" / "utt2spk"
    table.write_text(table.read_text().replace(" anna", " an2a", 1))
    with pytest.raises(ValueError, match=r"made/utt2spk has other contents .* Run stages 1 and 2 again"):
        pack.pack_part(tmp_path / "made", Part(Path("out"), 1, 1))
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "made")
    pack.pack_part(tmp_path / "made", Part(Path("out"), 1, 1))


def test_tables_that_were_changed_by_hand_are_refused_and_made_anew(data):
    for job in (1, 2):
        pack.pack_part(data, Part(Path("out"), job, 2))
    lengths = Path("out/split/utt2samples.2")
    whole = lengths.read_text()
    lengths.write_text(whole.replace("1700", "1699"))
    with pytest.raises(ValueError, match=r"part 2 of 2 is damaged .*utt2samples\.2 has other contents.*--job 2\."):
        join.finish(data, Path("out"), 2)
    assert not Path("out/wav.scp").exists()
    pack.pack_part(data, Part(Path("out"), 2, 2))
    assert lengths.read_text() == whole
    join.finish(data, Path("out"), 2)


def test_strays_of_killed_runs_are_removed_and_other_files_left(data):
    pack.pack_part(data, Part(Path("out"), 1, 1))
    for name in ("out/.wav.scp.99.tmp", "out/split/.wav.7.ark.99.tmp", "out/split/wav.7.ark", "out/split/part.7.json"):
        Path(name).write_text("x")
    Path("out/split/notes").write_text("x")
    join.finish(data, Path("out"), 1)
    assert not list(Path("out").rglob("*.tmp"))
    left = sorted(name for name in os.listdir("out/split") if not name.startswith("."))
    assert left == ["notes", "part.1.json", "sources.1", "utt2samples.1", "wav.1.ark", "wav.1.ark.sums", "wav.1.scp"]


def test_a_record_that_is_no_record_is_a_missing_part(data):
    pack.pack_part(data, Part(Path("out"), 1, 1))
    whole = Path("out/split/part.1.json").read_text()
    record = json.loads(whole)
    for nonsense in ("", "[1]", json.dumps({"num_jobs": 1}), json.dumps({**record, "facts": {}}), whole[:-5]):
        Path("out/split/part.1.json").write_text(nonsense)
        with pytest.raises(ValueError, match="part 1 of 1 has not been made"):
            join.finish(data, Path("out"), 1)
        pack.pack_part(data, Part(Path("out"), 1, 1))
        assert Path("out/split/part.1.json").read_text() == whole


def test_killed_while_decoding_or_at_any_rename_the_next_run_makes_the_same(
    data, contents, kill_at_rename, monkeypatch
):
    def run() -> None:
        pack_corpus(data, Path("out"), 2)

    run()
    whole, number, home = contents(Path("out")), 1, Path.cwd()
    while True:
        (home / str(number)).mkdir()
        monkeypatch.chdir(home / str(number))
        if not kill_at_rename(run, number):
            break
        found = contents(Path("out"))
        final = {name: found[name] for name in found if not name.endswith(".tmp")}
        assert "made.json" not in final
        assert all(final[name] == whole[name] for name in final)
        run()
        assert contents(Path("out")) == whole
        number += 1
    assert number - 1 == len(whole)


def test_an_empty_share_is_no_fault_but_no_audio_at_all_is(data, tmp_path, caplog):
    DataDirectory(as_words(["a"]), as_words([str(tmp_path / "corpus" / "anna" / "r1" / "u1.wav")])).write(
        tmp_path / "one"
    )
    with caplog.at_level(logging.WARNING):
        pack_corpus(tmp_path / "one", Path("out"), 3)
    assert "is empty: fewer utterances than jobs" in caplog.text
    assert len(AudioArchive("out")) == 1
    with pytest.raises(ValueError, match="--num-jobs 0: expected at least 1"):
        join.finish(tmp_path / "one", Path("other"), 0)
