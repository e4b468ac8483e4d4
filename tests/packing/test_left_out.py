"""What stages 1 and 3 leave out is named before training, and trials of it are counted: too short, damaged, empty."""

from pathlib import Path

import numpy as np
import pytest

from sslsv_tk import logs
from sslsv_tk.bin import finish_packing, pack_audio, prepare_trials
from sslsv_tk.corpora import left_out
from sslsv_tk.corpora.noises import prepare_responses
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.kaldi import trials
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.packing import parts
from sslsv_tk.packing.feature_folder import FeatureFolder, FeatureSource
from sslsv_tk.report import evaluation, results

SPEAKERS, RECORDINGS = 4, 3


@pytest.fixture
def corpus(tmp_path, write_audio) -> Path:
    """Twelve test utterances and a list of 32 trials, each utterance in some."""
    for speaker in range(SPEAKERS):
        for recording in range(RECORDINGS):
            write_audio(tmp_path / "corpus" / f"t{speaker}" / f"r{recording}" / "0.wav", 3000)
    rows = [
        f"{int(a == b)} t{a}/r0/0.wav t{b}/r{c}/0.wav\n"
        for a in range(SPEAKERS)
        for b in range(SPEAKERS)
        for c in range(1, RECORDINGS)
    ]
    (tmp_path / "list").write_text("".join(rows))
    return tmp_path / "corpus"


def run(command, *words: object) -> int:
    return logs.run_command(command.main, [str(word) for word in words])


def stage_1(folder: Path, tolerance: float = 0.0) -> int:
    only = [str(folder / "list")]
    prepare(Corpus([str(folder / "corpus")], "folder", only=only, tolerance=tolerance), folder / "data")
    return run(
        prepare_trials, "--source", folder / "list", "--data", folder / "data", "--out", folder / "data" / "trials_x"
    )


def stage_3(folder: Path, tolerance: float = 0.0, *options: str) -> int:
    words = ["--data", folder / "data", "--out", folder / "raw", "--num-jobs", 2]
    jobs = [run(pack_audio, *words, "--job", job, "--tolerance", tolerance, *options) for job in (1, 2)]
    return max(jobs) or run(finish_packing, *words)


def list_row(folder: Path) -> str:
    """What a row of results says of the list."""
    listed = evaluation.read_list(folder / "raw", folder / "data" / "trials_x").trials
    row = {"trials": "x", "number_of_trials": len(listed), "number_left_out": listed.left_out}
    return results._list_facts(row)


def test_a_file_that_stage_1_left_out_is_named_and_its_trials_are_counted(tmp_path, corpus, caplog):
    (corpus / "t0" / "r0" / "0.wav").write_bytes(b"")
    assert stage_1(tmp_path, tolerance=0.2) == 0
    assert "t0/r0/0.wav: an empty file" in caplog.text
    assert "trials_x: 8 of 32 trials name utterances that were left out" in caplog.text
    assert stage_3(tmp_path, tolerance=0.2) == 0
    assert list_row(tmp_path) == "24, 8 left out"


def test_a_file_that_stage_3_left_out_is_named_there_and_its_trials_are_counted(tmp_path, corpus, write_audio, caplog):
    (corpus / "t1" / "r2" / "0.wav").unlink()
    write_audio(corpus / "t1" / "r2" / "0.flac", 30000)
    contents = (corpus / "t1" / "r2" / "0.flac").read_bytes()
    (corpus / "t1" / "r2" / "0.flac").write_bytes(contents[: len(contents) // 2])
    (tmp_path / "list").write_text((tmp_path / "list").read_text().replace("t1/r2/0.wav", "t1/r2/0.flac"))
    (corpus / "t2" / "r1" / "0.wav").write_bytes(b"")
    assert stage_1(tmp_path, tolerance=0.2) == 0
    assert stage_3(tmp_path) == 1 and "t1/r2/0.flac: " in caplog.text
    caplog.clear()
    assert stage_3(tmp_path, tolerance=0.2) == 0
    assert "trials_x: 8 of 32 trials name utterances left out and will not count" in caplog.text
    assert sorted(trials.left_out(tmp_path / "raw").tolist()) == [b"t1-r2-0", b"t2-r1-0"]
    assert list_row(tmp_path) == "24, 8 left out"


def test_a_list_of_which_one_kind_is_left_out_stops_stage_3(tmp_path, corpus, caplog):
    (tmp_path / "list").write_text("1 t0/r0/0.wav t0/r1/0.wav\n0 t1/r0/0.wav t2/r1/0.wav\n")
    assert stage_1(tmp_path) == 0
    (corpus / "t0" / "r0" / "0.wav").write_bytes(b"")
    assert stage_3(tmp_path, tolerance=0.5) == 1
    assert "all 1 trials are nontarget ones (1 others name utterances that were left out)" in caplog.text
    assert not (tmp_path / "raw" / "made.json").exists()


@pytest.mark.parametrize("copy", ["true", "false"])
@pytest.mark.parametrize("samples", [1, 10, 256])
def test_utterances_too_short_for_the_front_end_are_named_in_stage_3(tmp_path, write_audio, caplog, samples, copy):
    write_audio(tmp_path / "corpus" / "a" / "r" / "short.wav", samples)
    write_audio(tmp_path / "corpus" / "a" / "r" / "enough.wav", 257)
    prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "data")
    words = ["--data", tmp_path / "data", "--out", tmp_path / "raw", "--num-jobs", 1, "--job", 1, "--copy", copy]
    assert run(pack_audio, *words) == 1
    assert f"too short: a-r-short has {samples} samples at 16 kHz, and the front end needs 257 (16 ms)" in caplog.text
    assert run(pack_audio, *words, "--tolerance", 0.5) == 0
    assert (tmp_path / "raw" / "split" / "utt2samples.1").read_text() == "a-r-enough 257\n"


def test_the_shortest_utterance_is_that_of_the_front_end():
    assert LogMelConfig().transform_points // 2 + 1 == parts.LEAST_SAMPLES


def test_noises_and_responses_may_be_shorter(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "rirs" / "a.wav", 20)
    prepare_responses(str(tmp_path / "rirs"), tmp_path / "data")
    assert stage_3_of_one(tmp_path) == 0
    found = DataDirectory.load(tmp_path / "raw")
    assert found.durations is not None and np.rint(found.durations * 16000).tolist() == [len(waveform)]


def stage_3_of_one(folder: Path) -> int:
    words = ["--data", folder / "data", "--out", folder / "raw", "--num-jobs", 1]
    return run(pack_audio, *words, "--job", 1) or run(finish_packing, *words)


def test_a_recording_among_responses_is_left_out_like_a_damaged_file(tmp_path, write_audio, caplog):
    write_audio(tmp_path / "rirs" / "a.wav", 800)
    write_audio(tmp_path / "rirs" / "b.wav", 60 * 16000)
    prepare_responses(str(tmp_path / "rirs"), tmp_path / "data")
    assert stage_3_of_one(tmp_path) == 1
    assert "b.wav: 60.0 s until it has decayed by 60 dB" in caplog.text


def test_features_lack_what_their_audio_lacks_and_trial_lists_may_name_it(tmp_path, corpus):
    (corpus / "t0" / "r0" / "0.wav").write_bytes(b"")
    assert stage_1(tmp_path, tolerance=0.2) == 0 and stage_3(tmp_path, tolerance=0.2) == 0
    folder = FeatureFolder(tmp_path / "fbank", FeatureSource(tmp_path / "raw", None, tmp_path), 1, {})
    folder.write_part(1, lambda: lambda start: iter(np.ones((11, 5, 4), np.float32)), "none")
    folder.join()
    listed = evaluation.read_list(tmp_path / "fbank", tmp_path / "data" / "trials_x").trials
    assert (len(listed), listed.left_out) == (24, 8)
    assert folder.is_complete()


def test_a_file_that_was_repaired_is_taken_in_by_stage_1_without_force(tmp_path, corpus, caplog):
    path = corpus / "t1/r1/0.wav"
    whole = path.read_bytes()
    path.write_bytes(b"JUNK" + whole[4:])
    assert stage_1(tmp_path, tolerance=0.2) == 0
    assert "t1-r1-0" not in (tmp_path / "data/utt2spk").read_text()
    prepare(Corpus([str(corpus)], "folder", only=[str(tmp_path / "list")], tolerance=0.2), tmp_path / "data")
    assert "has other contents now" not in caplog.text, "nothing was repaired yet"
    path.write_bytes(whole)
    assert stage_1(tmp_path, tolerance=0.2) == 0
    assert f"{path}, which was left out, has other contents now: {tmp_path}/data is made anew" in caplog.text
    assert "t1-r1-0" in (tmp_path / "data/utt2spk").read_text()
    assert not (tmp_path / "data/rejected").exists() and not (tmp_path / "data/.rejected.files").exists()


@pytest.mark.parametrize("copy", ["true", "false"])
def test_a_file_that_was_repaired_is_packed_by_its_part_alone_without_force(tmp_path, corpus, caplog, copy):
    assert stage_1(tmp_path) == 0
    path = corpus / "t1/r1/0.wav"  # of the first part
    whole, options = path.read_bytes(), ("--copy", copy)
    path.write_bytes(whole[:-1000])
    assert stage_3(tmp_path, 0.2, *options) == 0
    assert len(DataDirectory.load(tmp_path / "raw").keys) == 11
    times = [(tmp_path / f"raw/split/part.{job}.json").stat().st_mtime_ns for job in (1, 2)]
    assert stage_3(tmp_path, 0.2, *options) == 0
    assert times == [(tmp_path / f"raw/split/part.{job}.json").stat().st_mtime_ns for job in (1, 2)]
    path.write_bytes(whole)
    assert run(finish_packing, "--data", tmp_path / "data", "--out", tmp_path / "raw", "--num-jobs", 2) == 1
    assert f"{path}, which was left out, has other contents now. Run pack_audio" in caplog.text
    assert stage_3(tmp_path, 0.2, *options) == 0
    again = [(tmp_path / f"raw/split/part.{job}.json").stat().st_mtime_ns for job in (1, 2)]
    assert again[0] > times[0] and again[1] == times[1]
    assert len(DataDirectory.load(tmp_path / "raw").keys) == 12 and not (tmp_path / "raw/rejected").exists()


def test_a_file_that_was_missing_is_noticed_when_it_comes_and_one_that_goes_is_not(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 300)
    left_out.note(tmp_path / "rejected", [str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), "cat x |"])
    assert left_out.changed(tmp_path / "rejected") == []
    write_audio(tmp_path / "b.wav", 300)
    assert left_out.changed(tmp_path / "rejected") == [str(tmp_path / "b.wav")]
    (tmp_path / "a.wav").unlink()
    assert left_out.changed(tmp_path / "rejected") == [str(tmp_path / "b.wav")]
    left_out.note(tmp_path / "rejected", [])
    assert left_out.changed(tmp_path / "rejected") == [] and not (tmp_path / ".rejected.files").exists()
