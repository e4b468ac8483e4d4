"""Processes of the loader that die or hang: one line and an end, and batches are the same as without."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from train_options import options

from sslsv_tk.launch.base import RUN_AGAIN
from sslsv_tk.loading import loader as loading
from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.loading.datasets import Batch, TrainingSegments, View
from sslsv_tk.loading.loader import Loader, LoaderFailed, loader
from sslsv_tk.training import stopping

TESTS = Path(__file__).resolve().parents[1]
COUNT = 12
BEFORE: set[str] = set()


class Numbers(TrainingSegments):
    """Batches that hold the number of their request, each made by `make` first."""

    def __init__(self, samples: int = 100) -> None:
        super().__init__((), 0)
        self.samples = samples

    def make(self, number: int) -> None:
        """What happens while the batch of a number is made."""

    def __getitem__(self, request: BatchRequest) -> Batch:
        number = int(request.utterance_B[0])
        if len(request.utterance_B) > 1:  # the loader asks for one utterance to see how large a batch is
            self.make(number)
        segment_BT = torch.full((len(request.utterance_B), self.samples), number, dtype=torch.int16)
        return Batch(torch.from_numpy(request.utterance_B), [View(segment_BT, noise_row_B=torch.zeros(0))])


def requests(count: int = COUNT) -> list[BatchRequest]:
    return [BatchRequest(0, np.array([number, number])) for number in range(count)]


def numbers(batches: Iterable[Batch]) -> list[int]:
    return [int(batch.views[0].segment_BT[0, 0]) for batch in batches]  # type: ignore[index]


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick of a DataLoader is a number of seconds, of any size."""
    monkeypatch.setattr(loading, "TICK_SECONDS", 0.1)


def children() -> set[str]:
    """The processes that this one has started and that are alive."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return {pid for pid in found if state_of(pid) not in "ZX"}


@pytest.fixture(autouse=True)
def before() -> None:
    """Processes that other tests have left at work are none of the loader's."""
    BEFORE.clear()
    BEFORE.update(children())


def no_child_is_left() -> bool:
    """Have all processes of the loader ended? They are waited for, as their end by a signal is asked for."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if children() <= BEFORE:
            return True
        time.sleep(0.05)
    return False


def state_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_whoever_makes_them(workers: int) -> None:
    assert numbers(loader(Numbers(), requests(), workers, False)) == list(range(COUNT))
    assert no_child_is_left()


def test_who_keeps_the_utterances_of_all_batches_keeps_no_file_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    kept = [batch.utterance_B for batch in loader(Numbers(), requests(40), 2, False)]
    assert len(os.listdir("/proc/self/fd")) < before + 10 and len(kept) == 40


def pids() -> set[str]:
    return children() - BEFORE


@pytest.mark.parametrize("workers", [1, 2])
def test_the_processes_stay_from_epoch_to_epoch(workers: int) -> None:
    made = Loader(Numbers(), workers, False)
    assert numbers(made.batches(requests())) == list(range(COUNT))
    first = pids()
    assert len(first) == workers
    for count in (5, 0, 1, COUNT):  # also where the last epoch ended between two turns
        assert numbers(made.batches(requests(count))) == list(range(count))
    assert pids() == first
    made.close()
    assert no_child_is_left()
    assert numbers(made.batches(requests())) == list(range(COUNT)), "others, after the end"
    made.close()


def test_larger_batches_get_larger_slots() -> None:
    made = Loader(Numbers(), 2, False)
    assert numbers(made.batches(requests())) == list(range(COUNT))
    larger = [BatchRequest(0, np.full(5000, number)) for number in range(COUNT)]
    assert numbers(made.batches(larger)) == list(range(COUNT))
    assert numbers(made.batches(requests())) == list(range(COUNT))
    made.close()


def test_a_batch_holds_until_the_third_after_it_is_asked_for() -> None:
    made = Loader(Numbers(), 2, False)
    kept: list[Batch] = []
    for epoch in range(3):
        for number, batch in enumerate(made.batches(requests(40))):
            kept.append(batch)
            held = kept[-3:]
            expected = [(number - back) % 40 for back in range(len(held))][::-1]
            assert numbers(held) == expected, epoch
            time.sleep(0.001)  # the processes fill what they may
    made.close()


def test_memory_is_that_of_the_slots_and_not_of_the_batches() -> None:
    made = Loader(Numbers(1_000_000), 1, False)
    list(made.batches(requests(3)))
    before = Path("/proc/self/maps").read_text().count("\n")
    for batch in made.batches(requests(60)):
        assert batch.views[0].segment_BT.shape == (2, 1_000_000)  # type: ignore[union-attr]
    assert Path("/proc/self/maps").read_text().count("\n") <= before + 3
    made.close()


ORPHANS = """
import os, signal, sys
from test_loader import Numbers, requests, children
from sslsv_tk.loading.loader import Loader
made = Loader(Numbers(), 2, False)
batches = made.batches(requests())
next(batches)
print(*children(), flush=True)
os.kill(os.getpid(), signal.SIGKILL) if sys.argv[1] == "killed" else None
"""


@pytest.mark.parametrize("end", ["killed", "at its end"])
def test_no_process_outlives_the_trainer(end: str) -> None:
    path = os.pathsep.join([str(TESTS / "loading"), str(TESTS), str(TESTS.parent)])
    words = [sys.executable, "-c", ORPHANS, end]
    ended = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PYTHONPATH": path}
    )
    assert len(ended.stdout.split()) == 2, ended.stderr
    until = time.monotonic() + 20
    while time.monotonic() < until and any(state_of(pid) not in "ZX" for pid in ended.stdout.split()):
        time.sleep(0.05)
    assert all(state_of(pid) in "ZX" for pid in ended.stdout.split())


def test_who_leaves_in_the_middle_leaves_no_process() -> None:
    for batch in loader(Numbers(), requests(), 2, False):
        if int(batch.utterance_B[0]) == 3:
            break
    assert no_child_is_left()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (
            signal.SIGKILL,
            r"has died \(SIGKILL\), mostly for want of memory\. Lower training\.loader_workers\. Then run",
        ),
        (signal.SIGBUS, r"has died \(SIGBUS\), mostly for want of memory\. Lower training\.loader_workers\. Then run"),
        (signal.SIGSEGV, r"has died \(SIGSEGV\)\. Look for its own lines above\. Then run again"),
    ],
)
def test_a_process_that_dies_is_one_line(number: signal.Signals, reason: str) -> None:
    class Dies(Numbers):
        def make(self, batch: int) -> None:
            if batch == 5:
                signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
                os.kill(os.getpid(), number)

    seen = []
    with pytest.raises(LoaderFailed, match=reason):
        for batch in loader(Dies(), requests(), 2, False):
            seen += numbers([batch])
    assert seen == list(range(len(seen))) and len(seen) <= 5
    assert no_child_is_left()


@pytest.mark.parametrize("error", [ValueError("a.ark: cut short:\n expected 3"), OSError("a disk"), MemoryError()])
def test_an_error_of_reading_is_told_as_it_is(error: Exception) -> None:
    class Fails(Numbers):
        def make(self, batch: int) -> None:
            if batch == 5:
                raise error

    with pytest.raises(LoaderFailed) as caught:
        list(loader(Fails(), requests(), 2, False))
    assert str(caught.value) == " ".join(str(error).split()) or type(error).__name__
    assert no_child_is_left()


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    class Wrong(Numbers):
        def make(self, batch: int) -> None:
            raise AssertionError("a fault")

    with pytest.raises(AssertionError, match="a fault"):
        list(loader(Wrong(), requests(), 2, False))


class Hangs(Numbers):
    """Waits for ever in a read of the batch 5; a request to stop does not disturb it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.pipe = folder / "pipe"
        os.mkfifo(self.pipe)

    def make(self, batch: int) -> None:
        if batch == 5:
            self.pipe.read_bytes()


def test_a_read_that_never_answers_is_reported_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "REPORT_TICKS", 2)
    monkeypatch.setattr(loading, "END_TICKS", 5)
    seen, ticks = [], []
    with pytest.raises(LoaderFailed, match=r"No batch for .* s: a read does not answer \(workers \d+ \d+\)"):
        for batch in loader(Hangs(tmp_path), requests(), 2, False, lambda: ticks.append(1)):
            seen += numbers([batch])
    assert seen == [0, 1, 2, 3, 4] and len(ticks) >= 5
    assert caplog.text.count("a disk is slow or does not answer") == 1
    assert no_child_is_left(), "although SIGTERM does not end it"


def test_a_suspended_process_has_waited_for_a_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps ahead by hours changes nothing: it is not looked at."""
    monkeypatch.setattr(loading, "END_TICKS", 1000)
    real = time.monotonic

    class Slow(Numbers):
        def make(self, batch: int) -> None:
            time.sleep(0.3 if batch == 3 else 0.0)

    def jump() -> None:
        monkeypatch.setattr(time, "monotonic", lambda: real() + 1e6)

    assert numbers(loader(Slow(), requests(), 1, False, jump)) == list(range(COUNT))


# -- limits of the machine -------------------------------------------------------------------------------------------

WITHOUT_SHARED_FILES = """
from test_loader import Numbers, numbers, requests
from sslsv_tk.loading.loader import loader
print(numbers(loader(Numbers(1_000_000), requests(), 2, False)))
"""


@pytest.mark.parametrize("mount", ["size=64k", "ro"])
def test_batches_need_no_room_in_dev_shm(mount: str) -> None:
    """Containers have 64 MB there; 11 batches of 4 MB are at work here."""
    command = shlex.join([sys.executable, "-c", WITHOUT_SHARED_FILES])
    mounting = ["unshare", "--mount", "bash", "-c", f"mount -t tmpfs -o {mount} none /dev/shm && {command}"]
    if os.geteuid() != 0 or subprocess.run([*mounting[:4], "mount -t tmpfs none /dev/shm"], check=False).returncode:
        pytest.skip("another /dev/shm for one process needs root")
    path = os.pathsep.join([str(TESTS / "loading"), str(TESTS), str(TESTS.parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    ended = subprocess.run(mounting, capture_output=True, text=True, check=True, env=environment, timeout=120)
    assert ended.stdout == f"{list(range(COUNT))}\n" and "Traceback" not in ended.stderr, ended.stderr


@pytest.mark.parametrize("files", [20, 40])
def test_too_few_open_files_are_told_before(inputs: Path, tmp_path: Path, files: int) -> None:
    words = shlex.join(options(inputs, tmp_path / "ssl", "training.loader_workers=2"))
    command = f"ulimit -n {files}; exec {sys.executable} -m sslsv_tk.bin.train {words}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
    errors = [line for line in ended.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1 and f"may open no more than {files} files at a time. Raise the limit (ulimit" in errors[0]


# -- training whose reads hang ---------------------------------------------------------------------------------------

HANGING = """
import os, sys
from sslsv_tk import logs
from sslsv_tk.bin import train
from sslsv_tk.loading import datasets
from sslsv_tk.training import stopping

stopping.TWICE_SECONDS = 0.5
rank, epoch, step, pipe, *words = sys.argv[1:]
cut = datasets.TrainingSegments.__getitem__

def hang(self, request):
    if os.environ.get("RANK", "0") == rank and request.epoch == int(epoch) and len(request.utterance_B) > 1:
        hang.steps += 1
        if hang.steps == int(step):
            print("a read" + " hangs", file=sys.stderr, flush=True)
            open(pipe).read()
    return cut(self, request)

hang.steps = 0
datasets.TrainingSegments.__getitem__ = hang
stopping.leave(logs.run_command(train.main, words))
"""


def start_hanging(step: int, pipe: Path, words: Sequence[str]) -> "subprocess.Popen[str]":
    arguments = ["0", "1", str(step), str(pipe), *words]
    return subprocess.Popen([sys.executable, "-c", HANGING, *arguments], stderr=subprocess.PIPE, text=True)


def wait_for(training: "subprocess.Popen[str]", words: str) -> str:
    assert training.stderr is not None
    said = ""
    for line in training.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("step", [1, 2])
def test_a_request_to_stop_saves_the_state_although_a_worker_hangs(
    workspace, stage4, outcome, assert_same, tmp_path, step
):
    os.mkfifo(tmp_path / "pipe")
    words = workspace.options("ssl", "training.checkpoint_minutes=1000", "training.loader_workers=1")
    training = start_hanging(step, tmp_path / "pipe", words)
    wait_for(training, "a read hangs" if step == 1 else "step=4")  # there are 3 steps in an epoch
    training.send_signal(signal.SIGTERM)
    _, said = training.communicate(timeout=60)
    assert training.returncode == RUN_AGAIN, said
    assert "the next run goes on from there" in said and "Traceback" not in said
    latest = torch.load(workspace.systems / "ssl/checkpoints/latest.pt", weights_only=True)
    assert (latest["epoch"], latest["step_in_epoch"]) == (1, step - 1), "all steps before the read that hangs"
    ended = subprocess.run([sys.executable, "-m", "sslsv_tk.bin.train", *words], capture_output=True, check=False)
    assert ended.returncode == 0
    assert_same(outcome(workspace.systems / "ssl"), outcome(stage4))


@pytest.mark.parametrize("rank", [0, 1])
def test_several_processes_save_and_end_at_the_first_request_although_a_worker_of_one_hangs(
    workspace, tmp_path, outcome, assert_same, rank
):
    os.mkfifo(tmp_path / "pipe")
    more = ("training.checkpoint_minutes=1000", "training.loader_workers=1", "training.batch_size=6")
    words = workspace.options("ssl", *more)
    group = [sys.executable, "-m", "sslsv_tk.bin.run_processes", "--processes", "2", sys.executable]
    hanging = [*group, "-c", HANGING, str(rank), "1", "2", str(tmp_path / "pipe"), *words]
    training = subprocess.Popen(hanging, stderr=subprocess.PIPE, text=True)
    wait_for(training, "a read hangs")
    time.sleep(3)  # the other process waits for this one
    began = time.monotonic()
    training.send_signal(signal.SIGTERM)
    _, said = training.communicate(timeout=120)
    assert training.returncode == RUN_AGAIN and "Traceback" not in said, said
    assert time.monotonic() - began < 60 and "the next run goes on from there" in said
    latest = torch.load(workspace.systems / "ssl/checkpoints/latest.pt", weights_only=True)
    assert (latest["epoch"], latest["step_in_epoch"]) == (1, 1), "all steps before the read that hangs"
    for name in ("ssl", "undisturbed"):
        command = [*group, "-m", "sslsv_tk.bin.train", *workspace.options(name, *more)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert_same(outcome(workspace.systems / "ssl"), outcome(workspace.systems / "undisturbed"))


def test_a_second_request_ends_at_once_where_the_trainer_itself_hangs(
    workspace, stage4, outcome, assert_same, tmp_path
):
    os.mkfifo(tmp_path / "pipe")
    words = workspace.options("ssl", "training.loader_workers=0")
    training = start_hanging(2, tmp_path / "pipe", words)
    wait_for(training, "a read hangs")
    training.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    assert training.poll() is None, "it waits for the read"
    training.send_signal(signal.SIGTERM)
    _, said = training.communicate(timeout=60)
    assert training.returncode == stopping.INTERRUPTED
    assert said == "error: asked to stop again: ended at once, without saving; the next run goes on from the last " + (
        "checkpoint\n"
    )
    ended = subprocess.run([sys.executable, "-m", "sslsv_tk.bin.train", *words], capture_output=True, check=False)
    assert ended.returncode == 0
    assert_same(outcome(workspace.systems / "ssl"), outcome(stage4))


def test_a_run_with_several_workers_that_is_killed_goes_on_to_the_same_bits_with_others(
    workspace, stage4, outcome, assert_same
):
    """Workers stay over several epochs; those of a trainer that was killed end with it."""
    for workers, step in ((2, 2), (3, 5)):
        settings = (f"training.loader_workers={workers}", "training.checkpoint_minutes=0", "training.log_steps=1")
        words = [sys.executable, "-m", "sslsv_tk.bin.train", *workspace.options("ssl", *settings)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as training:
            wait_for(training, f"step={step} ")
            started = Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()
            training.kill()
        assert len(started) >= workers
    words = workspace.options("ssl", "training.loader_workers=2", "training.checkpoint_minutes=0")
    ended = subprocess.run([sys.executable, "-m", "sslsv_tk.bin.train", *words], capture_output=True, check=False)
    assert ended.returncode == 0
    assert_same(outcome(workspace.systems / "ssl"), outcome(stage4))


def test_a_run_that_is_suspended_with_all_its_processes_goes_on_to_the_same_bits(
    workspace, stage4, outcome, assert_same
):
    words = [sys.executable, "-m", "sslsv_tk.bin.train", *workspace.options("ssl", "training.loader_workers=2")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as training:
        for _ in range(3):
            wait_for(training, "kind=step")
            os.killpg(training.pid, signal.SIGSTOP)
            time.sleep(1.5)  # more than a tick of the loader
            os.killpg(training.pid, signal.SIGCONT)
        _, said = training.communicate(timeout=120)
    assert training.returncode == 0 and "Traceback" not in said and "error" not in said, said
    assert_same(outcome(workspace.systems / "ssl"), outcome(stage4))
