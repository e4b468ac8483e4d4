"""conf/slurm.conf: what the file may say, and what becomes of it."""

from pathlib import Path

import pytest
from slurm_cluster import ROOT, read_site

from sslsv_tk.launch._slurm import site


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_option_becomes_the_words_of_its_value() -> None:
    found = read_site("""
        # a comment
        command sbatch --account "my project"   # another
        option mem=* --mem-per-cpu=$0
        option gpu=0
        option gpu=8 -p big
        option gpu=* -p gpu --gres=gpu:$0  # the site's word
        option tasks_per_node=* --constraint=a100#$0
        default time=1:00:00
        option time=* --time=$0
    """)
    assert found.command == ["sbatch", "--account", "my project"]
    assert found.arguments({"mem": "4096M", "gpu": "2"}) == [
        *("--mem-per-cpu=4096M", "--time=1:00:00", "-p", "gpu", "--gres=gpu:2")
    ]
    assert found.arguments({"gpu": "8", "time": "2"}) == ["--time=2", "-p", "big"]
    assert found.arguments({"time": "2", "tasks_per_node": "3"}) == ["--time=2", "--constraint=a100#3"]
    assert found.arguments({}) == ["--time=1:00:00"], "an option without words is left out"


def test_nothing_in_the_file_is_evaluated() -> None:
    found = read_site("command sbatch $(touch ran) `touch ran`\noption mem=* '--comment=$HOME $0'\n")
    assert found.command == ["sbatch", "$(touch", "ran)", "`touch", "ran`"]
    assert found.arguments({"mem": "$(touch ran)"}) == ["--comment=$HOME $(touch ran)"]
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("option gpu=0\n", r"slurm\.conf: expected a line `command sbatch"),
        ("command sbatch\ncommand sbatch\n", r"slurm\.conf:2: expected `command \.\.\.` \(once\)"),
        (
            "command sbatch\noption -x=* --gres=$0\n",
            r"slurm\.conf:2: expected NAME=VALUE with a name of mem, .*'-x=\*'",
        ),
        ("command sbatch\noption gpu --gres=$0\n", r"slurm\.conf:2: expected NAME=VALUE"),
        ("command sbatch\noption gpu=* a\noption gpu=* b\n", r"slurm\.conf:3: option gpu=\* is there twice"),
        ("command sbatch\ndefault gpu=1\n", r"slurm\.conf:2: default gpu=1: the launcher always gives gpu, 0 where"),
        ("command sbatch\nprologue if true\n", r"slurm\.conf:2: prologue if true: not a whole command of bash \("),
        ("command sbatch\nprologue\n", r"slurm\.conf:2: expected `command"),
        ("command sbatch\nmodule load cuda\n", r"slurm\.conf:2: expected `command .* or `prologue LINE`"),
        ("command sbatch --clusters=a\n", r"slurm\.conf:1: the cluster .* `export SLURM_CLUSTERS=NAME`"),
        ("command sbatch -M a\n", r"slurm\.conf:1: the cluster"),
        ("command sbatch\ndefault gpu=0 1\n", r"slurm\.conf:2: expected `command"),
        ("command sbatch 'open\n", r"slurm\.conf:1: No closing quotation"),
    ],
)
def test_what_is_not_of_the_grammar_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_site(text)


def test_an_option_that_the_file_does_not_describe_is_an_error_that_names_the_file() -> None:
    found = read_site("command sbatch\noption gpu=0\n")
    assert found.arguments(NOTHING) == []
    for values in ({"gpu": "1"}, {"num_threads": "2"}, {"mem": "4096M"}):
        with pytest.raises(ValueError, match=r"slurm\.conf: .* was asked for, but the file does not describe it"):
            found.arguments(values)


def test_what_kaldi_has_no_options_for_needs_no_line() -> None:
    values = {"num_nodes": "2", "tasks_per_node": "3", "signal": "120"}
    words = ["--nodes=2", "--ntasks-per-node=3", "--signal=B:USR1@120"]
    assert read_site("command sbatch\n").arguments(values) == words
    own = read_site("command sbatch\noption num_nodes=* -N $0\n")
    assert own.arguments(values) == ["-N", "2", *words[1:]], "a line of the site wins"


STOCK = {
    "espnet": """\
# Default configuration
command sbatch --export=PATH
option name=* --job-name $0
option time=* --time $0
option mem=* --mem-per-cpu $0
option mem=0                # Do not add anything to qsub_opts
option num_threads=* --cpus-per-task $0
option num_threads=1 --cpus-per-task 1  # Do not add anything to qsub_opts
option num_nodes=* --nodes $0
default gpu=0
option gpu=0 -p cpu
option gpu=* -p gpu --gres=gpu:$0 -c $0  # Recommend allocating more CPU than, or equal to the number of GPU
# note: the --max-jobs-run option is supported as a special case
# by slurm.pl and you don't have to handle it in the config file.
""",
    "kaldi": """\
# Default configuration
command sbatch --export=PATH  --ntasks-per-node=1
option time=* --time=$0
option mem=* --mem-per-cpu=$0
option mem=0          # Do not add anything to qsub_opts
option num_threads=* --cpus-per-task=$0 --ntasks-per-node=1
option num_threads=1 --cpus-per-task=1  --ntasks-per-node=1 # Do not add anything to qsub_opts
default gpu=0
option gpu=0 -p shared
option gpu=* -p gpu --gres=gpu:$0 --time=4:0:0  # in reality, we probably should have --cpus-per-task=$0
# note: the --max-jobs-run option is supported as a special case
# by slurm.pl and you don't have to handle it in the config file.
""",
}
TRAINS = {"gpu": "2", "num_threads": "4", "num_nodes": "1", "tasks_per_node": "1", "signal": "120"}
"""What run.sh asks for where stage 4 trains."""


@pytest.mark.parametrize(
    ("toolkit", "words"),
    [
        ("espnet", ["--cpus-per-task", "4", "-p", "gpu", "--gres=gpu:2", "-c", "2", "--nodes", "1"]),
        ("kaldi", ["--cpus-per-task=4", "--ntasks-per-node=1", "-p", "gpu", "--gres=gpu:2", "--time=4:0:0"]),
    ],
)
def test_the_files_of_kaldi_and_espnet_are_taken(toolkit: str, words: list[str]) -> None:
    found = read_site(STOCK[toolkit])
    assert found.arguments(TRAINS) == [*words, "--signal=B:USR1@120"]
    assert found.unknown == []


def test_options_that_the_launcher_does_not_have_are_noted_once() -> None:
    found = read_site(
        "command sbatch\ndefault allow_k20=true\noption allow_k20=false -C k40\noption ram_free=* -l $0\n"
        "option max_jobs_run=* -tc $0\n"
    )
    assert found.unknown == ["allow_k20", "ram_free"]
    assert found.arguments(NOTHING) == []


NOTHING = {"gpu": "0", "num_nodes": "1", "num_threads": "1", "tasks_per_node": "1", "signal": "0"}


def test_a_file_that_is_not_there_is_named_with_the_way_to_name_another() -> None:
    with pytest.raises(ValueError, match=r"conf/slurm\.conf: no such file of Slurm options\. Name .* SSLSV_SLURM_CONF"):
        site.read("conf/slurm.conf")


def test_the_recipes_file_describes_every_option() -> None:
    found = site.read(str(ROOT / "egs/voxceleb/conf/slurm.conf"))
    values = {
        "mem": "2048M",
        "time": "0:10:00",
        "num_threads": "3",
        "gpu": "2",
        "num_nodes": "4",
        "tasks_per_node": "2",
    }
    assert set(found.options) == set(site.NAMES)
    assert found.arguments(values | {"signal": "120"}) == [
        *("--mem=2048M", "--time=0:10:00", "--cpus-per-task=3", "-p", "gpu", "--gres=gpu:2"),
        *("--nodes=4", "--ntasks-per-node=2", "--signal=B:USR1@120"),
    ]
