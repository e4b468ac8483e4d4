"""The plan as a whole: its stages, its notes, its lines; and what the machine is asked for."""

import re
from pathlib import Path

import pytest

from sslsv_tk import gpus as gpus_there
from sslsv_tk.recipes import checks, machine, plan
from sslsv_tk.recipes.machine import Machine
from sslsv_tk.recipes.options import Mistake


@pytest.fixture
def make(recipe, make_options):
    return lambda **given: plan.make(make_options(**given), {})


def values(made: plan.Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in made.lines():
        name, _, value = line.partition("=")
        found.setdefault(name, []).append(value)
    return found


def test_the_names_are_those_that_run_sh_reads(make):
    text = (Path(plan.__file__).parents[2] / "egs/voxceleb/run.sh").read_text()
    known = set()
    for kind in ("values", "arrays"):
        known |= set(re.search(rf'^plan_{kind}="(.*?)"', text, re.MULTILINE | re.DOTALL)[1].split())
    Path("k").mkdir()
    Path("k/feats.scp").touch()
    plans = [
        make(),
        make(mini=True, positives="ssps_kmeans:clusters=3", validation="veri_test2"),
        make(feats_type="fbank", init_from="k/feats.scp"),
        make(feats_type="fbank", train_audio="k", test_audio="k", features="keep"),
    ]
    assert set().union(*(values(made) for made in plans)) == known


def test_lines_of_the_default(make):
    found = values(make(positives="ssps_25k_1 same_utterance"))
    assert found["stages"] == ["1 2 3 4 5 6 7"]
    assert found["continued"] == ["simclr_fast_resnet34_ssps_25k_1", "simclr_fast_resnet34_same_utterance"]
    assert found["choice_settings"] == ["positives.clusters=25000 positives.neighbours=1", ""]
    assert found["evaluated"] == ["simclr_fast_resnet34", *found["continued"]]
    assert (found["raw"], found["dump"], found["listing"]) == (["dump/raw"], ["dump/raw"], ["wav.scp"])
    assert "note" not in found and "copies" not in found and "bands" not in found


def test_computed_features_have_copies_and_bands(make):
    found = values(make(feats_type="fbank", set=("frontend.bands=80",), datadir="d"))
    assert found["bands"] == ["80"] and found["dump"] == ["dump/fbank"] and found["listing"] == ["feats.scp"]
    assert found["copies"] == [f"voxceleb2_train_{kind}" for kind in ("noise", "music", "babble", "reverb")]
    assert found["datadir"] == ["d"] and found["expdir"] == ["exp"]


def test_without_a_training_set_only_test_sets_are_treated(make):
    Path("t").mkdir()
    found = values(make(train_audio="none", test_audio="t"))
    assert found["stages"] == ["1 3 6 7"] and found["speech"] == ["test"] and found["train_set"] == [""]
    assert found["note"] == ["--train-audio none: only the test sets are treated, stages 2, 4 and 5 are left out"]
    assert not {"noises", "musan", "rirs", "copies", "train_folders"} & found.keys()


def test_kept_features_leave_stage_2_out(make):
    Path("k").mkdir()
    Path("k/feats.scp").touch()
    found = values(make(feats_type="fbank", train_audio="k", test_audio="k"))
    assert found["stages"] == ["1 3 4 5 6 7"] and found["features"] == ["keep"]
    assert found["configs"][-1] == "conf/features/kept.yaml" and "stage 2 is left out" in found["note"][0]


def test_positives_none_and_methods_without_positives_have_no_stage_5(make):
    assert values(make(positives="none"))["stages"] == ["1 2 3 4 6 7"]
    found = values(make(system="supervised_ecapa"))
    assert found["note"] == ["supervised_ecapa has no positives: no stage 5"]
    assert found["stages"] == ["1 2 3 4 6 7"] and found["evaluated"] == ["supervised_ecapa"]
    assert values(make(system="supervised_fast_resnet34", mini=True))["evaluated"] == ["supervised_fast_resnet34"]
    assert len(values(make(system="dino_ecapa"))["continued"]) == 1


def test_positives_of_a_method_without_are_refused_before_stage_4(make):
    made = make(system="supervised_ecapa", positives="ssps_25k_1 same_utterance", stage=4)
    with pytest.raises(
        Mistake, match="--positives ssps_25k_1: supervised_ecapa is trained on labels and has no positiv"
    ):
        checks.check(made)


def test_a_value_with_an_end_of_line_is_refused(make):
    for odd in ("two\nlines", "two\rlines"):
        with pytest.raises(Mistake, match="a name or a path with an end of line cannot be planned with"):
            make(musan=odd).lines()


# -- the machine ---------------------------------------------------------------------------------------------------


def nobody() -> int:
    raise AssertionError("one GPU or none shares no batch")


@pytest.mark.parametrize(
    ("given", "gpus", "expected"),
    [
        ({"cores": 6}, 0, Machine(6, 0, 6, 1)),
        ({"cores": 6}, 1, Machine(6, 1, 6, 1)),
        ({"cores": 6, "ngpu": "0", "nj": "3", "num_threads": "2"}, 1, Machine(3, 0, 2, 1)),
        ({"cores": 6}, 3, Machine(6, 2, 3, 2)),
        ({"cores": 16}, 8, Machine(16, 8, 2, 8)),
        ({"cores": 2, "ngpu": "4"}, 4, Machine(2, 4, 2, 4)),
        ({"cores": 6, "cmd_backend": "slurm"}, 8, Machine(16, 1, 4, 1)),
        ({"cores": 6, "cmd_backend": "slurm", "ngpu": "2"}, 0, Machine(16, 2, 4, 2)),
        ({"cores": 6, "cmd_backend": "slurm", "ngpu": "2", "num_nodes": "3"}, 0, Machine(16, 2, 4, 1)),
    ],
)
def test_what_the_launcher_is_asked_for(make_options, monkeypatch, given, gpus, expected):
    monkeypatch.setattr(gpus_there, "visible_gpus", lambda: [str(number) for number in range(gpus)])
    found = machine.decide(make_options(**given), (lambda: 256) if gpus > 1 else nobody)
    assert found == expected and found.trainer_threads == expected.num_threads * expected.processes


@pytest.mark.parametrize("given", [{"ngpu": "0"}, {"stop_stage": 2}, {"stage": 7}, {"cmd_backend": "slurm"}])
def test_a_gpu_that_torch_cannot_use_stops_those_alone_who_would_use_it(make_options, monkeypatch, given):
    monkeypatch.setattr(gpus_there, "visible_gpus", lambda: ["0"])
    monkeypatch.setattr(gpus_there, "unusable", lambda: "The driver is too old. The CPU: --ngpu 0.")
    with pytest.raises(ValueError, match="The driver is too old"):
        machine.decide(make_options(), nobody)
    machine.decide(make_options(**given), nobody)


def test_one_machine_is_not_several(make_options):
    with pytest.raises(Mistake, match=r"--num-nodes 2: this is one machine. Choose a cluster in cmd.sh"):
        machine.decide(make_options(num_nodes="2"), nobody)


def test_a_batch_that_no_file_gives_is_that_of_the_classes(make, monkeypatch):
    Path("bare.yaml").write_text("encoder: {name: fast_resnet34}\nmethod: {name: simclr}\n")
    monkeypatch.setattr(gpus_there, "visible_gpus", lambda: ["0", "1", "2"])
    assert make(system="bare.yaml", positives="none").machine.ngpu == 2
    assert make(system="bare.yaml", positives="none", set=("training.batch_size=9",)).machine.ngpu == 3
