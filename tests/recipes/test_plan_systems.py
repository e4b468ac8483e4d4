"""Which files make a system, what its folder is called, and what stages 6 and 7 treat."""

import re
from pathlib import Path

import pytest

from sslsv_tk.config import ConfigError
from sslsv_tk.recipes import systems
from sslsv_tk.recipes.names import Places
from sslsv_tk.recipes.options import Mistake


def files(system: systems.System) -> list[str]:
    return [str(path.relative_to("conf")) if str(path).startswith("conf") else str(path) for path in system.files]


def test_the_files_follow_in_a_fixed_order(places, make_options):
    Path("own.yaml").write_text("training: {epochs: 1}\n")
    options = make_options(
        system="moco_ecapa+masked+no_augmentation", scale="testbed", config=("own.yaml", ""), set=("training.epochs=2",)
    )
    system = systems.find(options, places, "fbank")
    assert system.name == "moco_ecapa+masked+no_augmentation"
    assert files(system) == [
        "systems/moco_ecapa.yaml",
        "variants/masked.yaml",
        "variants/no_augmentation.yaml",
        "scale/testbed.yaml",
        "small/moco.yaml",
        "features/fbank.yaml",
        "own.yaml",
    ]
    assert system.settings == ("training.seed=0", "training.epochs=2")
    assert system.value("training", "epochs") == 2 and system.value("method", "queue_size") == 256
    assert system.value("training", "nothing") is None and system.value("nowhere", "nothing") is None


@pytest.mark.parametrize(
    ("system", "scale", "small"),
    [
        ("simclr_margin_fast_resnet34", "testbed", "simclr"),
        ("byol_fast_resnet34", "gpu_testbed", "byol"),
        ("swav_fast_resnet34", "mini", "swav_mini"),
        ("swav_ecapa", "gpu_testbed", "swav"),
        ("dino_fast_resnet34", "mini", "dino"),
        ("dino_fast_resnet34", "testbed", "dino_testbed"),
        ("dino_ecapa", "gpu_testbed", "dino_gpu_testbed"),
    ],
)
def test_a_scale_brings_what_the_method_needs_there(places, make_options, system, scale, small):
    found = files(systems.find(make_options(system=system, scale=scale), places, "raw"))
    assert found == [f"systems/{system}.yaml", f"scale/{scale}.yaml", f"small/{small}.yaml"]


def test_every_method_of_a_system_has_its_file_for_small_corpora(places, make_options):
    for path in Path("conf/systems").glob("*.yaml"):
        for scale in ("mini", "testbed", "gpu_testbed"):
            assert len(systems.find(make_options(system=path.stem, scale=scale), places, "raw").files) == 3
        assert len(systems.find(make_options(system=path.stem, scale="tiny"), places, "raw").files) == 2


def test_a_method_without_such_a_file_is_an_error(places, make_options):
    Path("conf/small/byol.yaml").unlink()
    with pytest.raises(Mistake, match=r"there is no conf/small/byol.yaml, which says what the method byol needs"):
        systems.find(make_options(system="byol_fast_resnet34", scale="gpu_testbed"), places, "raw")


def test_a_generated_corpus_has_its_scale_unless_another_is_given(places, make_options):
    assert "scale/mini.yaml" in files(systems.find(make_options(mini=True), places, "raw"))
    assert "scale/tiny.yaml" in files(systems.find(make_options(tiny=True), places, "raw"))
    found = files(systems.find(make_options(mini=True, scale="testbed"), places, "raw"))
    assert "scale/testbed.yaml" in found and "scale/mini.yaml" not in found


def test_paths_begin_where_the_user_stands_or_else_in_the_recipe(recipe, make_options, tmp_path):
    elsewhere = Places(str(tmp_path), str(recipe))
    (tmp_path / "mine.yaml").write_text(f"include: [{recipe}/conf/systems/dino_ecapa.yaml]\n")
    options = make_options(system="mine.yaml+no_augmentation", scale="conf/scale/testbed.yaml", tag="x2")
    system = systems.find(options, elsewhere, "raw")
    assert system.name == "mine+no_augmentation-x2" and system.files[0] == tmp_path / "mine.yaml"
    assert files(system)[1:] == ["variants/no_augmentation.yaml", "scale/testbed.yaml", "small/dino_testbed.yaml"]


def test_the_paper_s_words_are_a_variant_with_a_file_for_each_system(places, make_options):
    for base in ("dino_ecapa", "simclr_fast_resnet34"):
        system = systems.find(make_options(system=f"{base}+as_written+masked"), places, "raw")
        assert system.name == f"{base}+as_written+masked"
        assert files(system)[1:] == [f"variants/as_written/{base}.yaml", "variants/masked.yaml"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"system": "simclr_ecpa"}, "there is no conf/systems/simclr_ecpa.yaml here. Did you mean simclr_ecapa?"),
        ({"system": "simclr_ecapa+no_augmentatio"}, "conf/variants/no_augmentatio.yaml here. Did you mean no_aug"),
        (
            {"system": "moco_ecapa+as_written"},
            "--system moco_ecapa+as_written: as_written changes nothing of moco_ecapa. It is for dino_ecapa, ",
        ),
        ({"system": "simclr_ecapa+as_writen"}, "conf/variants/as_writen.yaml here. Did you mean as_written?"),
        ({"system": "+masked"}, "there is no conf/systems/.yaml here. There are: barlow_twins_fast_resnet34, "),
        ({"system": "../../x"}, "--system ../../x: there is no file ../../x"),
        ({"scale": "testbd"}, "--scale testbd: there is no conf/scale/testbd.yaml here. Did you mean testbed?"),
        (
            {"set": ("positives.clusters=3",)},
            "--set positives.clusters=3: stage 4 has no such setting. Write --positives",
        ),
        ({"config": ("nowhere.yaml",)}, "--config nowhere.yaml: there is no file nowhere.yaml"),
    ],
)
def test_what_is_not_there_is_named(places, make_options, given, message):
    with pytest.raises(Mistake, match=re.escape(message)):
        systems.find(make_options(**given), places, "raw")


@pytest.mark.parametrize("setting", ["training.epochs", "training.epochs=010", "training.epochs=1:30", "a.b=[1"])
def test_a_setting_that_is_none_is_told_before_any_stage(places, make_options, setting):
    with pytest.raises(ConfigError, match=re.escape(f"--set {setting}")):
        systems.find(make_options(set=(setting,)), places, "raw")


def test_a_system_file_whose_name_no_folder_can_have(places, make_options):
    Path("a b.yaml").write_text("include: [conf/systems/simclr_ecapa.yaml]\n")
    with pytest.raises(Mistake, match=r"--system a b: expected a name of letters"):
        systems.find(make_options(system="a b.yaml"), places, "raw")


def test_systems_are_names_of_folders_that_are_there_or_will_be(recipe, make_options):
    (recipe / "exp" / "old").mkdir(parents=True)
    (recipe / "exp" / "old" / "config.yaml").touch()
    assert systems.evaluated(make_options(), ["new", "new_x"], "exp") == ["new", "new_x"]
    assert systems.evaluated(make_options(systems="old new"), ["new"], "exp") == ["old", "new"]
    assert systems.evaluated(make_options(systems="gone", stop_stage=5), [], "exp") == ["gone"]
    for word, message in [
        ("../../etc", "--systems ../../etc: expected names of folders in exp"),
        ("..", "--systems ..: expected names of folders in exp"),
        ("odl", "--systems odl: there is no system exp/odl. Did you mean old?"),
        ("z", "--systems z: there is no system exp/z. There are: old."),
    ]:
        with pytest.raises(Mistake, match=re.escape(message)):
            systems.evaluated(make_options(systems=word), [], "exp")
