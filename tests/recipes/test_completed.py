"""Which stages are skipped: only those all of whose files are as they were, and all that was asked for is the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslsv_tk.bin import completed as command
from sslsv_tk.recipes import completed
from sslsv_tk.recipes.completed import Run
from sslsv_tk.stamps import stamp_in, stamp_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of stages 1 to 7 with a file in each of its folders."""
    plan = {
        "stages": ["1 2 3 4 5 6 7"],
        "datadir": [f"{tmp_path}/data"],
        "raw": [f"{tmp_path}/dump/raw"],
        "dump": [f"{tmp_path}/dump/raw"],
        "expdir": [f"{tmp_path}/exp"],
        "train_set": ["train"],
        "train_folders": [f"{tmp_path}/corpus"],
        "test_sets": ["test"],
        "test_folders": [f"{tmp_path}/corpus"],
        "noises": ["rirs"],
        "rirs": [f"{tmp_path}/rirs"],
        "system": ["ssl"],
        "continued": ["ssl_five"],
        "evaluated": ["ssl"],
        "list_sets": ["test"],
        "configs": [f"{tmp_path}/a.yaml"],
    }
    for name in ("corpus/a.wav", "rirs/b.wav", "data/train/wav.scp", "data/test/wav.scp", "data/rirs/wav.scp"):
        write(tmp_path / name)
    for name in ("train", "test", "rirs"):
        write(tmp_path / "dump/raw" / name / "split/wav.1.ark")
    for name in ("ssl", "ssl_five"):
        for part in ("made.json", "config.yaml", "checkpoints/averaged.pt"):
            write(tmp_path / "exp" / name / part)
    for name in ("embeddings/test/xvector.scp", "scores/a.json"):
        write(tmp_path / "exp/ssl" / name)
    write(tmp_path / "exp/RESULTS.md")
    (tmp_path / "a.yaml").write_text("training: {epochs: 3}\n")
    return Run({"system": ["ssl"], "force": ["false"], "tolerance": ["0.0"]}, plan)


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" if path.name != "wav.scp" else "a /nowhere/a.wav\n")


def note_all(run: Run) -> None:
    _, listings = completed.complete(run)
    for stage in completed.STAGES:
        completed.note(run, stage, listings[stage])


def test_nothing_is_complete_before_it_is_noted_and_all_is_after(run):
    assert completed.complete(run)[0] == set()
    note_all(run)
    assert completed.complete(run)[0] == set(completed.STAGES)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("corpus/a.wav", {1, 3}),
        ("rirs/b.wav", {2, 3}),
        ("data/test/wav.scp", {1, 3, 7}),
        ("dump/raw/train/split/wav.1.ark", {3, 4, 5}),
        ("dump/raw/test/split/wav.1.ark", {3, 6}),
        ("exp/ssl/checkpoints/averaged.pt", {4, 5, 6}),
        ("exp/ssl/config.yaml", {4, 5, 6, 7}),
        ("exp/ssl_five/made.json", {5}),
        ("exp/ssl/embeddings/test/xvector.scp", {6, 7}),
        ("exp/ssl/scores/a.json", {7}),
        ("exp/RESULTS.md", {7}),
    ],
)
def test_a_changed_file_takes_the_stages_that_read_or_wrote_it(run, tmp_path, name, stages):
    note_all(run)
    path = tmp_path / name
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert completed.complete(run)[0] == set(completed.STAGES) - stages
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert completed.complete(run)[0] == set(completed.STAGES)
    path.rename(path.with_name("away"))
    assert completed.complete(run)[0] == set(completed.STAGES) - stages
    path.with_name("away").rename(path)
    write(path.with_name("new"))
    several = completed.complete(run)[0]
    assert several == set(completed.STAGES) - stages or not path.parent.name.startswith(("corpus", "train", "test"))


def test_another_wish_is_not_complete(run, tmp_path):
    note_all(run)
    assert completed.complete(Run({**run.options, "nj": ["7"]}, run.plan))[0] == set(completed.STAGES)
    assert completed.complete(Run({**run.options, "tolerance": ["0.1"]}, run.plan))[0] == set()
    assert completed.complete(Run({**run.options, "seed": ["1"]}, run.plan))[0] == {1, 2, 3}
    (tmp_path / "a.yaml").write_text("training: {epochs: 4}\n")
    assert completed.complete(run)[0] == {1, 2, 3}


def test_a_damaged_note_is_none(run, tmp_path):
    note_all(run)
    for path in (tmp_path / "exp/log/complete").iterdir():
        path.write_text(path.read_text()[:-3])
    assert completed.complete(run)[0] == set()


def test_the_command_prints_what_is_complete_and_nothing_where_all_is_made_anew(run, tmp_path, capsys):
    lines = [f"{name}={value}" for name, values in run.plan.items() for value in values]
    (tmp_path / "plan").write_text("\n".join(lines))
    words = ["--plan", str(tmp_path / "plan"), "system=ssl", "force=false", "tolerance=0.0"]
    command.main(words)
    for stage in (1, 4):
        command.main([*words, "--note", str(stage)])
    command.main(words)
    assert capsys.readouterr().out == "\n1 4\n"
    command.main([word.replace("force=false", "force=true") for word in words])
    assert capsys.readouterr().out == "\n"


def test_torch_is_not_loaded():
    code = "import sys; sys.modules['torch'] = None; import sslsv_tk.bin.completed, sslsv_tk.bin.verify"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("name", "stages"), [("embeddings/test/xvector.scp", {6, 7}), ("scores/a.json", {7})])
def test_results_are_compared_by_contents_and_lose_their_stamp_where_they_differ(run, tmp_path, name, stages):
    note_all(run)
    path = tmp_path / "exp/ssl" / name
    before = path.stat()
    path.write_text("y")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stamp_of(path) == stamp_in(before)
    assert completed.complete(run)[0] == set(completed.STAGES) - stages
    assert stamp_of(path) != stamp_in(before)
