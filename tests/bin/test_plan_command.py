"""bin/plan as run.sh calls it: what it prints, its exit status, and that stages 1 to 3 need no torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "recipes"))

from plan_words import words  # noqa: E402

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
sys.argv[0] = "plan"
runpy.run_module("sslsv_tk.bin.plan", run_name="__main__")
"""


@pytest.fixture
def plan(monkeypatch):
    """plan(WORD ..., NAME=VALUE ...): in the folder of the recipe, where importing torch fails."""
    monkeypatch.chdir(ROOT / "egs" / "voxceleb")

    def run(*before: str, **given: object) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in ("VOXCELEB1", "VOXCELEB2")}
        environment |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-c", WITHOUT_TORCH, *before, *words(**given)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


def test_stages_1_to_3_6_and_7_are_planned_without_torch(plan, tmp_path):
    exp, data = tmp_path / "exp", tmp_path / "data" / "voxceleb1_test"
    for name in ("simclr_fast_resnet34", "simclr_fast_resnet34_ssps_mini", "simclr_fast_resnet34_same_utterance"):
        (exp / name / "checkpoints").mkdir(parents=True)
        (exp / name / "checkpoints" / "averaged.pt").touch()
    data.mkdir(parents=True)
    (data / "trials_veri_test2").touch()
    for stage, stop_stage in ((1, 3), (6, 7)):
        done = plan(mini="true", stage=stage, stop_stage=stop_stage, expdir=exp, datadir=data.parent)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0] == f"stages={' '.join(map(str, range(stage, stop_stage + 1)))}"
    done = plan(mini="true", feats_type="fbank", stop_stage=3)
    assert "bands=40\n" in done.stdout, "the bands stand in the files of every system"


def test_a_mistake_is_status_2_and_what_cannot_be_used_is_1_with_one_line_each(plan):
    done = plan(stop_stage=1, system="simclr_ecpa")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "(plan) error: --system simclr_ecpa: there is no conf/systems/simclr_ecpa.yaml here. Did you" in done.stderr
    done = plan(stop_stage=1)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "(plan) error: the folder of VOXCELEB2 is not known." in done.stderr


def test_after_stage_1_the_plan_comes_again_without_notes_that_were_read(plan, tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "wav.scp").write_text("".join(f"u{number:03} x\n" for number in range(320)))
    given = {"train_audio": tmp_path, "test_audio": tmp_path, "datadir": tmp_path / "data"}
    given |= {"musan": tmp_path, "rirs": tmp_path, "positives": "none", "system": "simclr_fast_resnet34"}
    given |= {"stage": 2, "stop_stage": 2, "scale": "auto"}
    first, again = plan(**given), plan("--after-stage", "1", **given)
    assert again.returncode == 0, again.stderr
    assert first.stdout == again.stdout
    assert "note=--scale auto: 320 utterances; training.batch_size=16\n" in again.stdout
    assert "settings=training.batch_size=16\nsettings=training.seed=0\n" in again.stdout
    assert "configs=conf/small/simclr.yaml\n" in again.stdout


@pytest.mark.parametrize("setting", ["training.batch_size=010", "training.epochs=1:30", "training.epochs", "a.b=1_0"])
def test_a_setting_that_cannot_be_meant_is_status_2_and_named_as_it_was_typed(plan, setting):
    done = plan(stop_stage=1, set=(setting,))
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"(plan) error: --set {setting}" in done.stderr


def test_a_command_interrupted_while_it_is_loaded_is_one_line(tmp_path):
    impatient = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
    (tmp_path / "argparse.py").write_text(impatient)  # the first that it imports
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-c", "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"]
    command[-1] += " os.execv(sys.executable, [sys.executable, '-m', 'sslsv_tk.bin.plan'])"  # nohup ignores SIGINT
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: interrupted while the command was being loaded\n"
