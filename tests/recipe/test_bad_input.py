"""Bad input to the commands that run.sh calls: one clear line, the right exit status, nothing half made."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_corpus import pack_all, write_configuration

from sslsv_tk import logs, seeds
from sslsv_tk.bin import (
    average_checkpoints,
    extract_embeddings,
    finish_extraction,
    finish_packing,
    pack_audio,
    prepare_corpus,
    prepare_noises,
    prepare_responses,
    prepare_trials,
    score_trials,
    train,
    validate_data_dir,
    write_results,
)

Run = Callable[..., str]


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Run:
    """run(command, words ..., expect=status) calls a command as its file does; returns the one line of its error."""

    def call(command, *words: object, expect: int = 0) -> str:
        caplog.clear()
        status = logs.run_command(command.main, [str(word) for word in words])
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert status == expect, errors
        assert len(errors) == (expect == 1) and not any("\n" in error for error in errors)
        return errors[0] if errors else ""

    return call


def write_speech(path: Path, samples: int = 12_000, rate: int = 16_000, channels: int = 1, **settings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = seeds.generator(path.stem).uniform(-0.3, 0.3, (samples, channels))
    soundfile.write(path, waveform, rate, **settings)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two speakers, two recordings each, two utterances each; a fault goes to anna/r1/u1.wav."""
    for speaker in ("anna", "bert"):
        for recording in ("r1", "r2"):
            for utterance in ("u1", "u2"):
                write_speech(tmp_path / "corpus" / speaker / recording / f"{utterance}.wav")
    return tmp_path / "corpus"


def prepare(tmp_path: Path, corpus: Path, layout: str = "folder") -> tuple[object, ...]:
    return prepare_corpus, "--layout", layout, "--source", corpus, "--out", tmp_path / "data"


def packing(tmp_path: Path) -> tuple[object, ...]:
    return "--data", tmp_path / "data", "--out", tmp_path / "dump", "--num-jobs", 1


# -- stages 1 to 3: audio ----------------------------------------------------------------------------------------


def make_text(path: Path) -> None:
    path.write_text("this is no audio\n" * 100)


def make_nan(path: Path) -> None:
    soundfile.write(path, np.full(4000, np.nan), 16_000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (make_text, "1 of 8 audio files cannot be used (first: "),
        (lambda path: path.write_bytes(b""), "u1.wav: an empty file"),
        (lambda path: write_speech(path, 0), "u1.wav: no samples in it"),
        (lambda path: os.truncate(path, 9000), "u1.wav: cut short: 15044 bytes of the samples"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere.wav")), "u1.wav: "),
    ],
    ids=["unreadable", "zero bytes", "no samples", "truncated", "a link that points nowhere"],
)
def test_audio_that_stage_1_refuses(tmp_path, corpus, run, spoil, message):
    spoil(corpus / "anna" / "r1" / "u1.wav")
    error = run(*prepare(tmp_path, corpus), expect=1)
    assert message in error and "u1.wav" in error and "raise --tolerance" in error
    assert not (tmp_path / "data" / "made.json").exists() and not (tmp_path / "data" / "wav.scp").exists()
    run(*prepare(tmp_path, corpus), "--tolerance", 0.2)
    assert len((tmp_path / "data" / "wav.scp").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (make_nan, "NaN"),
        (lambda path: os.truncate(path, 500), "cut short"),
        (lambda path: path.unlink(), "u1.wav"),
    ],
    ids=["NaN", "truncated since stage 1", "gone since stage 1"],
)
def test_audio_that_stage_3_refuses(tmp_path, corpus, run, spoil, message):
    late = message in ("cut short", "u1.wav")
    if not late:
        spoil(corpus / "anna" / "r1" / "u1.wav")
    run(*prepare(tmp_path, corpus))
    if late:
        spoil(corpus / "anna" / "r1" / "u1.wav")
    error = run(pack_audio, *packing(tmp_path), "--job", 1, expect=1)
    assert message in error and "u1.wav" in error
    assert not list((tmp_path / "dump").rglob("*.ark")) and not list((tmp_path / "dump").rglob("*.tmp"))
    assert "part 1 of 1 has not been made" in run(finish_packing, *packing(tmp_path), expect=1)
    run(pack_audio, *packing(tmp_path), "--job", 1, "--tolerance", 0.2)


def test_a_channel_that_is_not_there_and_a_command_in_wav_scp(tmp_path, corpus, run):
    run(*prepare(tmp_path, corpus))
    assert "channel 2" in run(pack_audio, *packing(tmp_path), "--job", 1, "--channel", 2, expect=1)
    (tmp_path / "data" / "made.json").unlink()  # somebody else's tables from here on
    scp = tmp_path / "data" / "wav.scp"
    lines = scp.read_text().splitlines()
    scp.write_text("\n".join([f"{lines[0].split()[0]} touch {tmp_path}/ran |", *lines[1:]]) + "\n")
    error = run(pack_audio, *packing(tmp_path), "--job", 1, expect=1)
    assert "allow-pipes" in error and "anna-r1-u1" in error and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", [prepare_corpus, prepare_noises, prepare_responses])
@pytest.mark.parametrize(("make", "message"), [(False, "no such folder"), (True, "no audio file at any depth")])
def test_missing_and_empty_folders(tmp_path, run, command, make, message):
    if make:
        (tmp_path / "source").mkdir()
    layout = ("--layout", "voxceleb") if command is prepare_corpus else ()
    error = run(command, *layout, "--source", tmp_path / "source", "--out", tmp_path / "data", expect=1)
    assert message in error and str(tmp_path / "source") in error
    assert not (tmp_path / "data").exists()


def test_wrong_layouts(tmp_path, corpus, run):
    write_speech(tmp_path / "flat" / "u1.wav")
    assert "not the layout voxceleb: expected " in run(*prepare(tmp_path, corpus, "voxceleb"), expect=1)
    assert "not the layout folder: expected " in run(*prepare(tmp_path, tmp_path / "flat"), expect=1)
    noises = run(prepare_noises, "--source", corpus, "--out", tmp_path / "data", expect=1)
    assert "one of noise, music, speech; found 'anna'" in noises
    assert not (tmp_path / "data").exists()


def test_two_files_of_one_id(tmp_path, corpus, run):
    write_speech(corpus / "anna" / "r1" / "u1.flac")
    error = run(*prepare(tmp_path, corpus), expect=1)
    assert "u1.wav" in error and "u1.flac" in error and "both have the id anna-r1-u1" in error


@pytest.mark.parametrize("fault", ["duplicate", "unsorted"])
@pytest.mark.parametrize("table", ["wav.scp", "utt2spk"])
def test_tables_with_duplicate_or_unsorted_ids(tmp_path, corpus, run, table, fault):
    run(*prepare(tmp_path, corpus))
    path = tmp_path / "data" / table
    lines = path.read_text().splitlines(keepends=True)
    changed = [lines[0], lines[0], *lines[1:]] if fault == "duplicate" else [lines[1], lines[0], *lines[2:]]
    path.write_text("".join(changed))
    changed_since = run(pack_audio, *packing(tmp_path), "--job", 1, expect=1)
    assert f"{path} has " in changed_since and "Run stages 1 and 2 again." in changed_since
    (tmp_path / "data" / "made.json").unlink()  # somebody else's tables
    for error in (
        run(validate_data_dir, tmp_path / "data", expect=1),
        run(pack_audio, *packing(tmp_path), "--job", 1, expect=1),
    ):
        assert f"{path}:2: " in error and lines[0].split()[0] in error
    assert not list((tmp_path / "dump").rglob("*.ark"))


def test_one_speaker_and_one_utterance_are_prepared_but_give_no_error_rate(tmp_path, corpus, run):
    shutil.rmtree(corpus / "bert")
    (tmp_path / "list").write_text("1 anna/r1/u1.wav anna/r2/u1.wav\n")
    run(*prepare(tmp_path, corpus))
    words = ("--source", tmp_path / "list", "--data", tmp_path / "data", "--out", tmp_path / "trials")
    assert "the EER needs nontarget trials" in run(prepare_trials, *words, expect=1)
    shutil.rmtree(corpus / "anna" / "r2")
    (corpus / "anna" / "r1" / "u2.wav").unlink()
    run(*prepare(tmp_path, corpus), "--force", "true")
    run(pack_audio, *packing(tmp_path), "--job", 1)
    run(finish_packing, *packing(tmp_path))
    assert len((tmp_path / "dump" / "wav.scp").read_text().splitlines()) == 1


def test_trials_of_unknown_utterances(tmp_path, corpus, run):
    (tmp_path / "list").write_text("1 anna/r1/u1.wav anna/r2/u1.wav\n0 anna/r1/u1.wav carl/r1/u1.wav\n")
    only = run(*prepare(tmp_path, corpus), "--only", tmp_path / "list", expect=1)
    assert "carl-r1-u1" in only and str(tmp_path / "list") in only
    run(*prepare(tmp_path, corpus))
    words = ("--source", tmp_path / "list", "--data", tmp_path / "data", "--out", tmp_path / "trials")
    error = run(prepare_trials, *words, expect=1)
    assert f"{tmp_path / 'list'}:2: " in error and "carl/r1/u1.wav" in error
    assert not (tmp_path / "trials").exists()


def test_prepared_and_packed_with_other_options(tmp_path, corpus, run):
    run(*prepare(tmp_path, corpus))
    error = run(*prepare(tmp_path, corpus), "--labels", "false", expect=1)
    assert "labels: was True, now False" in error and "--force true" in error
    run(pack_audio, *packing(tmp_path), "--job", 1)
    run(finish_packing, *packing(tmp_path))
    run(*prepare(tmp_path, corpus), "--labels", "false", "--force", "true")
    error = run(pack_audio, *packing(tmp_path), "--job", 1, expect=1)
    assert "was made otherwise" in error and "utt2spk" in error


# -- stages 4 to 7: packed audio, configuration, checkpoints -----------------------------------------------------


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    pack_all(tmp_path / "packed")
    write_configuration(tmp_path / "packed")
    return tmp_path / "packed"


def training(inputs: Path, *settings: str, positives: str | None = None) -> list[object]:
    words = [train, "--config", inputs / "system.yaml", "--train-set", inputs / "train", "--augmentation", inputs]
    words += ["--out", inputs / "exp", "--set", "training.epochs=1", *settings]
    return words if positives is None else [*words, "--positives", inputs / f"{positives}.yaml"]


def extraction(inputs: Path) -> list[object]:
    return ["--system", inputs / "exp", "--data", inputs / "test", "--num-jobs", 1]


def test_an_ark_cut_short_and_a_scp_that_points_nowhere(inputs, run):
    run(*training(inputs))
    run(average_checkpoints, "--system", inputs / "exp")
    for name, words in (
        ("train", [*training(inputs, "training.seed=1"), "--force", "true"]),
        ("test", [extract_embeddings, *extraction(inputs), "--job", 1]),
        ("musan_noise", [*training(inputs, "training.seed=1"), "--force", "true"]),
    ):
        saved = shutil.copytree(inputs / "exp", inputs / "saved")
        ark = inputs / name / "wav.ark"
        whole = ark.read_bytes()
        ark.write_bytes(whole[: len(whole) // 2])
        error = run(*words, expect=1)
        assert str(ark) in error and "Run stage 3" in error
        assert "cut short" in error or "other contents than were written" in error
        ark.unlink()
        error = run(*words, expect=1)
        assert f"{inputs / name}/wav.scp points to {ark}, which does not exist" in error
        ark.write_bytes(whole)
        shutil.rmtree(inputs / "exp")
        saved.rename(inputs / "exp")


def test_checkpoints_cut_short(inputs, run):
    run(*training(inputs))
    run(average_checkpoints, "--system", inputs / "exp")
    folder = inputs / "exp" / "checkpoints"
    for name in ("latest.pt", "previous.pt", "averaged.pt", "1epoch.pt"):
        os.truncate(folder / name, 1000)
    words = extraction(inputs)
    assert "averaged.pt: not a checkpoint that can be read" in run(extract_embeddings, *words, "--job", 1, expect=1)
    assert "part 1 of 1 has not been made" in run(finish_extraction, *words, expect=1)
    assert "1epoch.pt: not a checkpoint" in run(average_checkpoints, "--system", inputs / "exp", expect=1)
    resumed = run(*training(inputs, "training.epochs=2"), expect=1)
    assert "latest.pt" in resumed and "previous.pt" in resumed and "no checkpoint can be read" in resumed
    stage5 = training(inputs, positives="same_utterance")
    stage5[stage5.index("--out") + 1] = inputs / "five"
    assert "no checkpoint can be read" in run(*stage5, "--continue-from", inputs / "exp", expect=1)
    assert not (inputs / "five").exists()


@pytest.mark.parametrize(
    ("settings", "positives", "message"),
    [
        (["training.batch_size=19"], None, "A batch of 19 utterances does not fit a training set of 18"),
        (["positives.clusters=19"], "ssps_kmeans", "19 clusters need at least as many utterances, found 18"),
        (["training.lerning_rate=1"], None, "unknown key 'training.lerning_rate'"),
        (["optimisation.learning_rte=1"], None, "Did you mean 'optimisation.learning_rate'"),
        (["optimisation.learning_rate=fast"], None, "optimisation.learning_rate takes a value of type float"),
        (["optimisation.learning_rate=-1"], None, "must be above 0"),
        (["method.name=simclrr"], None, "simclr"),
        (["method.temprature=1"], None, "temprature"),
        (["augmentation.kinds=[]"], None, "augmentation.kinds is empty"),
        (["augmentation.kinds=[reverp]"], None, "Did you mean 'reverb'"),
        (["nonsense"], None, "expected name.of.option=value"),
    ],
)
def test_what_a_configuration_may_not_say(inputs, run, settings, positives, message):
    assert message in run(*training(inputs, *settings, positives=positives), expect=1)
    assert not (inputs / "exp" / "checkpoints" / "latest.pt").exists()


def test_an_unknown_key_in_a_file_is_named_with_its_line(inputs, run):
    path = inputs / "system.yaml"
    path.write_text(path.read_text() + "tranining:\n  epochs: 3\n")
    line = len(path.read_text().splitlines()) - 1
    assert f"{path}:{line}: unknown key 'tranining'. Did you mean 'training'?" in run(*training(inputs), expect=1)
    path.write_text("encoder: {name: fast_resnet34\n")
    assert f"{path}: not YAML" in run(*training(inputs), expect=1)
    path.unlink()
    assert f"{path}: no such configuration file" in run(*training(inputs), expect=1)


def test_a_single_utterance_is_too_few(inputs, run):
    for table in ("wav.scp", "utt2samples", "utt2spk", "utt2rec"):
        path = inputs / "train" / table
        path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert "does not fit a training set of 1." in run(*training(inputs), expect=1)
    error = run(*training(inputs, "training.batch_size=1"), expect=1)
    assert (
        "needs at least 2; found 1. Raise training.batch_size." in error
        or "batch; found 1. Raise training.batch_size." in error
    )


def test_one_speaker_trains_and_the_oracle_keeps_what_it_can(inputs, run):
    for table in ("wav.scp", "utt2samples", "utt2spk", "utt2rec"):
        path = inputs / "train" / table
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("spk0")))
    run(*training(inputs, positives="same_speaker"))


def test_a_system_made_with_other_options(inputs, run):
    run(*training(inputs))
    error = run(*training(inputs, "training.seed=7"), expect=1)
    assert "option training.seed: was 0, now 7" in error and "--force true" in error


def test_scores_need_embeddings_and_a_table_needs_scores(inputs, run):
    run(*training(inputs))
    (inputs / "trials").write_text("t0-rec0-00000 t0-rec2-00000 target\nt0-rec0-00000 t1-rec1-00000 nontarget\n")
    words = ("--system", inputs / "exp", "--data", inputs / "test", "--trials", inputs / "trials")
    assert "stage 6" in run(score_trials, *words, expect=1)
    assert str(inputs) in run(write_results, "--exp", inputs, expect=1)
    assert "no such checkpoint" in run(extract_embeddings, *extraction(inputs), "--job", 1, expect=1)


# -- through run.sh: the same line is what its user sees -----------------------------------------------------------


def test_run_sh_shows_the_line_and_ends_with_status_1(recipe, tmp_path, corpus):
    make_nan(corpus / "anna" / "r1" / "u1.wav")
    for category in ("noise", "music", "speech"):
        write_speech(tmp_path / "musan" / category / f"{category}.wav")
    write_speech(tmp_path / "rirs" / "room.wav")
    (tmp_path / "list").write_text("1 anna/r1/u2.wav anna/r2/u1.wav\n0 anna/r1/u2.wav bert/r1/u1.wav\n")
    words = ["--train-audio", corpus, "--test-audio", corpus, "--trials", tmp_path / "list"]
    words += ["--musan", tmp_path / "musan", "--rirs", tmp_path / "rirs", "--nj", 1, "--ngpu", 0, "--stop-stage", 3]
    printed = recipe.run(*map(str, words), expect=1)
    assert "launch: 1 of 1 failed, see dump/log/pack_train.1.log" in printed
    assert "u1.wav" in printed and "NaN" in printed and "Traceback" not in printed
    assert "Stage 4" not in printed and "Successfully" not in printed
    (corpus / "anna" / "r1" / "u1.wav").write_bytes(b"")
    printed = recipe.run(*map(str, words), "--force", "true", expect=1)
    assert "an empty file" in printed and "Stage 2" not in printed
    recipe.run(*map(str, words), "--force", "true", "--tolerance", "0.2", "--stop-stage", "3")
    assert "anna-r1-u1" not in (recipe.folder / "dump/raw/train/wav.scp").read_text()
