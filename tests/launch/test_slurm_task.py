"""What runs on a node: the command, signals, the exit record, back into the queue."""

import signal
import socket
from pathlib import Path

import pytest
from slurm_cluster import program

from sslsv_tk.launch._slurm import records, task


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def slurm_task(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment that Slurm gives to task 3 of array 5."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield Path("x.log.slurm")
    for number, handler in before.items():
        signal.signal(number, handler)


def run_task(folder: Path, *words: str) -> int:
    return task.main([str(folder), "1", "1", "1", "JOB", *words])


def test_a_task_leaves_how_it_ended(slurm_task: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_task(slurm_task, "bash", "-c", "echo JOB; exit 4") == 4
    assert records.read_exit(slurm_task, "5", 3) == records.Exit(4, False)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "# command: bash -c 'echo 3; exit 4'"
    assert lines[4] == "3"
    assert "exit code 4" in lines[5]


def test_a_command_that_cannot_start_is_named(slurm_task: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_task(slurm_task, "no-such-command") == 127
    assert "no-such-command: No such file or directory" in capfd.readouterr().out


def test_signals_reach_the_command(slurm_task: Path) -> None:
    listen = "trap 'echo got >got; exit 5' USR1; kill -USR1 $PPID; while true; do sleep 0.05; done"
    assert run_task(slurm_task, "bash", "-c", listen) == 5
    assert Path("got").exists()


def test_a_task_that_saved_its_state_calls_requeue_for_itself(
    slurm_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("scontrol", 'echo "$@" >>calls; [ $1 != requeue ] || exit 1; echo JobState=RUNNING', monkeypatch)
    assert run_task(slurm_task, "bash", "-c", "trap 'exit 75' USR1; kill -USR1 $PPID; sleep 5 & wait") == 75
    assert Path("calls").read_text() == "show job -o 5_3\nrequeue 5_3\n"
    assert records.read_exit(slurm_task, "5", 3) == records.Exit(75, True), "refused: the launcher does it"


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PREEMPTED"])
def test_a_task_that_is_not_running_any_more_is_not_put_back(
    state: str, slurm_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("scontrol", f'echo "$@" >>calls; echo JobState={state}', monkeypatch)
    assert run_task(slurm_task, "bash", "-c", "exit 75") == 75
    assert "requeue" not in Path("calls").read_text()
    assert records.read_exit(slurm_task, "5", 3) == records.Exit(75, False)


@pytest.mark.parametrize("fault", ["echo 'error: Munge encode failed' >&2; exit 1", "rm $0; exit 1"])
def test_where_the_scheduler_does_not_say_the_launcher_puts_it_back(
    fault: str, slurm_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "REQUEUE_SECONDS", 0.1)
    monkeypatch.setattr(task, "REQUEUE_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(task.requeue, "__defaults__", (lambda _: None,))
    program("scontrol", fault, monkeypatch)
    assert run_task(slurm_task, "bash", "-c", "trap 'exit 75' USR1; kill -USR1 $PPID; sleep 5 & wait") == 75
    assert records.read_exit(slurm_task, "5", 3) == records.Exit(75, True)
    assert run_task(slurm_task, "bash", "-c", "exit 75") == 75
    assert records.read_exit(slurm_task, "5", 3) == records.Exit(75, False), "it was not asked to stop"


def test_the_exit_record_is_written_before_the_task_may_be_ended(
    slurm_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("scontrol", "[ $1 != requeue ] || cp x.log.slurm/exit.5.3.json seen; echo JobState=RUNNING", monkeypatch)
    monkeypatch.setattr(task.requeue, "__defaults__", (lambda _: None,))
    run_task(slurm_task, "bash", "-c", "trap 'exit 75' USR1; kill -USR1 $PPID; sleep 5 & wait")
    assert '"again": true' in Path("seen").read_text()


def test_a_task_that_stops_unasked_is_put_back_only_so_often(slurm_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("scontrol", "echo JobState=RUNNING", monkeypatch)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(task.UNASKED_RESTARTS))
    assert not task.may_run_again(task.read([str(slurm_task), "1", "1", "1", "JOB", "true"]), was_asked=False)
    assert task.may_run_again(task.read([str(slurm_task), "1", "1", "1", "JOB", "true"]), was_asked=True)


def test_the_port_follows_from_the_job_and_is_free() -> None:
    port = task.free_port(123456)
    assert task.free_port(123456) == port
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        assert task.free_port(123456) != port
    assert task.FIRST_PORT <= port < task.FIRST_PORT + task.PORTS
