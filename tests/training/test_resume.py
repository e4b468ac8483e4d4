"""A run that is killed and started again is the run that was never killed, bit for bit."""

import os
import random
import shutil
from pathlib import Path

import gated_run
import pytest
import small_corpus
from small_settings import METHODS, method_words
from train_options import options

from sslsv_tk.systems import checkpoints

POSITIVES = tuple(small_corpus.POSITIVES)


def train_with_kills(words, chance, kills, most_events):
    """Kill the run `kills` times, each time a random number of events after it was started anew; then let it end."""
    seen = []
    while len(seen) < kills:
        passed = gated_run.train_until(words, chance.randrange(1, most_events), chance)
        if passed is None:
            break
        seen.append(passed)
    assert gated_run.train(words) == 0
    return seen


@pytest.mark.parametrize("minutes", [0.0, 1000.0], ids=["checkpoint at every step", "checkpoint at every epoch"])
def test_stage_4_killed_at_random(workspace, stage4, outcome, assert_same, minutes):
    chance = random.Random(f"stage 4 {minutes}")
    words = workspace.options("ssl", f"training.checkpoint_minutes={minutes}")
    kills = train_with_kills(words, chance, kills=5, most_events=30)
    assert len(kills) >= 3
    assert_same(outcome(workspace.systems / "ssl"), outcome(stage4))
    assert not list((workspace.systems / "ssl").rglob("*.tmp")), "a killed run's temporary files stay for ever"


@pytest.mark.parametrize("positives", POSITIVES)
def test_stage_5_killed_at_random(workspace, stage4, outcome, assert_same, positives):
    assert gated_run.train(workspace.options("whole", positives=positives, base=stage4)) == 0
    words = workspace.options("killed", positives=positives, base=stage4)
    kills = train_with_kills(words, random.Random(positives), kills=5, most_events=24)
    assert len(kills) >= 3
    assert_same(outcome(workspace.systems / "killed"), outcome(workspace.systems / "whole"))


@pytest.mark.parametrize("method", [name for name in METHODS if name != small_corpus.SYSTEM["method"]["name"]])
def test_every_method_killed_at_random(workspace, outcome, assert_same, method):
    """Queues, centres, prototypes, teachers and schedules go on as if nothing had happened, also in stage 5."""
    settings, chance = method_words(method), random.Random(method)
    assert gated_run.train(workspace.options("ssl", *settings)) == 0
    assert len(train_with_kills(workspace.options("killed", *settings), chance, kills=2, most_events=24)) == 2
    assert_same(outcome(workspace.systems / "killed"), outcome(workspace.systems / "ssl"))
    if METHODS[method].slots and METHODS[method].training_only:  # replaced positives enter what they keep
        stage_5 = {"positives": "ssps_kmeans", "base": workspace.systems / "ssl"}
        assert gated_run.train(workspace.options("continued", *settings, **stage_5)) == 0
        assert len(train_with_kills(workspace.options("killed 5", *settings, **stage_5), chance, 1, 34)) == 1
        assert_same(outcome(workspace.systems / "killed 5"), outcome(workspace.systems / "continued"))


def test_checkpoints_between_steps(workspace, stage4, outcome, assert_same):
    """With minutes between checkpoints, steps since the last one are made again, with the same numbers."""
    words = ("training.checkpoint_minutes=0.0004",)  # 24 ms: some steps get one and some do not
    assert gated_run.train(workspace.options("whole", *words, positives="ssps_kmeans", base=stage4)) == 0
    options = workspace.options("killed", *words, positives="ssps_kmeans", base=stage4)
    assert len(train_with_kills(options, random.Random("between"), kills=4, most_events=24)) >= 2
    assert_same(outcome(workspace.systems / "killed"), outcome(workspace.systems / "whole"))


@pytest.fixture(scope="module")
def whole_ssps(inputs, stage4, outcome, tmp_path_factory):
    """What an undisturbed stage 5 with SSPS leaves."""
    system = tmp_path_factory.mktemp("exp") / "whole"
    assert gated_run.train(options(inputs, system, positives="ssps_kmeans", base=stage4)) == 0
    return outcome(system)


@pytest.mark.parametrize("events", [2, 5, 8, 11, 15, 18])
def test_killed_while_the_queues_are_filled(workspace, stage4, outcome, assert_same, whole_ssps, events):
    """Four batches fill the queues; each is read and its checkpoint written: 3 to 5 events."""
    words = workspace.options("killed", positives="ssps_kmeans", base=stage4)
    passed = gated_run.train_until(words, 3 + events, random.Random(events))
    assert passed is not None and "step" not in passed, "the kill came after the filling"
    assert not (workspace.systems / "killed" / "metrics.jsonl").read_text()
    assert gated_run.train(words) == 0
    assert_same(outcome(workspace.systems / "killed"), whole_ssps)


def of_long(inputs: Path) -> list[str]:
    """The training set whose reference segments differ."""
    return ["--train-set", str(inputs / "long_train")]


@pytest.fixture(scope="module")
def whole_in_passes(inputs, stage4, outcome, tmp_path_factory):
    """What an undisturbed stage 5 leaves whose references come from a pass before every epoch."""
    system = tmp_path_factory.mktemp("exp") / "whole"
    assert gated_run.train([*options(inputs, system, positives="ssps_live_knn", base=stage4), *of_long(inputs)]) == 0
    return outcome(system)


@pytest.mark.parametrize("events, passed", [(60, 5), (66, 10), (72, 14)])
def test_killed_in_the_pass_before_the_second_epoch(
    workspace, stage4, outcome, assert_same, whole_in_passes, events, passed
):
    """References of two segments and the covariance of their differences are of the part of the pass that was saved."""
    words = [*workspace.options("killed", positives="ssps_live_knn", base=stage4), *of_long(workspace.inputs)]
    assert gated_run.train_until(words, events, random.Random(events)) is not None
    state = checkpoints.read(workspace.systems / "killed" / "checkpoints" / "latest.pt")
    assert (state["epoch"], state["step_in_epoch"], state["passed"]) == (4, 0, passed)
    sampler = checkpoints.read(workspace.systems / "killed" / "checkpoints" / state["samplers"][0]["file"])
    assert sampler["references.scattered"] == passed and sampler["references.scatter_DD"].trace() > 0
    assert gated_run.train(words) == 0
    said = (workspace.systems / "killed" / "train.log").read_text()
    assert f"references of one encoder: {18 - passed} of 18 utterances to go" in said
    assert_same(outcome(workspace.systems / "killed"), whole_in_passes)


def test_a_latest_checkpoint_cut_short(workspace, stage4, outcome, assert_same, whole_ssps):
    """The run goes on from the checkpoint before, says so, and ends with the same model."""
    words = workspace.options("cut", positives="ssps_kmeans", base=stage4)
    assert gated_run.train_until(words, 30, random.Random("cut")) is not None
    latest = workspace.systems / "cut" / "checkpoints" / "latest.pt"
    os.truncate(latest, latest.stat().st_size // 2)
    assert gated_run.train(words) == 0
    said = (workspace.systems / "cut" / "train.log").read_text()
    assert f"{latest}: not a checkpoint that can be read" in said
    assert "going on from previous.pt, the checkpoint before" in said
    assert_same(outcome(workspace.systems / "cut"), whole_ssps)


def test_a_finished_run_whose_latest_checkpoint_is_cut_short(workspace, stage4, outcome, assert_same):
    shutil.copytree(stage4, workspace.systems / "ssl")
    latest = workspace.systems / "ssl" / "checkpoints" / "latest.pt"
    os.truncate(latest, 100)
    assert gated_run.train(workspace.options("ssl")) == 0
    assert_same(outcome(workspace.systems / "ssl"), outcome(stage4))
