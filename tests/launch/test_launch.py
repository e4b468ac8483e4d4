"""The launcher: what a job sees, what a log says, how failures and signals end."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import full_disk
import pytest

from sslsv_tk.launch import _stalled, local
from sslsv_tk.launch.__main__ import main, parse, report
from sslsv_tk.launch.base import JobArray, Outcome, Resources

SLEEPER = ["bash", "-c", "echo $$ >pid.$0; sleep 300 & echo $! >child.$0; wait"]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*words: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "sslsv_tk.launch", "local", *words]
    return subprocess.Popen(command, env=environment, preexec_fn=as_in_the_foreground)


def as_in_the_foreground() -> None:
    """nohup and background jobs ignore these signals, and so would the launcher, which respects that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that must come; the limit only keeps a broken launcher from hanging the tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(pid_file: str) -> bool:
    try:
        os.kill(int(Path(pid_file).read_text()), 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{Path(pid_file).read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def written(*files: str) -> bool:
    return all(Path(file).is_file() and Path(file).read_text().strip() for file in files)


def test_each_job_gets_its_number_in_words_and_log() -> None:
    assert main(["local", "JOB=2:4", "log/x.JOB.log", "echo", "part.JOB", "a b", "--job=JOB", "JOBS", "xJOB"]) == 0
    for number in (2, 3, 4):
        assert f"part.{number} a b --job={number} JOBS xJOB\n" in Path(f"log/x.{number}.log").read_text()
    assert sorted(path.name for path in Path("log").iterdir()) == ["x.2.log", "x.3.log", "x.4.log"]


def test_a_log_begins_with_the_command_and_ends_with_the_exit_code() -> None:
    assert main(["local", "x.log", "bash", "-c", "echo out; echo err >&2"]) == 0
    lines = Path("x.log").read_text().splitlines()
    assert lines[0] == "# command: bash -c 'echo out; echo err >&2'"
    assert lines[1].startswith("# host: ")
    assert re.fullmatch(r"# started: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", lines[2])
    assert lines[3:6] == ["#", "out", "err"]
    assert re.fullmatch(r"# ended: \S+, exit code 0, elapsed \d+\.\d s", lines[6])


def test_no_shell_reads_the_words() -> None:
    assert main(["local", "x.log", "echo", "$(touch ran)", "; touch ran", "*"]) == 0
    assert "$(touch ran) ; touch ran *\n" in Path("x.log").read_text()
    assert not Path("ran").exists()


def test_another_variable_may_count_and_one_number_is_a_range() -> None:
    assert main(["local", "PART=3", "x.PART.log", "echo", "PART", "JOB"]) == 0
    assert "\n3 JOB\n" in Path("x.3.log").read_text()


def test_a_variable_in_braces_is_replaced_and_nothing_that_looks_like_it() -> None:
    words = ["/data/JOB/x", "my_JOB_dir/part.{JOB}", "JOB"]
    assert main(["local", "{JOB}=1:2", "my_JOB_dir/a=b/x.{JOB}.log", "echo", *words]) == 0
    assert "\n/data/JOB/x my_JOB_dir/part.2 JOB\n" in Path("my_JOB_dir/a=b/x.2.log").read_text()
    assert sorted(path.name for path in Path().iterdir()) == ["my_JOB_dir"]


def test_without_a_range_no_word_is_a_variable() -> None:
    assert main(["local", "my_JOB_dir/x.log", "echo", "JOB", "a.JOB"]) == 0
    assert "\nJOB a.JOB\n" in Path("my_JOB_dir/x.log").read_text()


def test_the_logs_of_earlier_attempts_stay_under_names_of_their_own() -> None:
    for text in ("one", "two", "three"):
        assert main(["local", "x.log", "echo", text]) == 0
        assert main(["local", "JOB=1:2", "y.JOB.log", "echo", text]) == 0
    found = {path.name: path.read_text().splitlines()[4] for path in Path().glob("*.log")}
    assert found == {
        "x.log": "three",
        "x.1.log": "one",
        "x.2.log": "two",
        **{f"y.{job}.log": "three" for job in (1, 2)},
        **{f"y.{job}.1.log": "one" for job in (1, 2)},
        **{f"y.{job}.2.log": "two" for job in (1, 2)},
    }
    Path("x.log").write_text("")
    assert main(["local", "x.log", "no-such-command"]) == 1
    assert not Path("x.3.log").exists(), "an empty log says nothing"


def test_failures_are_counted_and_the_first_log_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bash", "-c", "echo job JOB says why; exit $((JOB % 2 * 3))"]
    assert main(["local", "JOB=1:4", "log/x.JOB.log", *command]) == 1
    errors = capsys.readouterr().err
    assert "2 of 4 failed, see log/x.1.log (exit code 3; jobs that failed: 1 3)" in errors
    assert "    job 1 says why" in errors
    assert "# started" not in errors
    assert "exit code 0" in Path("log/x.4.log").read_text(), "the others went on"


def test_a_long_log_is_shown_by_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "x.log", "bash", "-c", "seq 1 100; exit 1"]) == 1
    errors = capsys.readouterr().err
    assert "    100\n" in errors
    assert "    50\n" not in errors


def test_a_command_that_is_not_there_or_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "JOB=1:3", "x.JOB.log", "no-such-command"]) == 1
    assert "3 of 3 failed, see x.1.log (exit code 127" in capsys.readouterr().err
    Path("plain").write_text("text")
    assert main(["local", "y.log", "./plain"]) == 1
    errors = capsys.readouterr().err
    assert "exit code 126" in errors
    assert "Permission denied" in errors


def test_a_job_killed_by_a_signal_says_so() -> None:
    assert main(["local", "x.log", "bash", "-c", "kill -KILL $$"]) == 1
    assert "exit code 137 (SIGKILL)" in Path("x.log").read_text()


def test_threads_and_gpus_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    show = ["bash", "-c", "echo $OMP_NUM_THREADS,$MKL_NUM_THREADS,[$CUDA_VISIBLE_DEVICES]"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    assert main(["local", "cpu.log", *show]) == 0
    assert "\n1,1,[]\n" in Path("cpu.log").read_text()
    assert main(["local", "--num-threads", "2", "--gpu=2", "JOB=1:2", "gpu.JOB.log", *show]) == 0
    assert "\n2,2,[4,5]\n" in Path("gpu.1.log").read_text()
    assert "\n2,2,[4,5]\n" in Path("gpu.2.log").read_text()
    assert main(["local", "--gpu", "1", "JOB=1:6", "one.JOB.log", *show]) == 0
    seen = [re.findall(r"\[(\d)\]\n", Path(f"one.{job}.log").read_text()) for job in range(1, 7)]
    assert {gpu for (gpu,) in seen} <= {"4", "5", "6"}


def test_gpus_that_are_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["local", "--gpu", "1", "x.log", "true"]) == 1
    assert "offers 0 GPUs. The CPU: --gpu 0 (of run.sh: --ngpu 0)" in capsys.readouterr().err


def test_places_follow_cores_memory_gpus_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**22}.__getitem__)  # 16 GiB
    places = local.places_at_a_time
    assert places(Resources(), []) == 8
    assert places(Resources(num_threads=3), []) == 2
    assert places(Resources(num_threads=20), []) == 1
    assert places(Resources(memory_bytes=5 * 2**30), []) == 3
    assert places(Resources(gpus=2), ["0", "1", "2", "3", "4"]) == 2
    assert places(Resources(max_jobs_run=4), []) == 4
    assert places(Resources(max_jobs_run=40), []) == 8
    with pytest.raises(ValueError, match=r"a job wants 17\.0G, this machine has 16\.0G"):
        places(Resources(memory_bytes=17 * 2**30), [])


def test_no_more_jobs_run_at_a_time_than_allowed() -> None:
    count = "touch running.JOB; sleep 0.05; ls | grep -c running; rm running.JOB"
    assert main(["local", "--max-jobs-run", "1", "JOB=1:5", "x.JOB.log", "bash", "-c", count]) == 0
    assert [Path(f"x.{job}.log").read_text().splitlines()[4] for job in range(1, 6)] == ["1"] * 5


def test_a_job_out_of_time_is_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "--time", "0:01", "JOB=1:2", "x.JOB.log", *SLEEPER, "JOB"]) == 1
    assert "its time limit is over" in capsys.readouterr().err
    assert "exit code 143 (SIGTERM)" in Path("x.1.log").read_text()
    until(lambda: not is_alive("child.1"))


def test_a_job_that_ignores_the_request_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.2)
    deaf = "trap '' TERM; while true; do sleep 1; done"
    assert main(["local", "--time", "0:01", "x.log", "bash", "-c", deaf]) == 1
    assert "exit code 137 (SIGKILL)" in Path("x.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_jobs_and_their_children(number: signal.Signals) -> None:
    launcher = start("JOB=1:1", "x.JOB.log", *SLEEPER, "JOB")
    until(lambda: written("pid.1", "child.1"))
    launcher.send_signal(number)
    assert launcher.wait(30) == 2
    assert not is_alive("pid.1")
    until(lambda: not is_alive("child.1"))
    assert "# stopped: the launcher was interrupted" in Path("x.1.log").read_text()


IMPATIENT = "import os, signal, time\nos.kill(os.getpid(), signal.{}); time.sleep(60)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_while_the_launcher_starts_is_no_traceback(number: signal.Signals) -> None:
    Path("argparse.py").write_text(IMPATIENT.format(number.name))  # the first that it imports
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{Path(__file__).parents[2]}"}
    command = [sys.executable, "-m", "sslsv_tk.launch", "local", "x.log", "true"]
    ended = subprocess.run(
        command, env=environment, preexec_fn=as_in_the_foreground, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-number, "", "")
    assert not Path("x.log").exists()


def test_a_second_signal_while_the_first_is_obeyed_is_no_traceback() -> None:
    deaf = "trap '' TERM; echo $$ >pid.1; while true; do sleep 0.2; done"
    command = [sys.executable, "-m", "sslsv_tk.launch", "local", "x.log", "bash", "-c", deaf]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    launcher = subprocess.Popen(
        command, env=environment, preexec_fn=as_in_the_foreground, stderr=subprocess.PIPE, text=True
    )
    until(lambda: written("pid.1"))
    launcher.send_signal(signal.SIGINT)
    until(lambda: "# stopped" in Path("x.log").read_text())
    launcher.send_signal(signal.SIGINT)
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 2
    assert said == "launch: interrupted by SIGINT, jobs stopped, see x.log\n"


@pytest.fixture
def undying(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jobs that no signal reaches, as one that hangs in a read of a disk that does not answer; ended after the test."""
    started = []
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(local, "HANGING_SECONDS", 0.1)
    monkeypatch.setattr(local, "_signal_group", lambda job, _: started.append(job.process))
    yield
    for process in set(started):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.usefixtures("undying")
def test_a_job_that_hangs_does_not_hang_the_launcher(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "--time", "0:01", "JOB=1:2", "x.JOB.log", *SLEEPER, "JOB"]) == 1
    assert "2 of 2 failed, see x.1.log (exit code 137; jobs that failed: 1 2)" in capsys.readouterr().err
    log = Path("x.1.log").read_text()
    assert re.search(r"# process \d+ does not end: it hangs in a read or write of a disk\n# ended: .*\(SIGKILL\)", log)


@pytest.fixture
def hang_up() -> Iterator[None]:
    """SIGHUP means what it does, also where the tests were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("undying", "hang_up")
def test_an_interrupted_launcher_says_which_processes_it_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    threading.Timer(0.1, interrupt_when, args=["child.1"]).start()
    assert main(["local", "x.log", *SLEEPER, "1"]) == 2
    pid = Path("pid.1").read_text().strip()
    assert f"interrupted by SIGHUP, processes that do not end left behind ({pid}), see" in capsys.readouterr().err


def interrupt_when(file: str) -> None:
    """Send this process a signal once the job is up."""
    until(lambda: written(file))
    os.kill(os.getpid(), signal.SIGHUP)


def test_jobs_end_with_a_launcher_whose_log_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    Path("log/x.2.log").mkdir(parents=True)
    assert main(["local", "--max-jobs-run", "2", "JOB=1:2", "log/x.JOB.log", *SLEEPER, "JOB"]) == 1
    assert re.fullmatch(r"launch: error: .*log/x\.2\.log'\n", capsys.readouterr().err)
    assert "exit code 143 (SIGTERM)" in Path("log/x.1.log").read_text()


def test_a_full_disk_below_the_logs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk.mounted(tmp_path / "disk", 2**20) as disk:
        disk.leave(full_disk.PAGE)
        assert main(["local", f"{disk.folder}/x.log", "bash", "-c", "seq 1 100000; echo why; exit 3"]) == 1
        errors = capsys.readouterr().err
    assert f"1 of 1 failed, see {disk.folder}/x.log (exit code 3; jobs that failed: 1)" in errors
    assert errors.endswith(
        f"launch: The disk of {disk.folder}/x.log is full, so the log may lack the reason. Make room.\n"
    )


def test_jobs_end_with_a_launcher_that_is_killed() -> None:
    launcher = start("x.log", *SLEEPER, "1")
    until(lambda: written("pid.1", "child.1"))
    launcher.kill()
    launcher.wait(30)
    until(lambda: not is_alive("pid.1"))
    os.kill(int(Path("child.1").read_text()), signal.SIGKILL)  # a job's own children are its business in this case


def test_jobs_end_with_a_script_that_is_killed_when_asked_to() -> None:
    call = f"{sys.executable} -m sslsv_tk.launch local --end-with-parent x.log bash -c '{SLEEPER[2]}' 1; true"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    script = subprocess.Popen(["bash", "-c", call], env=environment)
    until(lambda: written("pid.1", "child.1"))
    script.kill()
    script.wait(30)
    until(lambda: not is_alive("pid.1") and not is_alive("child.1"))
    until(lambda: "# ended" in Path("x.log").read_text())


def test_what_a_job_leaves_running_is_ended_with_it() -> None:
    assert main(["local", "x.log", "bash", "-c", "sleep 300 & echo $! >child.1"]) == 0
    until(lambda: not is_alive("child.1"))


def test_a_job_may_be_signalled_as_usual() -> None:
    """The signals that the launcher holds back for itself are not held back in its jobs."""
    assert main(["local", "x.log", "grep", "SigBlk", "/proc/self/status"]) == 0
    assert "SigBlk:\t0000000000000000" in Path("x.log").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: BACKEND"),
        (["slurn", "x.log", "true"], "invalid choice: 'slurn'"),
        (["local"], "expected [JOB=1:4] LOG COMMAND ..., found nothing"),
        (["local", "JOB=1:2", "x.JOB.log"], "no command after the log file"),
        (["local", "JOB=1:2", "x.log", "true"], "all jobs would write it"),
        (["local", "JOB=0:2", "x.JOB.log", "true"], "expected a range from 1 upwards"),
        (["local", "JOB=3:2", "x.JOB.log", "true"], "expected a range from 1 upwards"),
        (["local", "JOB=1:", "x.JOB.log", "true"], "expected [JOB=1:4] LOG COMMAND"),
        (["local", "--mem", "many", "x.log", "true"], "expected a size as in 4G"),
        (["local", "--mem", "0G", "x.log", "true"], "expected a size as in 4G"),
        (["local", "--time", "soon", "x.log", "true"], "expected minutes"),
        (["local", "--num-threads", "0", "x.log", "true"], "num-threads 0: expected at least 1"),
        (["local", "--max-jobs-run", "0", "x.log", "true"], "max-jobs-run 0: expected at least 1"),
        (["local", "--gpu", "-1", "x.log", "true"], "gpus -1: expected at least 0"),
    ],
)
def test_a_mistake_in_the_call_ends_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_back_end_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nowhere", "x.log", "true"])
    assert re.search(r"choose from '?local'?, '?slurm'?\)", capsys.readouterr().err)


def test_several_machines_are_refused_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "--num-nodes", "2", "x.log", "true"]) == 1
    assert "the local back end is one machine" in capsys.readouterr().err


def test_a_log_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("log").write_text("a file")
    assert main(["local", "log/x.log", "true"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 300), ("1:30", 90), ("1:02:03", 3723), ("2-3", 183600), ("1-00:10", 87000), ("1-00:00:05", 86405)],
)
def test_time_limits_have_slurms_forms(text: str, seconds: float) -> None:
    assert parse(["local", "--time", text, "x.log", "true"]).resources.seconds == seconds


def test_sizes_and_words_pass_as_they_are() -> None:
    call = parse(["local", "--mem", "1.5G", "--num_threads", "2", "JOB=1:2", "JOB.log", "a", "--mem", "--", "b"])
    assert call.array == JobArray(1, 2, "JOB.log", ("a", "--mem", "--", "b"))
    assert call.resources == Resources(memory_bytes=3 * 2**29, num_threads=2)


def test_a_job_that_saved_its_state_is_not_called_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "x.log", "bash", "-c", "exit 75"]) == 75
    said = capsys.readouterr().err
    assert "1 of 1 stopped by request, state saved: run again to go on, see x.log" in said
    assert "failed" not in said


def test_every_failure_that_has_a_name_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = {1: Outcome(0), 2: Outcome(3), 3: Outcome(143, "TIMEOUT: over"), 4: Outcome(75)}
    assert report(JobArray(1, 4, "log/x.JOB.log", ("true",)), outcomes) == 1
    said = capsys.readouterr().err
    assert "1 of 4 stopped by request, state saved" in said
    assert "2 of 4 failed, see log/x.2.log (exit code 3; jobs that failed: 2 3)" in said
    assert "job 3: TIMEOUT: over, see log/x.3.log" in said
    assert "there is no such log" in said


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are looked at every 100 ms, and are idle after five looks."""
    monkeypatch.setattr(_stalled, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(_stalled, "MOST_IDLE_LOOKS", 5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("read line 3<>pipe <&3", r"process \d+ \(bash\) waits for a read of /.*/pipe"),
        ("echo $(<pipe)", r"process \d+ \(bash\) waits for a file to open, pipe"),
        ("kill -STOP $$", r"process \d+ \(bash\) is stopped \(kill -CONT \d+ lets it go on\)"),
        ("sleep 60", "what it waits for is not known"),
    ],
)
def test_a_job_that_does_nothing_is_said_once_with_what_it_waits_for(
    job: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo("pipe")
    assert main(["local", "--time", "0:04", "JOB=2:2", "x.JOB.log", "bash", "-c", job]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "done nothing" in line]
    assert len(lines) == 1, lines
    said = rf"launch: job 2 has done nothing for [\d.e-]+ minutes: {reason}; it is waited for, see x\.2\.log"
    assert re.fullmatch(said, lines[0]), lines


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("work", ["while true; do :; done", "while sleep 0.2; do echo a line; done"])
def test_a_job_that_computes_or_writes_is_not_idle(work: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "--time", "0:03", "x.log", "bash", "-c", work]) == 1
    assert "done nothing" not in capsys.readouterr().err
