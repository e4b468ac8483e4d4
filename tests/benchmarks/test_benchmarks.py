"""Every benchmark runs, and prints a table with both versions and the machine's rate."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SHARED = {"machine", "corpus", "beside", "turns"}
PRODUCTS = (
    "product, TFLOP/s",
    "fastest 4096 product, TFLOP/s",
    "4096 x 4096 product, fp32",
    "4096 x 4096 fp32 product",
)
FIGURES = {
    "cohorts": ["| statistics | ", "| bare product | ", "| private memory at most, MB | "],
    "decoding": ["| 16000 Hz | ", "| 44100 Hz | "],
    "dino_step": ["| ours | ", "| straightforward | "],
    "extraction": ["| ours, fp32 | ", "| ours, bf16 | ", "| straightforward | ", "| encoder, ours, bf16 | "],
    "feature_reading": ["| float32 (FM) | ", "| 16-bit (CM2) | ", "| packed audio | "],
    "full_size": [
        "| data directory read | ",
        "| features and four copies opened ",
        "| 4 loader workers, ",
        "| trials scored, EER, minDCF and interval ",
    ],
    "front_end": ["| 1 | ", "| 2 | "],
    "growth": ["| stage 1: files listed, ", "| stage 3: packed and joined", "| an epoch read, "],
    "kmeans": ["| ours | ", "| straightforward, fp32 | ", "| random points: ours | "],
    "loading": ["| load + reverb + noise | ", "| load | "],
    "nearest": ["| nearest | ", "| normalised | ", "| row by row | "],
    "packing": ["| copied: no digests", "| copied: and digests of the files", "| in place: and digests of entries"],
    "positive_sampling": ["| choose and replace a batch | ", "| loop over the batch | "],
    "sampler_state": [
        "| figure | 1 process | 2 processes |",
        "| one update ",
        "| all-reduced in an update, MB | 0 | ",
    ],
    "scaling": ["| 0.01 | 1 | ", "| 0.01 | 2 | "],
    "scoring": ["| 2,000 of 250 | "],
    "system_step": ["| simclr_ecapa, fp32 | ", "| dino_ecapa, bf16 | "],
    "training_step": ["| fp32, apart | ", "| bf16, together | ", "| straightforward, fp32 | "],
}


def test_every_benchmark_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - SHARED == FIGURES.keys()


@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_prints_its_table(name: str) -> None:
    command = [sys.executable, FOLDER / f"{name}.py", "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent, check=False)
    if done.returncode == 1 and done.stderr.startswith("torchaudio "):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert all(row in done.stdout for row in FIGURES[name]), done.stdout
    assert any(product in done.stdout for product in PRODUCTS), done.stdout
    assert "nan" not in done.stdout and "inf" not in done.stdout.split()


def test_another_checkout_is_timed_in_turn_and_rows_that_both_have_are_compared() -> None:
    command = [sys.executable, FOLDER / "nearest.py", "--beside", FOLDER.parent, "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent, check=True)
    here, there, quotients = done.stdout.split("## ")[1:]
    assert "| bare product | " in here and "| bare product | " in there
    assert "| bare product | " in quotients and "| row by row | " in quotients


def test_sides_measure_in_turn_until_one_ends(tmp_path: Path) -> None:
    """Each side writes its letter at every call; the one with more calls goes on alone."""
    for side, calls in (("A", 2), ("B", 4)):
        folder = tmp_path / side / "benchmarks"
        folder.mkdir(parents=True)
        (folder / "machine.py").write_text("def seconds(work):\n    work()\n    return 1.0\n")
        (folder / "probe.py").write_text(
            "import argparse\nfrom machine import seconds\nget_parser = argparse.ArgumentParser\n"
            f"def note():\n    open({str(tmp_path / 'order')!r}, 'a').write({side!r})\n"
            f"def main():\n    for _ in range({calls}):\n        seconds(note)\n"
        )
    (to_a, from_b), (to_b, from_a) = os.pipe(), os.pipe()
    os.write(from_b, b"t")
    ends = {"A": (to_a, from_a), "B": (to_b, from_b)}
    turns = FOLDER / "turns.py"
    sides = [
        subprocess.Popen([sys.executable, turns, tmp_path / side, "probe", *map(str, pipes)], pass_fds=pipes)
        for side, pipes in ends.items()
    ]
    assert [process.wait(60) for process in sides] == [0, 0]
    assert (tmp_path / "order").read_text() == "ABABBB"
