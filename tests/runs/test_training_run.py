"""What a run on disk allows when it is asked for again, and what stage 5 asks of stage 4."""

import contextlib
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.bin import average_checkpoints, train
from sslsv_tk.config import Component, ConfigError
from sslsv_tk.systems import assembly, checkpoints
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.training.loop import Trainer


@pytest.fixture
def ssl(workspace, stage4):
    """A copy of the trained stage 4 that a test may change."""
    shutil.copytree(stage4, workspace.systems / "ssl")
    return workspace.systems / "ssl"


def last(system):
    return checkpoints.read(system / "checkpoints" / "latest.pt")


def test_a_finished_run_is_left_as_it_is(workspace, ssl):
    before = {path: path.stat().st_mtime_ns for path in (ssl / "checkpoints").iterdir()}
    train.main(workspace.options("ssl"))
    assert {path: path.stat().st_mtime_ns for path in (ssl / "checkpoints").iterdir()} == before


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("optimisation.learning_rate=0.1", "optimisation.learning_rate: was 0.003, now 0.1"),
        ("training.batch_size=6", "training.batch_size: was 5, now 6"),
        ("training.seed=1", "training.seed: was 0, now 1"),
        ("encoder.dimension=16", "encoder.dimension: was 12, now 16"),
        ("method.temperature=0.1", "method.temperature: was 0.03, now 0.1"),
        ("positives.name=same_speaker", "positives.name: was same_utterance, now same_speaker"),
        ("augmentation.kinds=[none]", "augmentation.kinds"),
        ("frontend.bands=32", "frontend.bands: was 40, now 32"),
    ],
)
def test_another_configuration_is_stale_and_names_the_option(workspace, ssl, setting, named):
    before = last(ssl)["step"]
    with pytest.raises(StaleArtifact) as caught:
        train.main(workspace.options("ssl", setting))
    assert named in str(caught.value) and "--force true" in str(caught.value)
    assert last(ssl)["step"] == before


def test_another_training_set_is_stale(workspace, ssl):
    words = workspace.options("ssl")
    words[words.index("--train-set") + 1] = str(workspace.inputs / "test")
    with pytest.raises(StaleArtifact, match=r"contents of training set: was"):
        train.main(words)


def test_a_training_set_that_was_moved_is_the_same(workspace, ssl, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(workspace.inputs / "train", moved)
    (moved / "wav.scp").write_text((moved / "wav.scp").read_text().replace(f"{workspace.inputs}/train", f"{moved}"))
    words = workspace.options("ssl", "training.epochs=4")
    words[words.index("--train-set") + 1] = str(moved)
    train.main(words)
    assert last(ssl)["epoch"] == 4


def test_a_training_set_through_a_link_or_by_a_relative_path_is_the_same(workspace, ssl, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(workspace.inputs)
    monkeypatch.chdir(workspace.inputs)
    for epochs, folder in ((4, tmp_path / "link/train"), (5, Path("train"))):
        words = workspace.options("ssl", f"training.epochs={epochs}")
        words[words.index("--train-set") + 1] = str(folder)
        train.main(words)
        assert last(ssl)["epoch"] == epochs


def test_other_speakers_of_the_same_audio_are_stale(workspace, ssl, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(workspace.inputs / "train", other)
    lines = [line.split() for line in (other / "utt2spk").read_text().splitlines()]
    (other / "utt2spk").write_text("".join(f"{key} {'x' if key == lines[0][0] else name}\n" for key, name in lines))
    words = workspace.options("ssl")
    words[words.index("--train-set") + 1] = str(other)
    with pytest.raises(StaleArtifact, match=r"utt2spk of training set: was"):
        train.main(words)


def test_stage_5_is_stale_when_stage_4_has_other_weights(workspace, ssl):
    train.main(workspace.options("five", base=ssl))
    state = last(ssl)
    name = next(iter(state["model"]))
    state["model"][name] = state["model"][name] + 1e-3
    checkpoints.write(ssl / "checkpoints" / "latest.pt", state)
    with pytest.raises(StaleArtifact, match=r"weights of stage 4: was"):
        train.main(workspace.options("five", base=ssl))


def test_options_that_change_no_number_may_change_and_more_epochs_go_on(workspace, ssl, stage4, assert_same):
    free = ("log_steps=1", "checkpoint_minutes=5", "keep_epochs=9", "keep_every=7", "average_epochs=3")
    settings = [f"training.{setting}" for setting in (*free, "continued_epochs=9", "loader_workers=1", "epochs=4")]
    train.main(workspace.options("ssl", *settings))
    assert last(ssl)["epoch"] == 4 and last(ssl)["step"] == 12
    train.main(workspace.options("four", "training.epochs=4"))
    assert_same(last(ssl)["model"], last(workspace.systems / "four")["model"])
    assert yaml.safe_load((ssl / "config.yaml").read_text())["training"]["epochs"] == 4
    steps = [json.loads(text)["step"] for text in (ssl / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps), "lines of the first three epochs stay, those of the fourth follow"


@contextlib.contextmanager
def interrupted_after(epochs, steps=0):
    """Training ends by a KeyboardInterrupt after so many more epochs and steps, each saved."""
    with pytest.MonkeyPatch.context() as patched:
        ends, end_epoch, end_step = [epochs, steps], Trainer._end_epoch, Trainer._train_step

        def count_epoch(trainer, last_epoch):
            end_epoch(trainer, last_epoch)
            ends[0] -= 1
            if ends == [0, 0]:
                raise KeyboardInterrupt

        def count_step(trainer, batch):
            if ends[0] <= 0 and ends[1] == 0:
                raise KeyboardInterrupt
            end_step(trainer, batch)
            ends[1] -= ends[0] <= 0

        patched.setattr(Trainer, "_end_epoch", count_epoch)
        patched.setattr(Trainer, "_train_step", count_step)
        yield


def test_fewer_epochs_than_were_begun_are_refused(workspace, ssl):
    train.main(workspace.options("ssl", "training.epochs=4"))
    with pytest.raises(ValueError, match=r"ssl is at the end of epoch 4, and is asked to end with epoch 3\. Set"):
        train.main(workspace.options("ssl", "training.epochs=3"))
    with pytest.raises(KeyboardInterrupt), interrupted_after(0, steps=2):
        train.main(workspace.options("ssl", "training.epochs=6"))
    assert last(ssl)["step_in_epoch"] == 2
    with pytest.raises(ValueError, match=r"is in epoch 5, and is asked to end with epoch 4\..* epoch 5 or later"):
        train.main(workspace.options("ssl", "training.epochs=4"))
    train.main(workspace.options("ssl", "training.epochs=5"))
    assert last(ssl)["epoch"] == 5 and last(ssl)["step_in_epoch"] == 0


def test_checkpoints_without_a_record_are_never_adopted(workspace, ssl):
    (ssl / "made.json").unlink()
    before = {path: path.read_bytes() for path in ssl.rglob("*") if path.is_file()}
    for settings in ((), ("training.batch_size=6",)):
        with pytest.raises(StaleArtifact, match=r"ssl holds checkpoints but no made.json, so what made them is not"):
            train.main(workspace.options("ssl", *settings))
    assert {path: path.read_bytes() for path in ssl.rglob("*") if path.is_file()} == before
    train.main([*workspace.options("ssl", "training.epochs=1"), "--force", "true"])
    assert last(ssl)["epoch"] == 1


def test_force_keeps_the_old_until_the_new_is_complete_and_goes_on_after_a_kill(workspace, ssl):
    old = {path.name: path.read_bytes() for path in (ssl / "checkpoints").iterdir()}
    words = [*workspace.options("ssl", "training.seed=5", "training.epochs=2"), "--force", "true"]
    with pytest.raises(KeyboardInterrupt), interrupted_after(1):
        train.main(words)
    kept = ssl / "replaced" / "checkpoints"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == old and last(ssl)["epoch"] == 1
    with interrupted_after(9):
        train.main(words)  # the same command goes on
    assert last(ssl)["epoch"] == 2 and not (ssl / "replaced").exists()
    undisturbed = workspace.options("other", "training.seed=5", "training.epochs=2")
    train.main(undisturbed)
    for epoch in (1, 2):
        name = f"checkpoints/{epoch}epoch.pt"
        assert (ssl / name).read_bytes() == (workspace.systems / "other" / name).read_bytes()


def test_force_trains_anew(workspace, ssl):
    train.main([*workspace.options("ssl", "training.seed=5", "training.epochs=1"), "--force", "true"])
    assert last(ssl)["epoch"] == 1
    assert checkpoints.CheckpointFolder(ssl).epochs() == [0, 1]
    assert {json.loads(text)["epoch"] for text in (ssl / "metrics.jsonl").read_text().splitlines()} == {1}


def test_a_configuration_says_where_its_unknown_key_is(workspace):
    (workspace.systems / "typo.yaml").write_text("training:\n  bach_size: 3\n")
    with pytest.raises(
        ConfigError, match=r"typo.yaml:2: unknown key 'training.bach_size'. Did you mean 'training.batch_size'"
    ):
        train.main(["--config", str(workspace.systems / "typo.yaml"), *workspace.options("x")[1:]])
    assert not (workspace.systems / "x").exists()


@pytest.mark.parametrize(
    ("settings", "positives", "message"),
    [
        (["training.batch_size=100"], None, "A batch of 100 utterances does not fit a training set of 18"),
        (["positives.clusters=19"], "ssps_kmeans", "19 clusters need at least as many utterances, found 18"),
        (["positives.neighbours=4"], "ssps_kmeans", "4 clusters have 3 others"),
        (["positives.name=ssps_kmean"], None, "ssps_kmeans"),
        (
            ["method.name=vicreg", "method.output=12", "positives.positive=centroid", "positives.queue_size=null"],
            "ssps_kmeans",
            "by a projector",
        ),
        (["positives.positive=centroid"], "ssps_kmeans", "a centroid comes from no queue"),
        (["encoder.name=fast_resnet43"], None, "fast_resnet34"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_may_be_mended_in_place(workspace, settings, positives, message):
    with pytest.raises(ValueError, match=message) as caught:
        train.main(workspace.options("x", *settings, positives=positives))
    assert "\n" not in str(caught.value)
    train.main(workspace.options("x", "training.epochs=1", positives=positives))


# -- stage 5 -----------------------------------------------------------------------------------------------------


def test_stage_5_begins_where_stage_4_ended(workspace, stage4, assert_same):
    train.main(workspace.options("none", "training.continued_epochs=0", base=stage4))
    assert not (workspace.systems / "none" / "checkpoints" / "latest.pt").exists()
    train.main(workspace.options("five", base=stage4))
    found, before = last(workspace.systems / "five"), last(stage4)
    assert (found["epoch"], found["step"]) == (5, 15) and before["step"] == 9
    train.main(workspace.options("longer", "training.epochs=5"))
    assert_same(found["model"], last(workspace.systems / "longer")["model"])
    assert_same(found["optimiser"], last(workspace.systems / "longer")["optimiser"])


def test_stage_5_refuses_what_is_no_system(workspace):
    with pytest.raises(ValueError, match=r"nowhere: no checkpoint to go on from. Run stage 4 first"):
        train.main(workspace.options("five", base=workspace.systems / "nowhere"))
    assert not (workspace.systems / "five").exists()


def test_stage_5_refuses_an_unfinished_stage_4(workspace, ssl):
    with pytest.raises(KeyboardInterrupt), interrupted_after(1):
        train.main(workspace.options("ssl", "training.epochs=9"))
    with pytest.raises(ValueError, match=r"stage 4 is at epoch 4 of 9. Let it end before stage 5"):
        train.main(workspace.options("five", base=ssl))


@pytest.mark.parametrize("setting", ["encoder.dimension=16", "method.temperature=0.5", "frontend.bands=32"])
def test_stage_5_refuses_another_model(workspace, stage4, setting):
    with pytest.raises(ValueError, match=f"has another {setting.partition('.')[0]}"):
        train.main(workspace.options("five", setting, base=stage4))
    assert not (workspace.systems / "five").exists()


def test_a_training_set_that_is_not_there_is_no_other_input(workspace, stage4, tmp_path):
    words = workspace.options("five", base=stage4)
    words[words.index("--train-set") + 1] = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"nowhere is missing\. Run stage 3 first"):
        train.main(words)
    assert not (workspace.systems / "five").exists()


def test_a_setting_that_stage_5_has_for_itself_is_said(workspace, stage4, caplog):
    train.main(workspace.options("five", "training.seed=7", "training.continued_epochs=1", base=stage4))
    assert f"{stage4} was trained with training.seed 0; stage 5 goes on with 7" in caplog.text
    assert sum("stage 5 goes on with" in line for line in caplog.text.splitlines()) == 1


_COSINE = ("optimisation.schedule=cosine", "optimisation.final_learning_rate=0", "training.epochs=1")


def test_more_epochs_of_a_schedule_with_an_end_are_another_system(workspace):
    train.main(workspace.options("x", *_COSINE))
    with pytest.raises(StaleArtifact, match=r"training.span_epochs: was 3, now 4"):
        train.main(workspace.options("x", *_COSINE[:2], "training.epochs=2"))
    train.main(workspace.options("x", *_COSINE[:2], "training.epochs=2", "training.span_epochs=3"))
    assert last(workspace.systems / "x")["epoch"] == 2


def test_stage_5_goes_on_with_the_schedule_of_stage_4(workspace):
    train.main(workspace.options("base", *_COSINE))
    with pytest.raises(ValueError, match=r"another training: training.span_epochs 3 instead of 8"):
        train.main(workspace.options("five", *_COSINE, "training.continued_epochs=7", base=workspace.systems / "base"))
    assert not (workspace.systems / "five").exists()
    settings = (*_COSINE, "training.continued_epochs=1", "training.span_epochs=3")
    train.main(workspace.options("five", *settings, base=workspace.systems / "base"))
    train.main(workspace.options("whole", *_COSINE[:2], "training.epochs=2", "training.span_epochs=3"))
    rates = [
        [line["learning_rate"] for line in map(json.loads, (workspace.systems / name / "metrics.jsonl").open())]
        for name in ("base", "five", "whole")
    ]
    assert rates[0] + rates[1] == rates[2]


@pytest.mark.parametrize("setting", ["optimiser=sgd", "momentum=0.5", "trust=0.5", "weight_decay=0.1"])
def test_stage_5_refuses_another_optimiser(workspace, stage4, setting):
    with pytest.raises(ValueError, match=f"has another optimisation: optimisation.{setting.partition('=')[0]}"):
        train.main(workspace.options("five", f"optimisation.{setting}", base=stage4))
    train.main(
        workspace.options("five", "optimisation.learning_rate=0.001", "training.continued_epochs=1", base=stage4)
    )


def test_stage_5_refuses_an_edited_configuration_of_stage_4(workspace, ssl):
    configuration = (ssl / "config.yaml").read_text()
    (ssl / "config.yaml").write_text(configuration.replace("window: hamming", "window: hann"))
    with pytest.raises(ValueError, match=r"ssl/config.yaml has .*Run stage 4 .* again: it writes the file anew"):
        train.main(workspace.options("five", "training.continued_epochs=1", base=ssl))
    train.main(workspace.options("ssl"))
    assert (ssl / "config.yaml").read_text() == configuration


def test_a_checkpoint_that_does_not_fit_is_one_line(workspace, ssl):
    state = last(ssl)
    state["optimiser"]["param_groups"].pop()
    checkpoints.write(ssl / "checkpoints" / "latest.pt", state)
    with pytest.raises(ValueError, match=r"checkpoint of step 9 .* does not fit .*train its system anew") as caught:
        train.main(workspace.options("five", base=ssl))
    assert "\n" not in str(caught.value)


def test_stage_5_is_stale_when_stage_4_was_trained_on(workspace, ssl):
    train.main(workspace.options("five", base=ssl))
    train.main(workspace.options("ssl", "training.epochs=4"))
    with pytest.raises(StaleArtifact, match=r"epochs of stage 4: was 3, now 4"):
        train.main(workspace.options("five", base=ssl))


def test_the_oracle_needs_labels(workspace):
    train_set = workspace.systems / "unlabelled"
    shutil.copytree(workspace.inputs / "train", train_set)
    keys = [line.split()[0] for line in (train_set / "utt2spk").read_text().splitlines()]
    (train_set / "utt2spk").write_text("".join(f"{key} {key}\n" for key in keys))
    words = workspace.options("x", positives="same_speaker")
    words[words.index("--train-set") + 1] = str(train_set)
    with pytest.raises(ValueError, match="same_speaker need true speakers, and the training set has none"):
        train.main(words)


# -- the average of the last epochs --------------------------------------------------------------------------------


def test_a_method_without_positives_takes_no_sampler_of_them(workspace):
    with pytest.raises(ValueError, match="supervised has no positives, so ssps_kmeans has nothing to choose"):
        train.main(workspace.options("ssl", "method.name=supervised", positives="ssps_kmeans"))


def test_the_average_is_of_the_last_epochs_and_is_made_once(ssl):
    average_checkpoints.main(["--system", str(ssl)])
    path = ssl / "checkpoints" / "averaged.pt"
    found = checkpoints.read(path)
    assert found["epochs"] == [2, 3]
    models = [checkpoints.read(ssl / "checkpoints" / f"{epoch}epoch.pt")["model"] for epoch in (2, 3)]
    for name, mean in found["model"].items():
        expected = models[1][name] if not mean.is_floating_point() else (models[0][name] + models[1][name]) / 2
        torch.testing.assert_close(mean, expected)
    made = path.stat().st_mtime_ns
    average_checkpoints.main(["--system", str(ssl)])
    assert path.stat().st_mtime_ns == made
    average_checkpoints.main(["--system", str(ssl), "--last", "1"])
    assert checkpoints.read(path)["epochs"] == [3]


def test_stage_5_may_average_fewer_epochs_than_stage_4(workspace, ssl):
    for most, epochs in (("null", [5, 6]), ("1", [6]), ("9", [5, 6])):
        settings = ("training.continued_epochs=3", f"training.continued_average_epochs={most}")
        train.main(workspace.options("five", *settings, base=ssl))
        average_checkpoints.main(["--system", str(workspace.systems / "five")])
        assert checkpoints.read(workspace.systems / "five" / "checkpoints" / "averaged.pt")["epochs"] == epochs
    average_checkpoints.main(["--system", str(ssl)])
    assert checkpoints.read(ssl / "checkpoints" / "averaged.pt")["epochs"] == [2, 3]


def test_the_untrained_encoder_is_kept_but_never_averaged(ssl):
    average_checkpoints.main(["--system", str(ssl), "--last", "50"])
    assert checkpoints.read(ssl / "checkpoints" / "averaged.pt")["epochs"] == [2, 3]
    assert (ssl / "checkpoints" / "0epoch.pt").exists()


@pytest.mark.parametrize(("gone", "words"), [((2,), "2"), ((2, 3), "2")])
def test_an_epoch_file_that_is_gone_is_told_and_no_mean_of_fewer_takes_its_place(ssl, gone, words, caplog):
    average_checkpoints.main(["--system", str(ssl)])
    path = ssl / "checkpoints" / "averaged.pt"
    whole = path.read_bytes()
    for epoch in gone:
        (ssl / "checkpoints" / f"{epoch}epoch.pt").unlink()
    average_checkpoints.main(["--system", str(ssl)])
    assert path.read_bytes() == whole
    assert f"averaged.pt stays: the files of epochs {words}, of which it is a mean, are gone" in caplog.text
    path.unlink()
    with pytest.raises(ValueError, match=f"files of epochs {words} are gone, so the mean of the last 2 epochs"):
        average_checkpoints.main(["--system", str(ssl)])
    assert not path.exists()


def test_the_file_of_the_last_epoch_that_is_gone_is_written_anew_of_the_checkpoint(ssl, caplog, assert_same):
    path, average = ssl / "checkpoints" / "3epoch.pt", ssl / "checkpoints" / "averaged.pt"
    average_checkpoints.main(["--system", str(ssl)])
    whole, mean = checkpoints.read(path), checkpoints.read(average)
    path.unlink()
    average.unlink()
    average_checkpoints.main(["--system", str(ssl)])
    assert "3epoch.pt was gone. Its weights stand in latest.pt as well" in caplog.text
    assert_same(checkpoints.read(path), whole)
    assert_same(checkpoints.read(average)["model"], mean["model"])


def test_the_first_epochs_of_stage_5_are_those_after_stage_4(workspace, ssl):
    train.main(workspace.options("more", positives="same_utterance", base=ssl))
    more = workspace.systems / "more"
    average_checkpoints.main(["--system", str(more)])
    assert checkpoints.read(more / "checkpoints" / "averaged.pt")["epochs"] == [4, 5]
    (more / "checkpoints" / "averaged.pt").unlink()
    (more / "checkpoints" / "4epoch.pt").unlink()
    with pytest.raises(ValueError, match="the files of epochs 4 are gone"):
        average_checkpoints.main(["--system", str(more)])
    train.main(workspace.options("short", "training.continued_epochs=1", positives="same_utterance", base=ssl))
    average_checkpoints.main(["--system", str(workspace.systems / "short")])
    assert checkpoints.read(workspace.systems / "short" / "checkpoints" / "averaged.pt")["epochs"] == [4]


def flip(path, place):
    contents = bytearray(path.read_bytes())
    contents[place] ^= 4
    path.write_bytes(contents)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_epoch_file_is_named_with_what_can_be_done(ssl, damage):
    path = ssl / "checkpoints" / "2epoch.pt"
    os.truncate(path, 99) if damage == "cut" else flip(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"2epoch.pt: .* Restore it, train anew .*--set training.average_epochs=1"):
        average_checkpoints.main(["--system", str(ssl)])
    assert not (ssl / "checkpoints" / "averaged.pt").exists()
    average_checkpoints.main(["--system", str(ssl), "--last", "1"])
    assert checkpoints.read(ssl / "checkpoints" / "averaged.pt")["epochs"] == [3]


def test_a_damaged_file_of_the_last_epoch_is_written_anew_of_the_checkpoint(ssl):
    path = ssl / "checkpoints" / "3epoch.pt"
    average_checkpoints.main(["--system", str(ssl)])
    whole, average = path.read_bytes(), (ssl / "checkpoints" / "averaged.pt").read_bytes()
    flip(path, len(whole) // 2)
    average_checkpoints.main(["--system", str(ssl)])
    assert path.read_bytes() == whole and (ssl / "checkpoints" / "averaged.pt").read_bytes() == average


def test_no_flipped_bit_of_a_checkpoint_becomes_another_tensor(ssl, assert_same):
    chance = random.Random(1)
    for name in ("latest.pt", "3epoch.pt"):
        path = ssl / "checkpoints" / name
        whole, expected = path.read_bytes(), checkpoints.read(path)
        accepted = 0
        for _ in range(60):
            flip(path, chance.randrange(len(whole)))
            try:
                assert_same(checkpoints.read(path), expected)
                accepted += 1
            except checkpoints.DamagedCheckpoint as error:
                assert str(path) in str(error) and "\n" not in str(error)
            path.write_bytes(whole)
        assert accepted < 30, "a bit between tensors holds nothing"


def test_a_flipped_bit_in_latest_gives_the_same_end(workspace, ssl, outcome, assert_same):
    expected = outcome(ssl)
    path = ssl / "checkpoints" / "latest.pt"
    flip(path, path.stat().st_size // 2)
    train.main(workspace.options("ssl"))
    assert_same(outcome(ssl), expected)


def test_a_damaged_average_is_made_again(ssl):
    average_checkpoints.main(["--system", str(ssl)])
    path = ssl / "checkpoints" / "averaged.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    average_checkpoints.main(["--system", str(ssl)])
    assert path.read_bytes() == whole


def test_an_encoder_for_other_mel_bands_is_refused_before_training():
    config = SystemConfig(Component("ecapa_tdnn", {"bands": 80}), Component("simclr"))
    with pytest.raises(ValueError, match="made for 80 mel bands, the front end gives 40"):
        assembly.build_method(config)
