"""What the launcher shows of a job at work: its lines of progress as they come, a bar on a terminal alone."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sslsv_tk.launch import _following

ROOT = Path(__file__).resolve().parents[2]
JOB = """
import sys, time
def say(line):
    print(line, flush=True)
say("2026-11-29T01:02:03 (train) hidden")
say("2026-11-29T01:02:03 (progress) m with e: 5 parameters, 1,000 steps per epoch of 9, 2 epochs to go (1 to 2)")
say("2026-11-29T01:02:03 (train) kind=step epoch=1 step=500 loss=2.5 rank=1")
time.sleep(float(sys.argv[1]))
say("2026-11-29T01:02:03 (train) kind=epoch epoch=1 step=1000 loss=2")
say("2026-11-29T01:02:03 (progress) epoch 1 of 2: loss 2, 3 s, 3 s to go")
say("2026-11-29T01:02:03 (train) kind=step epoch=2 step=2000 loss=1.5")
time.sleep(float(sys.argv[1]))
say("2026-11-29T01:02:03 (progress) the last words")
sys.exit(int(sys.argv[2]))
"""
LINES = [
    "2026-11-29T01:02:03 (progress) m with e: 5 parameters, 1,000 steps per epoch of 9, 2 epochs to go (1 to 2)",
    "2026-11-29T01:02:03 (progress) epoch 1 of 2: loss 2, 3 s, 3 s to go",
    "2026-11-29T01:02:03 (progress) the last words",
]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """command(SECONDS, STATUS): a launcher that follows the job, whose log of an earlier attempt is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("x.log").write_text("2026-11-29T01:02:03 (progress) of an earlier attempt\n")

    def words(seconds: float, status: int = 0) -> list[str]:
        job = [sys.executable, "-c", JOB, str(seconds), str(status)]
        return [sys.executable, "-m", "sslsv_tk.launch", "local", "--follow", "x.log", *job]

    return words


def test_lines_of_progress_are_shown_and_no_others(command):
    done = subprocess.run(command(0.7), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.splitlines() == LINES
    assert "hidden" in Path("x.log").read_text() and "earlier attempt" in Path("x.1.log").read_text()


def test_the_last_lines_are_shown_before_a_failure_is_reported(command):
    done = subprocess.run(command(0.6, 3), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[:4] == [
        *LINES,
        "launch: 1 of 1 failed, see x.log (exit code 3; jobs that failed: 1)",
    ]


def test_lines_come_while_the_job_is_at_work(command):
    started = subprocess.Popen(command(20), stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None and started.stderr.readline().rstrip("\n") == LINES[0]
    assert started.poll() is None
    started.terminate()
    assert started.wait(30) == 2


def test_a_terminal_gets_a_bar_within_the_epoch(command):
    ours, theirs = pty.openpty()
    started = subprocess.Popen(command(1.2), stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert started.wait(30) == 0
    text = shown.decode()
    assert f"\repoch 1 [{'#' * 15:30}] step 500 of 1000, loss 2.5\x1b[K" in text
    assert f"\repoch 2 [{'#' * 30}] step 1000 of 1000, loss 1.5\x1b[K\r\x1b[K{LINES[2]}" in text
    assert [line for line in text.replace("\r\n", "\n").splitlines() if "(progress)" in line]


def test_a_log_of_a_job_that_is_still_at_work_is_followed_from_where_it_stands(tmp_path):
    log = tmp_path / "x.log"
    assert _following.Earlier.of(log) == _following.Earlier()
    log.write_text("before\n")
    earlier = _following.Earlier.of(log)
    assert earlier.opened(log) is None
    with log.open("a") as stream:
        stream.write("after\nhalf a line")
    assert list(_following.lines(log, earlier, lambda: True)) == ["after"]
    log.rename(tmp_path / "x.1.log")
    assert earlier.opened(log) is None
    log.write_text("new\n")
    assert list(_following.lines(log, earlier, lambda: True)) == ["new"]


def test_a_follower_ends_with_its_launcher(command):
    started = subprocess.Popen(command(60), stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    started.stderr.readline()
    follower = int(
        subprocess.run(
            ["pgrep", "-f", f"_following x.log [0-9]+ [0-9]+ {started.pid}$"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    started.kill()
    started.wait(10)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{follower}").exists() and "Z" not in Path(f"/proc/{follower}/stat").read_text():
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.1)
