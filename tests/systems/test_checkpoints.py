import logging
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslsv_tk.stamps import stamp_in, stamp_of
from sslsv_tk.systems import checkpoints, listed
from sslsv_tk.systems.checkpoints import CheckpointFolder, DamagedCheckpoint


def save(folder: CheckpointFolder, step: int, passed: int = 0) -> None:
    folder.save({"step": step, "passed": passed, "value": torch.full((3,), float(step))}, {"queue": torch.arange(step)})


def read_newest(folder: CheckpointFolder):
    """As the loop does: choose, then read."""
    name = folder.newest()
    return None if name is None else folder.read_whole(name)


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(path.name for path in folder.folder.iterdir() if path.name != listed.NAME)


def test_two_generations_are_kept_with_their_sampler_files(tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert read_newest(folder) is None
    for step in (1, 2, 3, 5):
        save(folder, step)
    assert names(folder) == ["latest.pt", "previous.pt", "sampler-3-0.pt", "sampler-5-0.pt"]
    state, (sampler,) = read_newest(CheckpointFolder(tmp_path))
    assert state["step"] == 5 and state["value"].tolist() == [5, 5, 5]
    assert sampler["queue"].tolist() == [0, 1, 2, 3, 4]


def test_the_same_step_may_be_saved_twice(tmp_path):
    """In a pass over the training set the step stands still; its end may save what was just saved."""
    folder = CheckpointFolder(tmp_path)
    save(folder, 0, passed=4)
    save(folder, 0, passed=8)
    save(folder, 0, passed=8)
    state, _ = read_newest(CheckpointFolder(tmp_path))
    assert state["passed"] == 8
    os.truncate(folder.folder / "latest.pt", 10)
    state, _ = read_newest(CheckpointFolder(tmp_path))
    assert state["passed"] == 8


@pytest.mark.parametrize("keep", [0, 1, 100, -1], ids=["empty", "one byte", "cut", "last byte missing"])
def test_a_damaged_latest_falls_back_to_the_one_before_and_says_so(tmp_path, caplog, keep):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    save(folder, 2)
    latest = folder.folder / "latest.pt"
    os.truncate(latest, keep if keep >= 0 else latest.stat().st_size + keep)
    with caplog.at_level(logging.WARNING):
        state, (sampler,) = read_newest(CheckpointFolder(tmp_path))
    assert state["step"] == 1 and len(sampler["queue"]) == 1
    assert f"{latest}: not a checkpoint that can be read" in caplog.text
    assert "going on from previous.pt, the checkpoint before (step 1)" in caplog.text


def test_going_on_from_the_one_before_keeps_its_sampler_file_until_it_is_not_needed(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    save(folder, 2)
    os.truncate(folder.folder / "latest.pt", 5)
    again = CheckpointFolder(tmp_path)
    read_newest(again)
    save(again, 2)
    assert {"sampler-1-0.pt", "sampler-2-0.pt"} <= set(names(again))
    assert read_newest(again)[0]["step"] == 2
    assert checkpoints.read(folder.folder / "previous.pt")["step"] == 1, "the damaged one does not take its place"


@pytest.mark.parametrize("fault", ["changed", "missing", "of another step"])
def test_a_sampler_file_that_is_not_the_one_named_is_noticed(tmp_path, caplog, fault):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    save(folder, 2)
    sampler = folder.folder / "sampler-2-0.pt"
    if fault == "missing":
        sampler.unlink()
    elif fault == "changed":
        contents = bytearray(sampler.read_bytes())
        contents[len(contents) // 2] ^= 1
        sampler.write_bytes(contents)
    else:
        sampler.write_bytes((folder.folder / "sampler-1-0.pt").read_bytes())
    state, _ = read_newest(CheckpointFolder(tmp_path))
    assert state["step"] == 1
    assert "sampler-2-0.pt: not" in caplog.text


def test_with_both_damaged_the_run_stops_and_names_them(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    save(folder, 2)
    for name in ("latest.pt", "previous.pt"):
        os.truncate(folder.folder / name, 7)
    with pytest.raises(DamagedCheckpoint, match=r"latest\.pt.*previous\.pt.*Restore one of the files, or train anew"):
        read_newest(CheckpointFolder(tmp_path))


def test_a_damaged_checkpoint_has_another_time_than_its_stamp(tmp_path):
    checkpoints.write(tmp_path / "x.pt", {"model": torch.arange(100)})
    before = (tmp_path / "x.pt").stat()
    with open(tmp_path / "x.pt", "r+b") as stream:
        stream.seek(before.st_size // 2)
        stream.write(b"\xff\x00\xff")
    os.utime(tmp_path / "x.pt", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedCheckpoint):
        checkpoints.read(tmp_path / "x.pt")
    assert stamp_of(tmp_path / "x.pt") != stamp_in(before)


def test_a_first_checkpoint_damaged_is_not_taken_for_a_fresh_start(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    os.truncate(folder.folder / "latest.pt", 7)
    with pytest.raises(DamagedCheckpoint):
        read_newest(CheckpointFolder(tmp_path))


@pytest.mark.parametrize("contents", [[1, 2], torch.zeros(3)])
def test_what_is_no_table_of_states_is_refused(tmp_path, contents):
    torch.save(contents, tmp_path / "x.pt")
    with pytest.raises(DamagedCheckpoint, match="expected a table of states, found"):
        checkpoints.read(tmp_path / "x.pt")


def test_nothing_in_a_checkpoint_is_ever_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"model": Harmful()}, tmp_path / "x.pt")
    with pytest.raises(DamagedCheckpoint):
        checkpoints.read(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("newest", "keep_epochs", "keep_every", "kept"),
    [
        (5, 10, 10, [0, 1, 2, 3, 4, 5]),
        (5, 2, 10, [0, 4, 5]),
        (25, 3, 10, [0, 10, 20, 23, 24, 25]),
        (7, 1, 3, [0, 3, 6, 7]),
        (4, 1, 100, [0, 4]),
    ],
)
def test_the_newest_epochs_and_every_so_manieth_are_kept(tmp_path, newest, keep_epochs, keep_every, kept):
    folder = CheckpointFolder(tmp_path, keep_epochs, keep_every)
    for epoch in range(newest + 1):
        folder.save_epoch(epoch, {"weight": torch.tensor([float(epoch)])})
    assert folder.epochs() == kept
    assert checkpoints.read(folder.path_of(str(newest))) == {"epoch": newest, "model": {"weight": torch.tensor(newest)}}


@pytest.mark.parametrize("which", ["3", "averaged", "best", "../latest", "1.5", ""])
def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(tmp_path, which):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    folder.save_epoch(2, {})
    with pytest.raises(ValueError, match=r"no such checkpoint\. There are: latest, 2\."):
        folder.path_of(which)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_a_table_or_one_line(tmp_path, data):
    checkpoints.write(tmp_path / "a.pt", {"step": 3, "model": {"weight": torch.arange(6.0)}})
    contents = bytearray((tmp_path / "a.pt").read_bytes())
    place = data.draw(st.integers(0, len(contents) - 1))
    kind = data.draw(st.sampled_from(["cut", "changed", "put in", "other"]))
    if kind == "cut":
        del contents[place:]
    elif kind == "changed":
        contents[place] ^= data.draw(st.integers(1, 255))
    else:
        contents[place : place if kind == "put in" else len(contents)] = data.draw(st.binary(max_size=40))
    (tmp_path / "a.pt").write_bytes(contents)
    try:
        found = checkpoints.read(tmp_path / "a.pt")
    except DamagedCheckpoint as error:
        assert str(error).startswith(f"{tmp_path}/a.pt: ") and "\n" not in str(error)
        return
    assert isinstance(found, dict) and kind != "cut"


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=10))
def test_the_average_is_the_mean_in_double_precision(values):
    models = [{"weight": torch.tensor([value, -value])} for value in values]
    mean = sum(float(value) for value in values) / len(values)
    torch.testing.assert_close(
        checkpoints.average(models)["weight"].double(), torch.tensor([mean, -mean]).double(), rtol=1e-6, atol=1e-6
    )


def test_batch_norm_statistics_are_averaged_and_counters_are_of_the_last():
    norm = torch.nn.BatchNorm1d(2)
    models = []
    for number in (1.0, 2.0, 6.0):
        norm.running_mean.fill_(number)
        norm.running_var.fill_(10 * number)
        norm.num_batches_tracked.fill_(int(number))
        models.append({name: tensor.clone() for name, tensor in norm.state_dict().items()})
    mean = checkpoints.average(models)
    assert mean["running_mean"].tolist() == [3, 3] and mean["running_var"].tolist() == [30, 30]
    assert mean["num_batches_tracked"].item() == 6 and mean["num_batches_tracked"].dtype == torch.int64
    assert list(mean) == list(models[0])
    norm.load_state_dict(mean)


def test_the_list_of_epochs_is_that_of_the_files_and_remembers_what_was_deleted(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_epochs=3, keep_every=4)
    for epoch in range(10):
        folder.save_epoch(epoch, {"weight": torch.zeros(1)})
        assert listed.read(folder.folder) == {f"{number}epoch.pt" for number in folder.epochs()}
    assert listed.missing(folder.folder) == [] and folder.epochs() == [0, 4, 7, 8, 9]
    for epoch in (4, 7, 8):
        (folder.folder / f"{epoch}epoch.pt").unlink()
    save(folder, 1)
    for epoch in (10, 11, 12):
        folder.save_epoch(epoch, {"weight": torch.zeros(1)})
    assert listed.missing(folder.folder) == [folder.folder / "4epoch.pt", folder.folder / "8epoch.pt"]
    (folder.folder / "latest.pt").unlink()
    assert folder.folder / "latest.pt" in listed.missing(folder.folder)


def test_a_run_killed_before_old_files_go_has_listed_none_of_them(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, keep_epochs=2, keep_every=10)
    for epoch in (1, 2):
        folder.save_epoch(epoch, {})
    monkeypatch.setattr("pathlib.Path.unlink", lambda *words, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        folder.save_epoch(3, {})
    assert listed.read(folder.folder) == {"2epoch.pt", "3epoch.pt"} and folder.epochs() == [1, 2, 3]


def test_a_damaged_list_is_an_error_and_the_next_epoch_writes_it_anew(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save_epoch(1, {})
    (folder.folder / listed.NAME).write_text((folder.folder / listed.NAME).read_text().replace("1epoch", "2epoch"))
    with pytest.raises(ValueError, match="has other contents than were written"):
        listed.missing(folder.folder)
    folder.save_epoch(2, {})
    assert listed.read(folder.folder) == {"1epoch.pt", "2epoch.pt"}
