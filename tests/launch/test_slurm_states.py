"""What the scheduler says of tasks, and what that means."""

from pathlib import Path

import pytest

from sslsv_tk.launch._slurm import states
from sslsv_tk.launch._slurm.states import TaskState
from sslsv_tk.launch.base import Outcome

RECORDED = Path(__file__).parent / "recorded"

# "Recorded" is what a Slurm printed; text in a test has the form that Slurm documents.


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "numbers", "state", "reason", "restarts"),
    [
        ("cancelled", {1}, "CANCELLED", "None", 0),
        ("held", set(range(1, 41)), "PENDING", "JobHeldUser", 0),
        ("memory", {1}, "FAILED", "JobLaunchFailure", 0),
        ("node_fail", {1}, "NODE_FAIL", "NodeDown", 0),
        ("requeued", {4}, "PENDING", "BeginTime", 1),
        ("timeout", {1, 2}, "TIMEOUT", "TimeLimit", 0),
        ("preempted", {1, 2}, "PREEMPTED", "None", 0),
    ],
)
def test_recorded_tasks_are_read(name: str, numbers: set[int], state: str, reason: str, restarts: int) -> None:
    found = states.parse(recorded(name))
    assert found.keys() == numbers
    assert {(each.state, each.reason, each.restarts) for each in found.values()} == {(state, reason, restarts)}


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("cancelled", 143, "CANCELLED: somebody or the scheduler cancelled it"),
        ("node_fail", 1, "NODE_FAIL: its node failed (NodeDown)"),
        (
            "timeout",
            143,
            "TIMEOUT: its time limit is over; raise --time in cmd.sh or `default time=` in slurm.conf (TimeLimit)",
        ),
        ("preempted", 1, "PREEMPTED: a job of higher priority took its place"),
    ],
)
def test_recorded_ends_have_names(name: str, code: int, message: str) -> None:
    assert states.outcome(states.parse(recorded(name))[1]) == Outcome(code, message)


def test_a_recorded_kill_for_memory_is_told_from_other_kills_by_the_log() -> None:
    killed = states.parse(recorded("memory"))[1]
    assert states.outcome(killed, recorded("memory_log")).state.startswith("OUT_OF_MEMORY: it used more memory")
    assert states.outcome(killed, "the job itself: exceeded memory limit\n").state.startswith("FAILED: ")
    assert states.outcome(killed).code == 137
    of_cgroup = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.batch.\n"
    assert states.outcome(TaskState("FAILED", code=137), of_cgroup).state.startswith("OUT_OF_MEMORY")


def test_out_of_memory_by_cgroup_in_the_documented_form() -> None:
    line = "JobId=7 ArrayJobId=5 ArrayTaskId=3 JobState=OUT_OF_MEMORY Reason=OutOfMemory Restarts=0 ExitCode=0:125"
    outcome = states.outcome(states.parse(line)[3])
    assert outcome.code == 137
    assert outcome.state.startswith("OUT_OF_MEMORY: it used more memory than it was given")


def test_out_of_memory_of_a_step_on_several_nodes_is_srun_s_own_status() -> None:
    assert states.outcome(TaskState("FAILED", "NonZeroExitCode", code=253)).state.startswith("OUT_OF_MEMORY")


def test_what_a_task_waits_for_is_one_word_that_does_not_change() -> None:
    assert TaskState("PENDING", "ReqNodeNotAvail,_UnavailableNodes:n[1-7]").why_it_waits == "ReqNodeNotAvail"
    assert TaskState("REQUEUE_HOLD").why_it_waits == "REQUEUE_HOLD" and not TaskState("REQUEUE_HOLD").has_ended
    assert TaskState("PENDING", "Priority").why_it_waits == TaskState("RUNNING", "None").why_it_waits == ""


def test_exit_codes_and_signals_of_failed_tasks() -> None:
    assert states.outcome(TaskState("COMPLETED")) == Outcome(0)
    assert states.outcome(TaskState("FAILED", "NonZeroExitCode", code=3)) == Outcome(3)
    assert states.outcome(TaskState("FAILED", "NonZeroExitCode", signal=11)) == Outcome(139)
    assert states.outcome(TaskState("FAILED")).code == 1
    assert "could not write the log" in states.outcome(TaskState("FAILED", signal=53)).state
    assert states.outcome(states.LOST).code == 1


def test_tasks_that_wait_longer_than_for_their_turn_say_why() -> None:
    assert states.parse(recorded("held"))[7].why_it_waits == "JobHeldUser"
    assert states.parse(recorded("requeued"))[4].why_it_waits == ""
    assert TaskState("RUNNING", "JobHeldUser").why_it_waits == ""


@pytest.mark.parametrize(
    "state", ["RUNNING", "PENDING", "COMPLETING", "SUSPENDED", "REQUEUED", "CONFIGURING", "STAGE_OUT"]
)
def test_other_states_are_no_end(state: str) -> None:
    assert not TaskState(state).has_ended


def test_numbers_are_written_and_read_in_the_scheduler_s_form() -> None:
    assert states.task_numbers("1,3-5,9-13:2%4") == {1, 3, 4, 5, 9, 11, 13}
    for numbers in ([1], [1, 2], [2, 4, 5, 6, 9], list(range(1, 1000)), list(range(1, 1000, 2))):
        assert states.task_numbers(states.number_expression(numbers)) == set(numbers)
    with pytest.raises(ValueError, match="expected numbers of tasks"):
        states.task_numbers("1-...")


def test_the_accounting_is_read_in_its_documented_form() -> None:
    found = states.parse_accounting(
        "5_1|COMPLETED|0:0\n5_2|CANCELLED by 0|0:15\n5_3|OUT_OF_MEMORY|0:125\n5_[4-9]|PENDING|0:0\n"
    )
    assert found == {
        1: TaskState("COMPLETED"),
        2: TaskState("CANCELLED", signal=15),
        3: TaskState("OUT_OF_MEMORY", signal=125),
    }
