"""Files that appear whole or not at all, and records that say what made them."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sslsv_tk import artifacts

MEBIBYTE = 2**20


def test_a_file_appears_with_its_folder_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with artifacts.replacing(path) as stream:
        stream.write("caf\u00e9\n")
        assert not path.exists()
    assert path.read_bytes() == "caf\u00e9\n".encode()
    assert os.listdir(path.parent) == ["a.txt"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    with artifacts.replacing(tmp_path / "a.bin", "wb") as stream:
        stream.write(b"\x00\r\n\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n\xff"


def test_until_then_a_reader_sees_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with artifacts.replacing(path) as stream:
        stream.write("new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), artifacts.replacing(path) as stream:
        stream.write("new")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("before", [None, "old"])
def test_kill_in_the_middle_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_text(before)
    code = f"""
import sys, time
from sslsv_tk import artifacts
with artifacts.replacing({str(path)!r}) as stream:
    stream.write("new" * 100_000)
    stream.flush()
    print("writing", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "writing\n"
        assert child.poll() is None
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert (path.read_text() if path.exists() else None) == before
    with artifacts.replacing(path) as stream:  # what the dead one left is in nobody's way
        stream.write("again")
    assert path.read_text() == "again"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root: the test with a file size limit stands in for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_leaves_the_old_file(full_disk: Path) -> None:
    path = full_disk / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left") as caught, artifacts.replacing(path, "wb") as stream:
        stream.write(bytes(MEBIBYTE))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert os.listdir(full_disk) == ["a.bin"]


@pytest.mark.parametrize("size", [2**14 + 1, MEBIBYTE])  # noticed when closing; noticed when writing
def test_a_write_that_fails_is_an_error_and_leaves_the_old_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, limits[1]))
        with pytest.raises(OSError, match="File too large"), artifacts.replacing(path) as stream:
            stream.write("x" * size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_may_not_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), artifacts.replacing(tmp_path / "file" / "a.txt"):
        pass


def test_the_bytes_are_on_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str, call: Callable[..., None]) -> Callable[..., None]:
        return lambda *words: (order.append(name), call(*words))[1]

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("replace", os.replace))
    with artifacts.replacing(tmp_path / "a.txt") as stream:
        stream.write("x")
    assert order == ["fsync", "replace"]
