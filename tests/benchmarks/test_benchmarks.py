"""Every benchmark runs, and prints a table with both versions and the machine's rate."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SHARED = {"machine", "corpus"}
PRODUCTS = ("product, TFLOP/s", "4096 x 4096 product, fp32", "4096 x 4096 fp32 product")
FIGURES = {
    "decoding": ["| 16000 Hz | ", "| 44100 Hz | "],
    "dino_step": ["| ours | ", "| straightforward | "],
    "extraction": ["| ours | ", "| straightforward | "],
    "feature_reading": ["| float32 (FM) | ", "| 16-bit (CM2) | ", "| packed audio | "],
    "full_size": [
        "| data directory read | ",
        "| features and four copies opened ",
        "| 4 loader workers, ",
        "| trials scored, EER, minDCF and interval ",
    ],
    "front_end": ["| 1 | ", "| 2 | "],
    "growth": ["| stage 1: files listed, ", "| stage 3: packed and joined", "| an epoch read, "],
    "kmeans": ["| ours, fp32 | ", "| straightforward, fp32 | "],
    "loading": ["| load + reverb + noise | ", "| load | "],
    "nearest": ["| nearest | ", "| normalised | ", "| row by row | "],
    "positive_sampling": ["| choose and replace a batch | ", "| loop over the batch | "],
    "sampler_state": [
        "| figure | 1 process | 2 processes |",
        "| one update ",
        "| all-reduced in an update, MB | 0 | ",
    ],
    "scaling": ["| 0.01 | 1 | ", "| 0.01 | 2 | "],
    "scoring": ["| 2,000 of 250 | "],
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
