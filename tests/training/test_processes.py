"""Several processes that train one system: the numbers of one process, and nothing lost when one of them dies."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import gated_run
import process_group
import pytest
import small_corpus
import torch
from process_group import Together
from small_settings import SYNCHRONISED, method_words

from sslsv_tk.distributed import heartbeat, processes
from sslsv_tk.launch import _processes
from sslsv_tk.launch.base import RUN_AGAIN
from sslsv_tk.monitoring.step_times import PARTS

PLAIN = ("optimisation.optimiser=sgd", "optimisation.learning_rate=0.00001")
"""Steps so small that batches of 6 do not amplify a last bit; tests/nn/test_batch_norm.py compares the gradients."""
PAIRS = ("training.batch_size=6",)
TIMES = {"seconds", *(f"{part}_seconds" for part in PARTS)}
LOCAL = {"queue_age"}
"""The mean over the processes of what each found in its own rows."""


def settings_of(method: str) -> list[str]:
    """The words after --set that make the small system one of this method."""
    smaller = ["optimisation.learning_rate=0.000001"] if method == "barlow_twins" else []  # a loss of 30, not of 1
    return [*method_words(method), *PLAIN, *smaller, *PAIRS]


def lines(system: Path, kind: str) -> list[dict[str, float]]:
    """The numbers of a kind that a run logged."""
    found = [json.loads(line) for line in (system / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def weights(system: Path) -> dict[str, torch.Tensor]:
    """Of the last epoch."""
    return torch.load(system / "checkpoints/3epoch.pt", weights_only=True)["model"]


@pytest.mark.parametrize("method", SYNCHRONISED)
def test_two_processes_train_what_one_trains(workspace, tmp_path, method):
    """The batch, its normalisation, negatives and gradients are those of one process with all of it."""
    settings = settings_of(method)
    assert gated_run.train(workspace.options("one", *settings)) == 0
    assert process_group.train(2, workspace.options("two", *settings), tmp_path / "said") == [0, 0]
    for one, two in zip(
        lines(workspace.systems / "one", "epoch"), lines(workspace.systems / "two", "epoch"), strict=True
    ):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3, abs=1e-4), "in every epoch"
    before, after = weights(workspace.systems / "one"), weights(workspace.systems / "two")
    for name, tensor in before.items():
        torch.testing.assert_close(
            after[name], tensor, rtol=1e-3, atol=3e-4, msg=name
        )  # last bits grow where a value hardly varies


def test_moco_exchanges_rows_and_trains(workspace, tmp_path, outcome):
    """Its batch norms see other rows than one process would, on purpose, so that only the course can be compared."""
    settings = settings_of("moco")
    assert gated_run.train(workspace.options("one", *settings)) == 0
    assert process_group.train(2, workspace.options("two", *settings), tmp_path / "said") == [0, 0]
    one, two = (lines(workspace.systems / name, "epoch")[-1]["loss"] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=0.2) and two != one


@pytest.fixture(scope="module")
def stage4_of_two(inputs, tmp_path_factory):
    """A system after stage 4 with two processes, without a disturbance."""
    from train_options import options

    folder = tmp_path_factory.mktemp("two")
    assert process_group.train(2, options(inputs, folder / "ssl", *PAIRS), folder / "said") == [0, 0]
    return folder / "ssl"


@pytest.mark.parametrize("positives", [name for name in small_corpus.POSITIVES if name != "same_utterance"])
def test_two_processes_choose_the_positives_of_one(workspace, tmp_path, stage4_of_two, positives):
    """Over two epochs of stage 5, with queues that wrap and a pass whose last batch is not even."""
    settings = {"positives": positives, "base": stage4_of_two}
    words = ("training.batch_size=6", "training.log_steps=1", "optimisation.learning_rate=0.00001")
    assert gated_run.train(workspace.options("one", *words, **settings)) == 0
    assert process_group.train(2, workspace.options("two", *words, **settings), tmp_path / "said") == [0, 0]
    for kind in ("positives", "step", "epoch"):
        for one, two in zip(
            lines(workspace.systems / "one", kind), lines(workspace.systems / "two", kind), strict=True
        ):
            for name in one.keys() - TIMES - LOCAL - {"kind"}:
                assert two[name] == pytest.approx(one[name], rel=2e-3, abs=1e-4), (kind, name)


@pytest.mark.parametrize("worlds", [(2, 2), (3, 1, 2)], ids=["the same", "another"])
def test_stage_5_goes_on_with_shards_of_any_number_of_processes(
    workspace, tmp_path, stage4_of_two, outcome, assert_same, worlds
):
    settings = {"positives": "ssps_kmeans", "base": stage4_of_two}
    long = (*PAIRS, "training.continued_epochs=6", "training.log_steps=1", "training.checkpoint_minutes=1000")
    assert process_group.train(2, workspace.options("whole", *long, **settings), tmp_path / "said") == [0, 0]
    words = workspace.options("stopped", *long, **settings)
    for world in worlds:
        group = Together(world, words, tmp_path / "said")
        group.wait_until(lambda group=group: "kind=step" in group.said(0))
        group.send(world - 1, signal.SIGTERM)
        assert set(group.wait()) == {RUN_AGAIN}
    assert process_group.train(2, words, tmp_path / "said") == [0, 0]
    if set(worlds) == {2}:
        assert_same(outcome(workspace.systems / "stopped"), outcome(workspace.systems / "whole"))
    epochs = [lines(workspace.systems / name, "epoch") for name in ("whole", "stopped")]
    for whole, stopped in zip(*epochs, strict=True):
        assert stopped["coverage"] == pytest.approx(whole["coverage"], abs=0.06)
        assert stopped["loss"] == pytest.approx(whole["loss"], rel=0.05)


def steps_done(system: Path) -> int:
    """Of the newest checkpoint, 0 before the first."""
    names = [path.name.split("-")[1] for path in (system / "checkpoints").glob("sampler-*-0of2.pt")]
    return max(map(int, names), default=0)


def test_a_killed_process_ends_the_other_and_the_next_run_goes_on_exactly(
    workspace, tmp_path, stage4_of_two, outcome, assert_same
):
    chance, system = random.Random("killed"), workspace.systems / "ssl"
    words = workspace.options("ssl", *PAIRS)
    for _ in range(3):
        group, seen = Together(2, words, tmp_path / "said"), steps_done(system)
        more = chance.randrange(1, 3)
        group.wait_until(lambda seen=seen, more=more: steps_done(system) >= min(seen + more, 8))
        victim = chance.randrange(2)
        group.send(victim, signal.SIGKILL)
        codes = group.wait()
        assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1
        errors = [line for line in group.said(1 - victim).splitlines() if "error:" in line]
        assert len(errors) == 1 and "another process ended" in errors[0] and "Traceback" not in group.said(1 - victim)
    assert process_group.train(2, words, tmp_path / "said") == [0, 0]
    assert_same(outcome(system), outcome(stage4_of_two))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_request_to_stop_saves_the_state_and_asks_to_be_run_again(
    workspace, tmp_path, stage4_of_two, outcome, assert_same, number
):
    """It comes to one process only, and all end after the same step."""
    system, words = workspace.systems / "ssl", workspace.options("ssl", *PAIRS, "training.checkpoint_minutes=1000")
    group = Together(2, words, tmp_path / "said")
    group.wait_until(lambda: "kind=step" in group.said(0))
    group.send(1, number)
    assert group.wait() == [RUN_AGAIN, RUN_AGAIN]
    assert "the next run goes on from there" in group.said(0)
    assert process_group.train(2, words, tmp_path / "said") == [0, 0]
    assert_same(outcome(system), outcome(stage4_of_two))


def test_a_request_to_all_processes_of_a_job_reaches_its_loaders_too(workspace):
    """As Slurm makes it, and the launcher on one machine; torch lets a loader die of it, and the training with it."""
    words = workspace.options("ssl", "training.epochs=1000", "training.loader_workers=2", "training.log_steps=1")
    command = [sys.executable, "-m", "sslsv_tk.bin.train", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as training:
        assert training.stderr is not None
        said = next(line for line in training.stderr if "kind=step" in line)
        os.killpg(training.pid, signal.SIGTERM)
        said += training.stderr.read()
    assert training.returncode == RUN_AGAIN, said
    assert "the next run goes on from there" in said and "Traceback" not in said


def test_a_request_that_comes_while_torch_is_loaded_is_not_lost(workspace):
    """It is noted from the first moment on, and training ends after its first step."""
    words = [sys.executable, "-m", "sslsv_tk.bin.train", *workspace.options("ssl", *PAIRS, "training.epochs=1000")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as training:
        assert training.stderr is not None
        assert "(train) train" in training.stderr.readline(), "its own command, said before anything is loaded"
        while "SigCgt" not in (status := Path(f"/proc/{training.pid}/status").read_text()) or not is_caught(status):
            time.sleep(0.01)
        training.send_signal(signal.SIGUSR1)
        said = training.stderr.read()
    assert training.returncode == RUN_AGAIN, said
    assert steps_of_one(workspace.systems / "ssl") == 1


def is_caught(status: str) -> bool:
    """Does a process handle SIGUSR1 by now?"""
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGUSR1 - 1) & 1)


def steps_of_one(system: Path) -> int:
    """Of the newest checkpoint of one process."""
    return torch.load(system / "checkpoints/latest.pt", weights_only=True)["step"]


def test_another_number_of_processes_goes_on(workspace, tmp_path):
    words = workspace.options("ssl", *PLAIN, *PAIRS)
    assert gated_run.train(workspace.options("one", *PLAIN, *PAIRS)) == 0
    for world in (2, 3):
        group = Together(world, words, tmp_path / "said")
        group.wait_until(lambda group=group: "kind=epoch" in group.said(0))
        group.send(0, signal.SIGTERM)
        assert set(group.wait()) == {RUN_AGAIN}
    assert gated_run.train(words) == 0
    for one, mixed in zip(
        lines(workspace.systems / "one", "epoch"), lines(workspace.systems / "ssl", "epoch"), strict=True
    ):
        assert mixed["loss"] == pytest.approx(one["loss"], rel=1e-3)


def test_a_mistake_is_told_once_and_ends_all(workspace, tmp_path):
    """A batch of 5 cannot be halved."""
    group = Together(2, workspace.options("ssl", "training.batch_size=5"), tmp_path / "said")
    assert group.wait() == [1, 1]
    said = group.said(0) + group.said(1)
    assert said.count("cannot be shared out evenly among 2 processes") == 1 and "Traceback" not in said


@pytest.mark.parametrize("silent", [0, 1])
def test_a_process_that_hangs_ends_the_others_with_one_line(workspace, tmp_path, silent):
    """It holds its connections open, so that no collective fails."""
    words = workspace.options("ssl", *PAIRS, "training.epochs=1000")
    group = Together(2, words, tmp_path / "said", silent_seconds=4.0)
    group.wait_until(lambda: "kind=step" in group.said(0))
    group.send(silent, signal.SIGSTOP)
    other = 1 - silent
    group.processes[other].join(process_group.LIMIT_SECONDS)
    assert group.processes[other].exitcode == 1
    errors = [line for line in group.said(other).splitlines() if "error:" in line]
    assert len(errors) == 1 and f"process {silent} " in errors[0] and "Traceback" not in group.said(other)
    group.processes[silent].kill()


def test_who_has_not_come_yet_is_not_lost_but_who_falls_silent_is(monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.0)
    store = torch.distributed.HashStore()
    first = heartbeat.Heartbeat(store, 0, 3)
    assert [first._beat(), first._beat()] == [None, None]
    store.add("beats/2", 1)
    assert first._beat() is None, "heard of for the first time"
    assert first._beat().startswith("process 2 of 3 has not been heard of")


def test_a_process_is_heard_of_as_soon_as_it_has_come():
    store = torch.distributed.HashStore()
    second = heartbeat.Heartbeat(store, 1, 2)
    second.start()
    second.stop()
    assert store.add("beats/1", 0) == 1, "long before its first round has ended"


def test_processes_that_were_suspended_together_go_on(workspace, tmp_path):
    """As a scheduler may do with a job: nobody was heard of for longer than is allowed."""
    words = workspace.options("ssl", *PAIRS, "training.epochs=1000")
    group = Together(2, words, tmp_path / "said", silent_seconds=2.0)
    group.wait_until(lambda: "kind=step" in group.said(0))
    for number, seconds in ((signal.SIGSTOP, 3.0), (signal.SIGCONT, 1.0)):  # the second: several rounds of beats
        for rank in range(2):
            group.send(rank, number)
        time.sleep(seconds)
    steps = group.said(0).count("kind=step")
    group.wait_until(lambda: group.said(0).count("kind=step") > steps)
    group.send(0, signal.SIGTERM)
    assert group.wait() == [RUN_AGAIN, RUN_AGAIN]


def test_a_validation_list_may_have_fewer_utterances_than_there_are_processes(workspace, inputs, tmp_path):
    trials = tmp_path / "trials"
    trials.write_text("t0-rec0-00000 t0-rec2-00000 target\nt0-rec2-00000 t0-rec0-00000 nontarget\n")
    validation = ["--validation-data", str(inputs / "test"), "--validation-trials", str(trials)]
    words = workspace.options("ssl", *PAIRS, "training.validation_epochs=3")
    cut = words.index("--set")
    assert process_group.train(3, [*words[:cut], *validation, *words[cut:]], tmp_path / "said") == [0, 0, 0]
    assert len(lines(workspace.systems / "ssl", "validation")) == 1


def test_a_process_that_never_comes_is_named(monkeypatch):
    monkeypatch.setattr(processes, "MEETING_SECONDS", 0.5)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    for name, value in {
        "RANK": 0,
        "WORLD_SIZE": 2,
        "LOCAL_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }.items():
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(processes.LostProcess, match="for all 2 processes to meet"),
        processes.together(torch.device("cpu")),
    ):
        pass


def run_processes(count: int, script: str) -> "subprocess.CompletedProcess[str]":
    """A script in several processes that the command starts; what it says it says in one write, not to be mixed."""
    words = ["-m", "sslsv_tk.bin.run_processes", "--processes", str(count), sys.executable, "-c", script]
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=process_group.LIMIT_SECONDS)


def test_the_started_processes_share_the_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    found = run_processes(2, "import os; os.write(1, (os.environ['OMP_NUM_THREADS'] + '\\n').encode())")
    assert found.stdout.split() == ["2", "2"]


def test_the_started_processes_know_their_ranks():
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")
    script = f"import os; os.write(1, (' '.join(os.environ[name] for name in {names}) + '\\n').encode())"
    found = run_processes(3, script)
    assert found.returncode == 0
    assert sorted(found.stdout.splitlines()) == [f"{rank} {rank} 3 127.0.0.1" for rank in range(3)]


@pytest.mark.parametrize("count", [1, 2])
def test_torchrun_starts_training_too(workspace, tmp_path, stage4_of_two, outcome, count):
    """A group of one is a group."""
    words = workspace.options("ssl", *PAIRS)
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(count),
        "-m",
        "sslsv_tk.bin.train",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *torchrun, *words], check=True, env=environment, timeout=process_group.LIMIT_SECONDS
    )
    found, expected = outcome(workspace.systems / "ssl"), outcome(stage4_of_two)
    assert found["latest"]["step"] == expected["latest"]["step"]
    assert f"processes: {count}" in (workspace.systems / "ssl/environment.txt").read_text()


def test_a_later_process_that_fails_is_noticed_while_the_first_one_runs(monkeypatch, caplog):
    monkeypatch.setattr(_processes, "GRACE_SECONDS", 0.2)
    script = "import os, sys, time; sys.exit(4) if os.environ['RANK'] == '1' else time.sleep(600)"
    before = {number: signal.getsignal(number) for number in _processes.HANDED_ON}
    try:
        assert _processes.run([sys.executable, "-c", script], 2) == 4
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "process 1: 4 (exit status" in caplog.text


def test_a_process_that_does_not_end_even_by_force_is_left_behind(monkeypatch, caplog):
    """As one that hangs in a read of a disk that does not answer."""
    monkeypatch.setattr(_processes, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(_processes, "HANGING_SECONDS", 0.1)
    hangs = subprocess.Popen(["sleep", "300"])
    kill = hangs.kill
    monkeypatch.setattr(hangs, "kill", lambda: None)
    assert _processes._wait([hangs, subprocess.Popen(["bash", "-c", "exit 7"])]) == 7
    assert caplog.text.count("process 1: 7") == 1
    kill()
    hangs.wait()


@pytest.mark.parametrize("code", [3, RUN_AGAIN])
def test_the_first_failure_is_the_status_of_all(code):
    script = f"import os, sys, time; sys.exit({code}) if os.environ['RANK'] == '1' else time.sleep(1)"
    assert run_processes(2, script).returncode == code


def test_a_killed_one_is_told_as_shells_do():
    assert (
        run_processes(2, "import os; os.kill(os.getpid(), 9) if os.environ['RANK'] == '0' else None").returncode == 137
    )


def test_signals_are_handed_on_and_the_starter_waits(tmp_path):
    script = (
        "import os, signal, sys, time, pathlib\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        f"signal.signal(signal.SIGUSR1, lambda *_: sys.exit({RUN_AGAIN}))\n"
        "(here / os.environ['RANK']).touch()\n"
        "time.sleep(120)"
    )
    words = ["-m", "sslsv_tk.bin.run_processes", "--processes", "2", sys.executable, "-c", script]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE) as starter:
        while not all((tmp_path / str(rank)).exists() for rank in range(2)):
            assert starter.poll() is None
            time.sleep(0.05)
        starter.send_signal(signal.SIGUSR1)
        assert starter.wait(process_group.LIMIT_SECONDS) == RUN_AGAIN


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, (0, 1, 0)),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, (5, 8, 1)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}, (2, 4, 0)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}, (0, 1, 0)),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
            (1, 2, 1),
        ),
    ],
    ids=["nothing", "torchrun", "srun", "a batch script", "torchrun in a task of srun"],
)
def test_ranks_come_from_the_environment(environment, found):
    own = processes.ranks(environment)
    assert (own.rank, own.world, own.local_rank) == found


@pytest.mark.parametrize("environment", [{"RANK": "0"}, {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}])
def test_half_an_environment_is_refused(environment):
    with pytest.raises(ValueError, match=r"WORLD_SIZE|expected a rank"):
        processes.ranks(environment)
