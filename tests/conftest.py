"""Fixtures that all tests share."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from process_pool import ProcessPool
from small_corpus import pack_all, write_configuration
from trained_systems import assert_same, outcome, stage4, workspace  # noqa: F401

from sslsv_tk import seeds

WriteAudio = Callable[..., NDArray[np.int16]]
TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent


FAST = ("clustering", "encoders", "methods", "nn", "positives", "report", "sampling", "scoring", "test_config.py")
"""Folders and files of tests whose cases have the marker `fast`: they take seconds together."""


def pytest_configure() -> None:
    """One thread for each process of tests: on small tensors a second one only waits, and burns a core doing so."""
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With -m fast nothing else is imported, which alone would take half as long as the tests."""
    inside = collection_path.relative_to(TESTS).parts if collection_path.is_relative_to(TESTS) else ()
    return True if config.option.markexpr == "fast" and inside and inside[0] not in FAST else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is fast by where it stands."""
    if missing := [name for name in FAST if not (TESTS / name).exists()]:
        raise pytest.UsageError(f"FAST in {__file__} names what is not in {TESTS}: {', '.join(missing)}.")
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in FAST:
            item.add_marker("fast")


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """Small arrays that the authors' implementations computed; its README says which."""
    return TESTS / "reference"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Large reference arrays and real speech, in a folder that lies beside the checkout of some machines."""
    folder = ROOT.parent / "shared"
    if not (folder / "reference").is_dir():
        pytest.skip("no ../shared beside this checkout: the comparison with reference arrays is not made")
    return folder


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPool]:
    """Processes for all tests; they end with the session, also one that is interrupted."""
    pool = ProcessPool(tmp_path_factory.mktemp("pool"))
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed training set, noises and responses, and system.yaml; tests read it only."""
    folder = tmp_path_factory.mktemp("inputs")
    pack_all(folder)
    write_configuration(folder)
    return folder


@pytest.fixture
def kill_at_rename() -> Callable[[Callable[[], None], int], bool]:
    """kill_at_rename(work, n) runs `work` in a child that is killed (-9) where it is about to rename its n-th file.

    Returns False when `work` ended before there was an n-th rename.
    """

    def kill(work: Callable[[], None], number: int) -> bool:
        reached, reports = os.pipe()
        child = os.fork()
        if child == 0:
            _wait_at_rename(work, number, reports)
        os.close(reports)
        with os.fdopen(reached, "rb") as stream:
            report = stream.read(1)
            if report:
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) == bool(report), "the child ended by itself and not as expected"
        assert report or os.WEXITSTATUS(status) == 0
        return bool(report)

    return kill


def _wait_at_rename(work: Callable[[], None], number: int, reports: int) -> None:
    """In the child: run `work`, report and wait for the end before the n-th rename; never returns."""
    rename, seen = os.replace, 0

    def replace(source: str, target: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.write(reports, b"!")
            signal.pause()
        rename(source, target)

    os.replace = replace  # type: ignore[assignment]
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """contents(folder): the bytes of every file below it by its relative path; stamps are of a disk and a moment."""
    return lambda folder: {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.endswith(".stamps")
    }


@pytest.fixture
def write_audio() -> WriteAudio:
    """write_audio(path, samples=..., rate=..., channels=...) writes 16-bit noise and returns it."""

    def write(path: Path, samples: int = 1600, rate: int = 16000, channels: int = 1) -> NDArray[np.int16]:
        shape = (samples, channels) if channels > 1 else (samples,)
        waveform = seeds.generator(str(path.name), samples).integers(-32768, 32768, shape, dtype=np.int16)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform, rate, subtype="PCM_16")
        return waveform

    return write


@pytest.fixture
def corpus(tmp_path: Path, write_audio: WriteAudio) -> Path:
    """Two speakers, two recordings each, two utterances each, as <speaker>/<recording>/<utterance>.wav."""
    for speaker in ("anna", "bert"):
        for recording in ("r1", "r2"):
            for utterance in ("u1", "u2"):
                samples = 1000 + 100 * len(list(tmp_path.glob("corpus/*/*/*.wav")))
                write_audio(tmp_path / "corpus" / speaker / recording / f"{utterance}.wav", samples)
    return tmp_path / "corpus"
