"""What a run says and saves while it trains; how it stops when the loss is not a number."""

import json
import math

import pytest
import torch
from small_corpus import SSPS

from sslsv_tk import logs
from sslsv_tk.bin import train
from sslsv_tk.methods.simclr import SimCLR
from sslsv_tk.monitoring.step_times import PARTS
from sslsv_tk.systems import checkpoints
from sslsv_tk.training.run_state import NonFiniteLoss


def lines(system):
    return [json.loads(text) for text in (system / "metrics.jsonl").read_text().splitlines()]


def of_kind(system, kind):
    return [line for line in lines(system) if line["kind"] == kind]


def test_the_lines_of_a_run_are_complete(workspace, stage4):
    """18 utterances in batches of 5: three steps an epoch; stage 4 ended at step 9, a line every 2 steps."""
    train.main(workspace.options("ssps", positives="ssps_kmeans", base=stage4))
    system = workspace.systems / "ssps"
    assert [(line["kind"], line["epoch"], line["step"]) for line in lines(system)] == [
        ("positives", 4, 9),
        ("step", 4, 10),
        ("step", 4, 12),
        ("epoch", 4, 12),
        ("positives", 5, 12),
        ("step", 5, 14),
        ("epoch", 5, 15),
    ]
    for line in of_kind(system, "step"):
        expected = ["step", "kind", "epoch", "loss", "positive_cosine", "negative_cosine"]
        expected += ["embedding_deviation", "effective_rank", "queue_age", "learning_rate"]
        expected += [f"{part}_seconds" for part in PARTS]
        assert list(line) == expected and all(math.isfinite(line[name]) for name in expected if name != "kind")
        assert all(line[f"{part}_seconds"] > 0 for part in PARTS)
    for line in of_kind(system, "epoch"):
        assert {"loss", "coverage", "speaker_accuracy", "recording_accuracy", "learning_rate", "seconds"} < line.keys()
        assert 0 < line["queue_age"] <= 1.1, "rows older than a pass of 18 left the queue of 13, or nearly so"
        assert 0 < line["coverage"] <= 1 and 0 <= line["speaker_accuracy"] <= 1
    for line in of_kind(system, "positives"):
        assert {"kmeans_objective", "largest_cluster", "nmi_speaker", "nmi_recording", "seen_share"} < line.keys()
        assert {"median_cluster", "alone_share", "empty_clusters"} < line.keys()
        assert line["seen_share"] == 1 and SSPS["clusters"] <= line["largest_cluster"] <= 18
    assert ["clusters_agreement" in line for line in of_kind(system, "positives")] == [False, True]
    rates = [line["learning_rate"] for line in of_kind(system, "epoch")]
    assert rates == pytest.approx([0.003 * 0.95**3, 0.003 * 0.95**4])


@pytest.mark.parametrize(("log_steps", "steps"), [(1, range(1, 10)), (2, [2, 4, 6, 8]), (4, [4, 8]), (10, [])])
def test_one_log_line_per_so_many_steps(workspace, caplog, log_steps, steps):
    with caplog.at_level("INFO"):
        train.main(workspace.options("x", f"training.log_steps={log_steps}"))
    assert [line["step"] for line in of_kind(workspace.systems / "x", "step")] == list(steps)
    assert sum("kind=step" in record.getMessage() for record in caplog.records) == len(steps)
    said = (workspace.systems / "x" / "train.log").read_text()
    assert said.count("kind=step") == len(steps) and said.count("kind=epoch") == 3


def test_the_mean_of_the_lines_is_that_of_the_epoch(workspace):
    train.main(workspace.options("x", "training.log_steps=1"))
    for epoch in of_kind(workspace.systems / "x", "epoch"):
        losses = [line["loss"] for line in of_kind(workspace.systems / "x", "step") if line["epoch"] == epoch["epoch"]]
        assert epoch["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_how_often_a_checkpoint_is_written_and_lines_are_logged_changes_no_number(workspace, stage4, assert_same):
    train.main(workspace.options("x", "training.checkpoint_minutes=99", "training.log_steps=7"))
    found, expected = (checkpoints.read(s / "checkpoints" / "latest.pt") for s in (workspace.systems / "x", stage4))
    for name in ("model", "optimiser", "step", "epoch"):
        assert_same(found[name], expected[name])


def test_workers_that_read_audio_change_no_number(workspace, stage4, assert_same):
    train.main(workspace.options("x", "training.loader_workers=2"))
    found, expected = (checkpoints.read(s / "checkpoints" / "latest.pt") for s in (workspace.systems / "x", stage4))
    assert_same(found["model"], expected["model"])


@pytest.mark.parametrize("positives", ["ssps_kmeans", "ssps_knn", "ssps_live_knn", "same_speaker_queue"])
def test_a_sampler_s_file_is_never_overwritten_by_another_state(workspace, stage4, monkeypatch, positives):
    """Else a kill in between would leave a checkpoint that names a file of another checksum."""
    saved = []
    save = checkpoints.CheckpointFolder.save

    def watched(folder, state, sampler_state):
        save(folder, state, sampler_state)
        written = checkpoints.read(folder.folder / "latest.pt")
        saved.append((written["samplers"][0]["file"], state["epoch"], state["step_in_epoch"], state["passed"]))

    monkeypatch.setattr(checkpoints.CheckpointFolder, "save", watched)
    train.main(workspace.options("x", positives=positives, base=stage4))
    assert len({name for name, *_ in saved}) == len(saved)
    passes = [passed for _, epoch, step, passed in saved if (epoch, step) == (3, 0)]
    assert passes == [5, 10, 14, 18], "one checkpoint for each batch of a pass"
    later = [passed for _, epoch, step, passed in saved if (epoch, step) == (4, 0)]
    assert later == ([0, 5, 10, 14, 18] if positives == "ssps_live_knn" else [0])


def poison(monkeypatch, step, value):
    """From the given step of a process on (from 1) the loss is multiplied by `value`."""
    steps = []
    loss = SimCLR.loss

    def poisoned(self, *arguments):
        steps.append(1)
        return loss(self, *arguments) * (value if len(steps) >= step else 1.0)

    monkeypatch.setattr(SimCLR, "loss", poisoned)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("minutes", "saved"), [(0.0, 4), (99.0, 3)])
def test_a_loss_that_is_no_number_stops_the_run_and_nothing_is_saved_after(
    workspace, monkeypatch, value, minutes, saved
):
    poison(monkeypatch, 5, value)
    with pytest.raises(NonFiniteLoss, match=r"in epoch 2, at step . .*lower optimisation.learning_rate") as caught:
        train.main(workspace.options("x", f"training.checkpoint_minutes={minutes}"))
    assert "\n" not in str(caught.value)
    system = workspace.systems / "x"
    state = checkpoints.read(system / "checkpoints" / "latest.pt")
    assert state["step"] == saved
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())
    assert checkpoints.CheckpointFolder(system).epochs() == [0, 1]
    assert all(math.isfinite(line["loss"]) for line in lines(system))


def test_the_run_goes_on_from_before_once_the_cause_is_gone(workspace, stage4, monkeypatch, assert_same):
    with monkeypatch.context() as broken:
        poison(broken, 5, math.nan)
        assert logs.run_command(train.main, workspace.options("x")) == 1
    assert logs.run_command(train.main, workspace.options("x")) == 0
    found, expected = (checkpoints.read(s / "checkpoints" / "latest.pt") for s in (workspace.systems / "x", stage4))
    assert_same(found["model"], expected["model"])


def test_weights_that_are_no_numbers_are_not_saved_though_the_loss_was_one(workspace, monkeypatch):
    """An infinite gradient breaks the weights one step before the loss shows it."""

    def break_gradient(self, progress):
        if progress.epochs >= 1.5:
            next(self.parameters()).grad.fill_(math.inf)

    monkeypatch.setattr(SimCLR, "after_backward", break_gradient)
    with pytest.raises(NonFiniteLoss):
        train.main(workspace.options("x"))
    state = checkpoints.read(workspace.systems / "x" / "checkpoints" / "latest.pt")
    assert state["step"] == 5 and all(torch.isfinite(tensor).all() for tensor in state["model"].values())


def test_a_huge_learning_rate_is_a_user_s_mistake_in_one_line(workspace, caplog):
    words = workspace.options("x", "optimisation.learning_rate=1e20", "training.epochs=20")
    assert logs.run_command(train.main, words) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1 and "The loss is" in errors[0]


def test_bf16_trains_to_nearly_the_same_loss(workspace, stage4):
    train.main(workspace.options("x", "training.precision=bf16"))
    exact, rounded = (of_kind(system, "epoch")[0]["loss"] for system in (stage4, workspace.systems / "x"))
    assert rounded != exact and rounded == pytest.approx(exact, rel=0.3)
