"""How a command ends: the status, one line for a user's mistake, a traceback for a fault of ours only."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import argparse, sys
from sslsv_tk import logs
from sslsv_tk.config import ConfigError

def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int)
    options = parser.parse_args(arguments)
    {body}

if __name__ == "__main__":
    sys.exit(logs.run_command(main))
"""


def run(folder: Path, body: str, *words: str) -> tuple[int, list[str]]:
    """The exit status and the lines on standard error of a command with this body; nothing goes to standard output."""
    script = folder / "measure_all.py"
    script.write_text(PROGRAM.format(body=body))
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_a_command_logs_its_command_line(tmp_path: Path) -> None:
    status, lines = run(tmp_path, "return None", "--size", "3")
    assert status == 0
    assert len(lines) == 1 and lines[0].endswith(" (measure_all) measure_all --size 3")


def test_words_are_quoted_so_that_the_line_can_be_typed_again(tmp_path: Path) -> None:
    _, lines = run(tmp_path, "return None", "--size", "3", "--size= 4")
    assert lines[0].endswith("measure_all --size 3 '--size= 4'")


def test_the_status_of_main_is_that_of_the_command(tmp_path: Path) -> None:
    assert run(tmp_path, "return 3")[0] == 3


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise ValueError('a.yaml:3: bad.\\n   Do good.')", "error: a.yaml:3: bad. Do good."),
        ("raise ConfigError('unknown key')", "error: unknown key"),
        ("open('/nonexistent/file')", "error: [Errno 2] No such file or directory: '/nonexistent/file'"),
        ("'\\udce9'.encode()", "error: 'utf-8' codec can't encode"),
        ("raise MemoryError", "error: not enough memory: an array cannot be made. Ask for less at a time"),
        ("import numpy; numpy.ones(2**55)", "error: not enough memory: Unable to allocate 256. PiB for an array"),
        ("import torch; torch.empty(2**50)", "error: not enough memory: tried to allocate 4503599627370496 bytes. Ask"),
        ("import no_such_library.part", "error: no_such_library cannot be loaded (No module named 'no_such_library')."),
        ("raise ImportError('libx.so: cannot open', name='torch')", "error: torch cannot be loaded (libx.so: cannot"),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_status_1(tmp_path: Path, body: str, line: str) -> None:
    status, lines = run(tmp_path, body)
    assert status == 1
    assert len(lines) == 2 and f"(measure_all) {line}" in lines[1]


def test_a_fault_of_ours_keeps_its_traceback(tmp_path: Path) -> None:
    status, lines = run(tmp_path, "[].pop()")
    assert status == 1
    assert lines[1].startswith("Traceback") and lines[-1] == "IndexError: pop from empty list"


def test_an_interrupted_command_ends_with_2_and_says_so(tmp_path: Path) -> None:
    status, lines = run(tmp_path, "raise KeyboardInterrupt")
    assert status == 2
    assert lines[1].endswith("(measure_all) interrupted") and len(lines) == 2


@pytest.mark.parametrize("words", [["--sise", "3"], ["--size"], ["--size", "big"], ["stray"]])
def test_wrong_usage_ends_with_2(tmp_path: Path, words: list[str]) -> None:
    status, lines = run(tmp_path, "return None", *words)
    assert status == 2
    assert any(line.startswith("usage: ") for line in lines) and not any("Traceback" in line for line in lines)
