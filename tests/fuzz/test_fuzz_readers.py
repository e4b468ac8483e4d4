"""The fuzz script runs, gives the same cases for the same seed, and notices what it is there for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzz_readers import Fuzzer, Limits, run, signalled
from mutations import MUTATIONS, mutated
from targets import Target

SCRIPT = Path(__file__).with_name("fuzz_readers.py")


def make(folder: Path) -> None:
    folder.mkdir()
    (folder / "table").write_text("a 1\nb 2\nc 3\n")


def reading(work: Callable[[bytes], object]) -> Target:
    """A target whose reader does `work` with the contents of its one file."""
    return Target("own", make, "*", lambda folder: work((folder / "table").read_bytes()))


def refuse(contents: bytes) -> None:
    if contents != b"a 1\nb 2\nc 3\n":
        raise ValueError("expected the table")


def fail(contents: bytes) -> None:
    if contents != b"a 1\nb 2\nc 3\n":
        raise KeyError("b")


def say_nothing(contents: bytes) -> None:
    if contents != b"a 1\nb 2\nc 3\n":
        raise ValueError(" ")


def never_end(contents: bytes) -> None:
    while contents != b"a 1\nb 2\nc 3\n":
        pass


@pytest.mark.parametrize(
    ("work", "message"),
    [(refuse, ""), (fail, "KeyError: 'b'"), (say_nothing, "without a word"), (never_end, "TooSlow")],
)
def test_what_may_come_out_of_a_reader_and_what_not(tmp_path, work, message):
    fuzzer = Fuzzer(reading(work), tmp_path / "own", seed=0)
    with signalled():
        fault = next(filter(None, (fuzzer.fault(number, 0.1) for number in range(5 if message else 50))), "")
    assert message in fault and bool(message) == bool(fault)


def test_a_case_that_failed_is_counted_kept_and_the_same_again(tmp_path, capsys):
    fuzzer = Fuzzer(reading(fail), tmp_path / "own", seed=3)
    with signalled():
        cases, failed = run(fuzzer, Limits(5, 600, first=0, cases=4), tmp_path / "kept")
        printed = capsys.readouterr().out
        assert (cases, failed) == (4, len(list((tmp_path / "kept").iterdir()))) and failed > 0
        assert run(fuzzer, Limits(5, 600, first=0, cases=4), None) == (cases, failed)
        assert capsys.readouterr().out == printed
    assert (tmp_path / "own" / "table").read_text() == "a 1\nb 2\nc 3\n"


def test_every_damage_changes_contents_and_is_of_its_draw_alone():
    contents = bytes(range(40)) * 3 + b" word = 7,\nline two: [3]\nthree\n"
    for damage in MUTATIONS:
        made = [bytearray(contents) for _ in range(20)]
        for draw, copy in enumerate(made):
            damage(copy, np.random.default_rng(draw))
        assert any(copy != contents for copy in made), damage.__name__
    again = [mutated(contents, [contents], np.random.default_rng(5)) for _ in range(2)]
    assert again[0] == again[1] != contents


def test_all_readers_stand_a_few_cases():
    words = [sys.executable, SCRIPT, "--seconds", "600", "--cases", "6", "--seed", "11", "--case-seconds", "60"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=SCRIPT.parents[2], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("--seed 11, ") and "checkpoints: 6 cases, 0 failed" in done.stdout


def test_a_target_that_is_none_is_refused():
    words = [sys.executable, SCRIPT, "--targets", "nothing"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=SCRIPT.parents[2], check=False)
    assert done.returncode == 1 and "no target begins with nothing" in done.stderr
