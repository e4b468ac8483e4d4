"""A scheduler that is silent, refuses or forgets, and submissions that are done once."""

import errno
import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import ARRAY, ROOT, program, read_site

from sslsv_tk.launch._slurm import records, scheduler
from sslsv_tk.launch._slurm.work import QUESTIONS_FOR_LOST, Work
from sslsv_tk.launch.base import JobArray, Resources
from sslsv_tk.launch.slurm import Slurm


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sbatch_fails(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sbatch say this and fail."""
    program("sbatch", f"echo {shlex.quote(message)} >&2; exit 1", monkeypatch)


@pytest.mark.parametrize(
    "message",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "slurm_load_jobs error: Slurm backup controller in standby mode",
        "slurm_load_jobs error: Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Protocol authentication error",
        "sbatch: fatal: Could not establish a configuration source",
        'sbatch: error: Munge encode failed: Failed to connect to "/run/munge/munge.socket.2"',
    ],
)
def test_silence_is_told_from_a_refusal(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch_fails(message, monkeypatch)
    with pytest.raises(scheduler.NotAnswering, match=re.escape(message)):
        scheduler.submit(["sbatch"])
    sbatch_fails("sbatch: error: invalid partition specified: nix", monkeypatch)
    with pytest.raises(scheduler.Refused, match="invalid partition"):
        scheduler.submit(["sbatch"])


@pytest.mark.parametrize(
    "message",
    [
        "sbatch: error: You must give --account. Please correct this and try again.",
        "/scratch is temporarily read-only\nsbatch: error: invalid partition specified: nix",
        "Support answers e-mail only: no communication by phone\nsbatch: error: Invalid account",
    ],
)
def test_a_refusal_is_not_taken_for_silence(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch_fails(message, monkeypatch)
    with pytest.raises(scheduler.Refused):
        scheduler.submit(["sbatch"])


def test_a_refusal_names_the_file_of_options(monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch_fails("sbatch: error: invalid partition specified: gpu", monkeypatch)
    found = work()
    with pytest.raises(scheduler.Refused, match=r"gpu \(options: slurm\.conf; --dry-run shows the call\)"):
        found.begin()
    assert not found.jobs.folder.exists()
    program("squeue", "touch asked", monkeypatch)
    assert found.cancel() and not Path("asked").exists(), "there is nothing to cancel"


def test_a_machine_without_room_for_a_process_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(scheduler.subprocess, "run", no_room)
    with pytest.raises(scheduler.NotAnswering, match="scontrol: Resource temporarily"):
        scheduler.tasks_of("5")


def test_the_environment_of_a_job_that_we_run_in_is_not_that_of_new_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "6")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SBATCH_CLUSTERS", "wice")
    program("sbatch", "env | grep ^SLURM_ | sort >seen; echo 5", monkeypatch)
    scheduler.submit(["sbatch"])
    assert Path("seen").read_text() == "SLURM_BITSTR_LEN=0\nSLURM_CLUSTERS=wice\nSLURM_CONF=/etc/slurm.conf\n"


def test_a_listing_of_another_cluster_is_read_without_its_title(monkeypatch: pytest.MonkeyPatch) -> None:
    program("squeue", "printf 'CLUSTER: wice\\n33\\n9\\n33\\n'", monkeypatch)
    assert scheduler.find("name") == ["9", "33"]


def test_a_program_that_hangs_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    program("squeue", "exec sleep 600", monkeypatch)
    monkeypatch.setattr(scheduler, "LONGEST_ANSWER_SECONDS", 0.2)
    with pytest.raises(scheduler.NotAnswering, match="squeue: no answer"):
        scheduler.find("name")


def test_where_there_is_no_slurm_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path.cwd()))
    with pytest.raises(ValueError, match=r"scontrol: no such program\. Is Slurm on this machine\?"):
        scheduler.tasks_of("5")
    assert scheduler.accounted_tasks_of("5") == {}


def test_a_fault_of_the_scheduler_is_no_end_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    program("scontrol", "echo 'slurm_load_jobs error: Protocol authentication error' >&2; exit 1", monkeypatch)
    with pytest.raises(scheduler.NotAnswering):
        scheduler.tasks_of("5")
    program("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", monkeypatch)
    assert scheduler.tasks_of("5") == {}


def test_an_answer_of_sbatch_may_name_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    program("sbatch", "echo 'a line of the site'; echo '17;cluster'", monkeypatch)
    assert scheduler.submit(["sbatch"]) == "17"
    program("sbatch", "echo Submitted", monkeypatch)
    with pytest.raises(scheduler.Refused, match="expected the id of a job, found 'Submitted'"):
        scheduler.submit(["sbatch"])


SILENT_THEN_THERE = """
if [ -e asked ]; then cat job; else touch asked; echo 'error: Unable to contact slurm controller' >&2; exit 1; fi
"""


def work(array: JobArray = ARRAY) -> Work:
    return Work(array, Resources(), read_site("command sbatch\n"), {signal.SIGUSR2})


def test_a_submission_that_was_not_answered_but_accepted_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "pauses", lambda: iter([0.01] * 100))
    program("sbatch", "echo $* >>calls; echo 'sbatch: error: Socket timed out' >&2; exit 1", monkeypatch)
    program("squeue", "echo 33", monkeypatch)
    found = work()
    found.begin()
    assert Path("calls").read_text().count("--array=1-4") == 1
    assert [each.job_id for each in found.jobs.record.submissions] == ["33"]


def test_a_submission_that_was_lost_is_repeated_once_the_scheduler_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "pauses", lambda: iter([0.01] * 100))
    Path("job").write_text("34\n")
    program("sbatch", SILENT_THEN_THERE, monkeypatch)
    monkeypatch.setattr(scheduler, "SETTLING_SECONDS", 0.05)
    program("squeue", "true", monkeypatch)
    found = work()
    found.begin()
    assert [each.job_id for each in found.jobs.record.submissions] == ["34"]


def test_a_submission_that_comes_to_light_late_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that was away answers squeue before it has worked off what it was sent."""
    monkeypatch.setattr(scheduler, "pauses", lambda: iter([0.01] * 1000))
    program("sbatch", "echo x >>calls; echo 'sbatch: error: Socket timed out' >&2; exit 1", monkeypatch)
    program("squeue", "echo x >>asked; [ $(wc -l <asked) -lt 4 ] || echo 35", monkeypatch)
    found = work()
    found.begin()
    assert Path("calls").read_text() == "x\n"
    assert [each.job_id for each in found.jobs.record.submissions] == ["35"]


def test_of_two_jobs_that_are_one_submission_the_first_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "pauses", lambda: iter([0.01] * 1000))
    monkeypatch.setattr(scheduler, "SETTLING_SECONDS", 0.0)
    Path("job").write_text("12\n")
    program("sbatch", SILENT_THEN_THERE, monkeypatch)
    program("squeue", "[ ! -e late ] || printf '13\\n11\\n12\\n'", monkeypatch)
    program("scancel", 'echo "$@" >>cancelled', monkeypatch)
    program("scontrol", 'echo "JobId=$5 ArrayJobId=$5 ArrayTaskId=1-4 JobState=COMPLETED ExitCode=0:0"', monkeypatch)
    found = work()
    found.begin()
    assert [each.job_id for each in found.jobs.record.submissions] == ["12"]
    Path("late").touch()
    found.wait()
    assert [each.job_id for each in found.jobs.record.submissions] == ["11"]
    assert Path("cancelled").read_text() == "12\n13\n"


def test_a_call_that_is_interrupted_before_its_answer_leaves_no_job_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "pauses", lambda: iter([0.01] * 1000))
    found = work()
    found.jobs.record.submissions.append(records.Submission("x-1", [1, 2, 3, 4]))
    program("squeue", "echo x >>asked; [ $(wc -l <asked) -lt 4 ] || echo 35", monkeypatch)
    program("scontrol", "[ -e cancelled ] && s=CANCELLED || s=RUNNING; echo ArrayTaskId=1-4 JobState=$s", monkeypatch)
    program("scancel", 'echo "$@" >>cancelled', monkeypatch)
    assert found.cancel()
    assert Path("cancelled").read_text() == "35\n"


def test_cancelling_says_when_jobs_may_be_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sslsv_tk.launch._slurm.cancelling.CANCEL_SECONDS", 0.1)
    found = work()
    found.jobs.record.submissions.append(records.Submission("x-1", [1, 2, 3, 4], "5"))
    program("scontrol", "echo ArrayTaskId=1-4 JobState=RUNNING", monkeypatch)
    program("scancel", "true", monkeypatch)
    assert not found.cancel()
    assert "Slurm has not ended all jobs yet. See `squeue`, and `scancel 5`." in capsys.readouterr().err


def test_the_same_call_finds_a_submission_whose_number_never_came(monkeypatch: pytest.MonkeyPatch) -> None:
    first = work()
    record = records.Record(first.jobs.record.digest, [records.Submission("x-1", [1, 2, 3, 4])])
    record.write(first.jobs.folder)
    program("squeue", '[ "$4" = x-1 ] && printf "35\\n36\\n"', monkeypatch)
    program("scontrol", "echo 'JobId=35 ArrayJobId=35 ArrayTaskId=1-4 JobState=COMPLETED ExitCode=0:0'", monkeypatch)
    program("scancel", 'echo "$@" >>cancelled', monkeypatch)
    program("sbatch", "echo 40", monkeypatch)
    second = work()
    second.begin()
    known, again = second.jobs.record.submissions
    assert (known.name, known.job_id) == ("x-1", "35")
    assert set(Path("cancelled").read_text().split()) == {"36"}, "the killed launcher may have called sbatch twice"
    assert (again.job_id, again.numbers) == ("40", [1, 2, 3, 4]), "what has ended says nothing of the files of now"


SUBMIT = 'echo "$@" >>calls; number=$((40 + $(wc -l <calls))); touch $number.1 $number.2; echo $number'
SHOW = """
for number in 1 2; do
    [ -e $4.$number ] && state=COMPLETED || state=RUNNING
    echo JobId=$4 ArrayJobId=$4 ArrayTaskId=$number JobState=$state ExitCode=0:0
done
"""


def test_work_of_an_earlier_call_is_waited_for_and_then_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was changed since then, a setting or an input: each command sees that by itself."""
    array = JobArray(1, 2, "x.JOB.log", ("true",))
    first = work(array)
    records.Record(first.jobs.record.digest, [records.Submission("x-1", [1, 2], "35")]).write(first.jobs.folder)
    Path("35.1").touch()  # the other one is at work
    program("squeue", "true", monkeypatch)
    program("scontrol", SHOW, monkeypatch)
    program(
        "sbatch",
        'echo "$@" >>calls; number=$((40 + $(wc -l <calls))); touch $number.1 $number.2; echo $number',
        monkeypatch,
    )
    second = work(array)
    second.begin()
    assert "1 of 2 tasks at work; nothing is submitted twice" in capsys.readouterr().err
    assert "--array=1 " in Path("calls").read_text(), "the one that has ended runs again at once"
    pauses = []

    def pause(seconds: float, _: object) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            assert Path("calls").read_text().count("--array") == 1
            Path("35.2").touch()

    monkeypatch.setattr("sslsv_tk.launch._slurm.work._signals.pause", pause)
    assert [outcome.code for outcome in second.wait().values()] == [0, 0]
    assert re.findall(r"--array=(\S+)", Path("calls").read_text()) == ["1", "2"]
    assert "1 tasks of the earlier call ended well; each runs again" in capsys.readouterr().err


def test_a_second_call_at_the_same_time_is_refused_and_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = records.folder_of(ARRAY)
    program("sbatch", "touch called", monkeypatch)
    Path("slurm.conf").write_text("command sbatch\n")
    with records.alone(folder):
        with pytest.raises(
            ValueError, match=r"^log/x\.JOB\.log: another launcher \(process \d+ on .*\) is at work with it"
        ):
            Slurm("slurm.conf").run(ARRAY, Resources())
        assert (folder / "launcher").exists() and not Path("called").exists()
    assert not folder.exists(), "nothing was submitted, and nothing is left"


def test_a_lock_ends_with_its_process_however_that_ends() -> None:
    folder = records.folder_of(ARRAY)
    code = "import os; from pathlib import Path; from sslsv_tk.launch._slurm import records\n"
    code += f"with records.alone(Path({str(folder.absolute())!r})): os.kill(os.getpid(), 9)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL and (folder / "launcher").exists()
    with records.alone(folder):
        assert (folder / "launcher").read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_lock_is_taken_anew_where_another_one_removes_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends between the opening of the file and the lock."""
    folder, lock = records.folder_of(ARRAY), fcntl.flock
    removed = []

    def late(descriptor: int, how: int) -> None:
        lock(descriptor, how)
        if not removed:
            removed.append(1)
            records.remove(folder)

    monkeypatch.setattr(fcntl, "flock", late)
    with records.alone(folder):
        assert (folder / "launcher").exists() and removed


def test_a_file_system_without_locks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(ValueError, match=r"cannot be locked \(No locks available\)\. Mount"), records.alone(Path("x")):
        pass


def test_unknown_options_of_a_file_are_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("slurm.conf").write_text("command sbatch\noption ram_free=* -l $0\noption ram_free=0\ndefault hold=1\n")
    Slurm("slurm.conf").describe(ARRAY, Resources())
    assert capsys.readouterr().err == (
        "launch: slurm.conf: lines of options that the launcher does not have: ram_free hold\n"
    )


def test_a_task_that_slurm_has_forgotten_is_judged_by_its_own_record(monkeypatch: pytest.MonkeyPatch) -> None:
    program("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", monkeypatch)
    program("sacct", "printf '36_3|TIMEOUT|0:0\\n'", monkeypatch)
    program("sbatch", "echo 36", monkeypatch)
    monkeypatch.setattr("sslsv_tk.launch._slurm.work.LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("sslsv_tk.launch._slurm.work.SHORTEST_PAUSE_SECONDS", 0.01)
    found = work()
    found.begin()
    records.write_exit(found.jobs.folder, "36", 1, records.Exit(0, False))
    records.write_exit(found.jobs.folder, "36", 2, records.Exit(3, False))
    records.write_exit(found.jobs.folder, "35", 4, records.Exit(0, False))  # of another job
    outcomes = found.wait()
    assert [outcomes[number].code for number in (1, 2, 3, 4)] == [0, 3, 143, 1]
    assert outcomes[3].state.startswith("TIMEOUT")
    assert outcomes[4].state == "LOST: Slurm has forgotten it, and it left no exit record"
    assert found.unknown[4] == QUESTIONS_FOR_LOST
    assert "LOST" in Path("log/x.4.log").read_text()


def test_a_task_is_submitted_again_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    program("sbatch", "echo x >>calls; echo $((40 + $(wc -l <calls)))", monkeypatch)
    line = "echo JobId=$5 ArrayJobId=$5 ArrayTaskId=1 JobState=BOOT_FAIL Reason=None ExitCode=0:0"
    program("scontrol", line.replace("$5", "$4"), monkeypatch)
    monkeypatch.setattr("sslsv_tk.launch._slurm.work.SHORTEST_PAUSE_SECONDS", 0.01)
    found = work(JobArray(1, 1, "x.log", ("true",)))
    found.begin()
    assert found.wait()[1].state.startswith("BOOT_FAIL: its node did not start")
    assert [each.job_id for each in found.jobs.record.submissions] == ["41", "42", "43"]


def test_a_task_that_saved_its_state_may_lose_its_place_as_often_as_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    program("sbatch", "echo x >>calls; echo $((40 + $(wc -l <calls)))", monkeypatch)
    show = "[ $4 = 45 ] && s=COMPLETED || s=PREEMPTED; echo JobId=$4 ArrayTaskId=1 JobState=$s ExitCode=0:0"
    program("scontrol", show, monkeypatch)
    monkeypatch.setattr("sslsv_tk.launch._slurm.work.SHORTEST_PAUSE_SECONDS", 0.01)
    found = work(JobArray(1, 1, "x.log", ("true",)))
    for job in range(41, 45):
        records.write_exit(found.jobs.folder, str(job), 1, records.Exit(75, False))
    found.begin()
    assert found.wait()[1].code == 0
    assert len(found.jobs.record.submissions) == 5


def test_what_accounting_alone_believes_to_run_is_lost_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    program("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", monkeypatch)
    program("sacct", "echo x >>asked; printf '36_1|RUNNING|0:0\\n36_2|RUNNING|0:0\\n'", monkeypatch)
    program("sbatch", "echo 36", monkeypatch)
    for name, value in {
        "LONGEST_PAUSE_SECONDS": 0.001,
        "SHORTEST_PAUSE_SECONDS": 0.001,
        "QUESTIONS_FOR_RUNAWAY": 8,
    }.items():
        monkeypatch.setattr(f"sslsv_tk.launch._slurm.work.{name}", value)
    found = work(JobArray(1, 2, "x.JOB.log", ("true",)))
    found.begin()
    assert [outcome.state[:4] for outcome in found.wait().values()] == ["LOST", "LOST"]
    assert len(Path("asked").read_text().split()) == 4, "once for both tasks, in rounds 5 to 8"


def test_a_node_that_does_not_end_a_task_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sslsv_tk.launch._slurm.notices.COMPLETING_SECONDS", 0.0)
    monkeypatch.setattr("sslsv_tk.launch._slurm.work.SHORTEST_PAUSE_SECONDS", 0.01)
    state = "[ $(wc -l <asked) -lt 4 ] && s=COMPLETING || s=COMPLETED"
    program("scontrol", f"echo x >>asked; {state}; echo ArrayTaskId=1 JobState=$s ExitCode=0:0", monkeypatch)
    program("sbatch", "echo 36", monkeypatch)
    found = work(JobArray(1, 1, "x.log", ("true",)))
    found.begin()
    assert found.wait()[1].code == 0
    assert capsys.readouterr().err.count("waits: its node does not end it (COMPLETING)") == 1


def test_a_damaged_record_is_none() -> None:
    folder = Path("x.log.slurm")
    folder.mkdir()
    for text in ("", "{", "[]", '{"digest": 3}', '{"digest": "a", "submissions": [{"nam": 3}]}'):
        (folder / "submission.json").write_text(text)
        assert records.read(folder) is None


def test_the_digest_tells_calls_apart_but_not_how_many_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = records.digest(ARRAY, Resources())
    assert records.digest(ARRAY, Resources(max_jobs_run=2, end_with_parent=True)) == digest
    assert records.digest(ARRAY, Resources(gpus=1)) != digest
    assert records.digest(JobArray(1, 3, ARRAY.log, ARRAY.words), Resources()) != digest
    Path("other").mkdir()
    monkeypatch.chdir("other")
    assert records.digest(ARRAY, Resources()) != digest


def test_records_are_text_that_a_person_can_read() -> None:
    records.Record("d", [records.Submission("x-1", [1, 2], "5")]).write(Path("f"))
    assert json.loads(Path("f/submission.json").read_text()) == {
        "digest": "d",
        "submissions": [{"name": "x-1", "numbers": [1, 2], "job_id": "5", "doubtful": False}],
    }
