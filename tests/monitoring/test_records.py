import json
import logging

import pytest
import torch

from sslsv_tk.monitoring.records import RunningMeans, RunRecords, line

CPU = torch.device("cpu")


def lines(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def test_means_are_of_the_steps_since_they_were_cleared():
    means = RunningMeans(CPU)
    assert means.means() == {}
    for loss in (1.0, 2.0, 6.0):
        means.add({"loss": torch.tensor(loss, requires_grad=True), "entropy": torch.tensor(2 * loss)})
    assert means.means() == {"loss": 3.0, "entropy": 6.0} and means.count == 3
    means.clear()
    means.add({"loss": torch.tensor(5.0)})
    assert means.means() == {"loss": 5.0}


def test_means_go_on_after_a_checkpoint_as_if_there_had_been_none(tmp_path):
    values = torch.rand(20, generator=torch.Generator().manual_seed(0)).tolist()
    whole, first = RunningMeans(CPU), RunningMeans(CPU)
    for value in values:
        whole.add({"loss": torch.tensor(value)})
    for value in values[:7]:
        first.add({"loss": torch.tensor(value)})
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = RunningMeans(CPU)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for value in values[7:]:
        second.add({"loss": torch.tensor(value)})
    assert second.means() == whole.means()


def test_sums_of_many_steps_keep_single_precision_numbers_exact():
    means = RunningMeans(CPU)
    for value in (1e8, 1.0, -1e8):
        means.add({"loss": torch.tensor(value)})
    assert means.means()["loss"] == pytest.approx(1 / 3)


def test_lines_after_the_checkpoint_are_cut_off(tmp_path):
    records = RunRecords(tmp_path, 0, 0)
    records.write({"kind": "step", "loss": 1.5}, 2)
    kept = records.bytes_written()
    records.write({"kind": "step", "loss": 2.5}, 4)
    records.close()
    again = RunRecords(tmp_path, kept, 2)
    again.write({"kind": "epoch", "loss": 3.5}, 4)
    assert again.bytes_written() == (tmp_path / "metrics.jsonl").stat().st_size
    again.close()
    assert lines(tmp_path) == [{"step": 2, "kind": "step", "loss": 1.5}, {"step": 4, "kind": "epoch", "loss": 3.5}]


def test_half_a_line_of_a_killed_run_is_cut_off(tmp_path):
    records = RunRecords(tmp_path, 0, 0)
    records.write({"kind": "step", "loss": 1.5}, 2)
    kept = records.bytes_written()
    records.close()
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "kin')
    RunRecords(tmp_path, kept, 2).close()
    assert len(lines(tmp_path)) == 1


def test_a_file_shorter_than_at_the_checkpoint_is_said_and_kept(tmp_path, caplog):
    records = RunRecords(tmp_path, 0, 0)
    records.write({"kind": "step", "loss": 1.5}, 2)
    records.close()
    with caplog.at_level(logging.WARNING):
        again = RunRecords(tmp_path, 1000, 5)
    again.write({"kind": "step", "loss": 0.5}, 6)
    again.close()
    assert "shorter than at the checkpoint" in caplog.text
    assert [number["step"] for number in lines(tmp_path)] == [2, 6]


def test_tensorboard_has_the_numbers_and_forgets_what_came_after_the_checkpoint(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    records = RunRecords(tmp_path, 0, 0)
    for step in (1, 2, 3):
        records.write({"kind": "step", "loss": float(step)}, step)
    records.close()
    again = RunRecords(tmp_path, 0, 1)
    again.write({"kind": "step", "loss": 20.0}, 2)
    again.close()
    found = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("step/loss")] == [(1, 1.0), (2, 20.0)]


def test_a_log_line_has_names_and_four_digits():
    numbers = {"kind": "step", "step": 12000, "loss": 3.14159265, "learning_rate": 0.00095}
    assert line(numbers) == "kind=step step=12000 loss=3.142 learning_rate=0.00095"
