"""The EER while training goes on: the figure that stages 6 and 7 would give, and no change of the training."""

import json
import shutil

import pytest
import torch

from sslsv_tk import logs
from sslsv_tk.bin import extract_embeddings, finish_extraction, score_trials, train
from sslsv_tk.kaldi import tables
from sslsv_tk.monitoring import validation
from sslsv_tk.systems import checkpoints


@pytest.fixture
def listed(inputs, tmp_path):
    """The words that ask for an EER after every second epoch, over all pairs of the test set."""
    keys, _ = tables.read_table(inputs / "test" / "wav.scp")
    names = [tables.text(key) for key in keys]
    lines = [
        f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n"
        for row, a in enumerate(names)
        for b in names[row + 1 :]
    ]
    trials = tmp_path / "trials_small"
    trials.write_text("".join(lines))
    return ["--validation-data", str(inputs / "test"), "--validation-trials", str(trials)]


def validated(system):
    found = map(json.loads, (system / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if line["kind"] == "validation"]


def test_the_figure_is_that_of_stages_6_and_7(workspace, inputs, listed, tmp_path):
    train.main([*workspace.options("ssl", "training.validation_epochs=2", "training.epochs=3"), *listed])
    system = workspace.systems / "ssl"
    lines = validated(system)
    assert [line["epoch"] for line in lines] == [2, 3]
    for line in lines:
        data = ["--data", str(inputs / "test"), "--system", str(system), "--checkpoint", str(line["epoch"])]
        if not (system / "checkpoints" / f"{line['epoch']}epoch.pt").exists():
            continue
        assert logs.run_command(extract_embeddings.main, [*data, "--num-jobs", "1", "--job", "1"]) == 0
        assert logs.run_command(finish_extraction.main, [*data, "--num-jobs", "1"]) == 0
        assert logs.run_command(score_trials.main, [*data, "--trials", listed[3]]) == 0
        row = json.loads((system / "scores" / f"small_{line['epoch']}.json").read_text())
        assert line["eer_percent"] == pytest.approx(row["eer_percent"])
        assert line["eer_nearest_percent"] == pytest.approx(row["eer_nearest_percent"])
        assert line["mindcf_001"] == pytest.approx(row["mindcf_001"])
    assert (system / "scores" / "small_3.json").exists()


def test_a_run_at_chance_is_said_to_be(workspace, inputs, listed, caplog, monkeypatch):
    """An encoder whose embeddings are all alike: 50 %, not 100."""
    embed = validation.Validation._embed
    monkeypatch.setattr(validation.Validation, "_embed", lambda *words: 0 * embed(*words) + 1)
    caplog.set_level("INFO")
    train.main([*workspace.options("ssl", "training.validation_epochs=1", "training.epochs=1"), *listed])
    (line,) = validated(workspace.systems / "ssl")
    assert line["eer_percent"] == 50 and line["at_chance"] == 1
    assert "epoch 1: the EER of 50.00 % is at chance" in caplog.text


def test_the_best_weights_stand_beside_the_rest(workspace, listed):
    train.main([*workspace.options("ssl", "training.validation_epochs=1", "training.keep_epochs=3"), *listed])
    system = workspace.systems / "ssl"
    lines = validated(system)
    lowest = min(line["eer_percent"] for line in lines)
    first = next(line["epoch"] for line in lines if line["eer_percent"] == lowest)
    folder = checkpoints.CheckpointFolder(system)
    best, epoch = checkpoints.read(folder.path_of("best")), checkpoints.read(folder.path_of(str(first)))
    assert best["epoch"] == first and best["eer_percent"] == lowest == lines[-1]["best_eer_percent"]
    assert all(torch.equal(tensor, epoch["model"][name]) for name, tensor in best["model"].items())


def test_training_goes_on_as_if_nobody_had_looked(workspace, listed, stage4, outcome, assert_same):
    train.main([*workspace.options("ssl", "training.validation_epochs=1"), *listed])
    found, expected = outcome(workspace.systems / "ssl"), outcome(stage4)
    found["metrics"] = [line for line in found["metrics"] if line["kind"] != "validation"]
    assert_same(found, expected)


def test_a_best_checkpoint_of_another_list_does_not_count(workspace, listed):
    words = workspace.options("ssl", "training.validation_epochs=1", "training.epochs=1")
    train.main([*words, *listed])
    best = workspace.systems / "ssl" / "checkpoints" / "best.pt"
    state = checkpoints.read(best)
    checkpoints.write(best, {**state, "eer_percent": -1.0, "trials": "another"})
    train.main([*workspace.options("ssl", "training.validation_epochs=1", "training.epochs=2"), *listed])
    assert checkpoints.read(best)["epoch"] == 2


def test_a_best_checkpoint_that_is_lower_stays(workspace, listed):
    words = workspace.options("ssl", "training.validation_epochs=1", "training.epochs=1")
    train.main([*words, *listed])
    best = workspace.systems / "ssl" / "checkpoints" / "best.pt"
    state = checkpoints.read(best)
    checkpoints.write(best, {**state, "eer_percent": -1.0})
    train.main([*workspace.options("ssl", "training.validation_epochs=1", "training.epochs=2"), *listed])
    assert checkpoints.read(best)["eer_percent"] == -1.0


def test_one_of_the_two_options_is_not_enough(workspace, listed):
    with pytest.raises(SystemExit) as error:
        train.main([*workspace.options("ssl"), *listed[:2]])
    assert error.value.code == 2


def test_a_list_of_other_utterances_stops_before_training(workspace, listed, tmp_path, caplog):
    (tmp_path / "trials_small").write_text("a b target\na c nontarget\n")
    assert logs.run_command(train.main, [*workspace.options("ssl"), *listed]) == 1
    assert "Is it the list of this test set?" in caplog.text
    assert not (workspace.systems / "ssl" / "checkpoints" / "0epoch.pt").exists()


def test_no_best_checkpoint_where_none_was_asked_for(stage4):
    with pytest.raises(ValueError, match="no such checkpoint"):
        checkpoints.CheckpointFolder(stage4).path_of("best")


def test_a_damaged_best_checkpoint_is_written_anew(workspace, listed, stage4, tmp_path):
    system = workspace.systems / "ssl"
    shutil.copytree(stage4, system)
    (system / "checkpoints" / "best.pt").write_bytes(b"half")
    train.main([*workspace.options("ssl", "training.validation_epochs=1", "training.epochs=4"), *listed])
    assert checkpoints.read(system / "checkpoints" / "best.pt")["epoch"] == 4
