"""The job script, the call of sbatch, and what a dry run shows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import ARRAY, ROOT, read_site

from sslsv_tk.launch.__main__ import main
from sslsv_tk.launch._slurm import script
from sslsv_tk.launch._slurm.site import Site
from sslsv_tk.launch.base import JobArray, Resources

SITE = Site("conf/slurm.conf", ["sbatch"])


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_script_gives_a_shell_exactly_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/printf")
    text = script.text(SITE, ARRAY, Resources()).replace(" -m sslsv_tk", " '%s\\n' sslsv_tk")
    shown = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown[-6:] == ["JOB", "echo", "JOB", "a b", "$(touch ran)", "it's"]
    assert not Path("ran").exists()


PROLOGUE = r"""
command sbatch
prologue export FOUND="a b"   # kept as it is
prologue where() { echo "in $PWD"; }
prologue where | sed 's/^/now /'
"""


def test_the_prologue_runs_before_the_task_and_changes_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/env")
    text = script.text(read_site(PROLOGUE), ARRAY, Resources()).replace(" -m sslsv_tk", " printenv FOUND #")
    text = text.replace("task=(/usr/bin/env printenv FOUND #", "task=(/usr/bin/env printenv FOUND) #")
    shown = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == [f"now in {Path.cwd()}", "a b"]


def test_a_line_of_the_prologue_that_fails_ends_the_task_and_is_named() -> None:
    text = script.text(read_site("command sbatch\nprologue module load 'no such'\n"), ARRAY, Resources())
    ended = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stdout == ""
    assert "slurm.conf: this line of the prologue failed: module load 'no such'" in ended.stderr


def test_the_prologue_may_start_the_task_in_a_container() -> None:
    Path("apptainer").write_text('#!/bin/bash\necho inside "$1" "$2"; shift 2; exec "$@"\n')
    Path("apptainer").chmod(0o755)
    site = read_site('command sbatch\nprologue exec ./apptainer exec image.sif "${task[@]}"\n')
    text = script.text(site, ARRAY, Resources())
    text = re.sub(r"task=\(.*\)\n", "task=(echo 'a  b' '$HOME')\n", text)
    shown = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout
    assert shown == "inside exec image.sif\na  b $HOME\n", "and only there"


def test_the_script_names_the_folders_of_plugins_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSLSV_PLUGINS", raising=False)
    assert "SSLSV_PLUGINS" not in script.text(SITE, ARRAY, Resources())
    monkeypatch.setenv("SSLSV_PLUGINS", "/home/a b:/lab")
    assert "\nexport SSLSV_PLUGINS='/home/a b:/lab'\n" in script.text(SITE, ARRAY, Resources())


def test_the_call_names_the_array_its_limit_and_its_log(tmp_path: Path) -> None:
    found = read_site("command sbatch --account=x\noption mem=* --mem=$0\noption time=* --time=$0\n")
    resources = Resources(memory_bytes=3 * 2**29 + 1, max_jobs_run=2, seconds=3723)
    words = script.call(found, JobArray(1, 9, "a%b/x.JOB.log", ("true",)), resources, [1, 3, 4, 5, 9], "name")
    assert words[:5] == ["sbatch", "--parsable", "--job-name=name", "--array=1,3-5,9%2", f"--chdir={tmp_path}"]
    assert f"--output={tmp_path}/a%%b/x.%a.log" in words
    assert words[-4:] == ["--account=x", "--mem=1537M", "--time=1:02:03", f"{tmp_path}/a%b/x.JOB.log.slurm/job.sh"]


def test_a_job_on_several_nodes_has_a_process_per_gpu() -> None:
    assert script.tasks_per_node(Resources(num_nodes=2, gpus=4)) == 4
    assert script.tasks_per_node(Resources(num_nodes=2)) == 1
    assert script.tasks_per_node(Resources(gpus=4)) == 1


def test_names_are_readable_and_unique() -> None:
    names = {script.unique_name(JobArray(1, 2, "exp/log a/pack set.JOB.log", ("true",))) for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch(r"pack_set-[0-9a-f]{8}", name) for name in names)


def test_a_dry_run_shows_the_call_and_the_script_and_submits_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    conf = str(ROOT / "egs/voxceleb/conf/slurm.conf")
    assert main(["slurm", "--conf", conf, "--dry-run", "--gpu", "1", "JOB=1:3", "x.JOB.log", "echo", "a b"]) == 0
    call, *text = capsys.readouterr().out.splitlines()
    assert shlex.split(call.removeprefix("# "))[0] == "sbatch"
    assert "--gres=gpu:1" in call
    assert text[0] == "#!/bin/bash"
    assert text[-3].startswith("task=(") and text[-3].endswith(" 1 1 1 JOB echo 'a b')")
    assert text[-2] == 'exec "${task[@]}"'
    assert list(Path().iterdir()) == []


def test_a_dry_run_on_one_machine_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "--dry-run", "JOB=1:2", "x.JOB.log", "echo", "a b", "JOB"]) == 0
    assert capsys.readouterr().out == "x.1.log: echo 'a b' 1\nx.2.log: echo 'a b' 2\n"
    assert list(Path().iterdir()) == []
