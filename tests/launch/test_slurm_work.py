"""A scheduler that is silent, refuses or forgets, and submissions that are done once."""

import json
import re
import shlex
import signal
from pathlib import Path

import pytest
from slurm_cluster import ARRAY, program, read_site

from sslsv_tk.launch._slurm import records, scheduler
from sslsv_tk.launch._slurm.work import QUESTIONS_FOR_LOST, Work
from sslsv_tk.launch.base import JobArray, Resources


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "message",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "slurm_load_jobs error: Slurm backup controller in standby mode",
        "slurm_load_jobs error: Zero Bytes were transmitted or received",
    ],
)
def test_silence_is_told_from_a_refusal(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program("sbatch", f"echo {shlex.quote(message)} >&2; exit 1", monkeypatch)
    with pytest.raises(scheduler.NotAnswering, match=re.escape(message)):
        scheduler.submit(["sbatch"])
    program("sbatch", "echo 'sbatch: error: invalid partition specified: nix' >&2; exit 1", monkeypatch)
    with pytest.raises(scheduler.Refused, match="invalid partition"):
        scheduler.submit(["sbatch"])


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
    program("sbatch", "echo $* >>calls; echo 'Socket timed out on send/recv operation' >&2; exit 1", monkeypatch)
    program("squeue", "echo 33", monkeypatch)
    found = work()
    found.begin()
    assert Path("calls").read_text().count("--array=1-4") == 1
    assert [each.job_id for each in found.record.submissions] == ["33"]


def test_a_submission_that_was_lost_is_repeated_once_the_scheduler_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "pauses", lambda: iter([0.01] * 100))
    Path("job").write_text("34\n")
    program("sbatch", SILENT_THEN_THERE, monkeypatch)
    program("squeue", "true", monkeypatch)
    found = work()
    found.begin()
    assert [each.job_id for each in found.record.submissions] == ["34"]


def test_the_same_call_finds_a_submission_whose_number_never_came(monkeypatch: pytest.MonkeyPatch) -> None:
    first = work()
    record = records.Record(first.record.digest, [records.Submission("x-1", [1, 2, 3, 4])])
    record.write(first.folder)
    program("squeue", '[ "$4" = x-1 ] && echo 35', monkeypatch)
    program("scontrol", "echo 'JobId=35 ArrayJobId=35 ArrayTaskId=1-4 JobState=PENDING Reason=Priority'", monkeypatch)
    second = work()
    second.begin()
    assert [(each.name, each.job_id) for each in second.record.submissions] == [("x-1", "35")]


def test_a_task_that_slurm_has_forgotten_is_judged_by_its_own_record(monkeypatch: pytest.MonkeyPatch) -> None:
    program("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", monkeypatch)
    program("sacct", "printf '36_3|TIMEOUT|0:0\\n'", monkeypatch)
    program("sbatch", "echo 36", monkeypatch)
    monkeypatch.setattr("sslsv_tk.launch._slurm.work.LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("sslsv_tk.launch._slurm.work.SHORTEST_PAUSE_SECONDS", 0.01)
    found = work()
    found.begin()
    records.write_exit(found.folder, "36", 1, records.Exit(0, False))
    records.write_exit(found.folder, "36", 2, records.Exit(3, False))
    records.write_exit(found.folder, "35", 4, records.Exit(0, False))  # of another job
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
    assert [each.job_id for each in found.record.submissions] == ["41", "42", "43"]


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
        "submissions": [{"name": "x-1", "numbers": [1, 2], "job_id": "5"}],
    }
