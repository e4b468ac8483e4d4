"""What cannot be trained is told before stage 1, and what needs the training set right after it."""

import logging
import re
import shutil
from pathlib import Path

import pytest
import yaml

from sslsv_tk.recipes import configured
from sslsv_tk.recipes.positives import Choice
from sslsv_tk.recipes.systems import System


@pytest.fixture
def system(inputs, tmp_path):
    """system(SECTION={...} ...): the small system of the tests with other settings."""

    def make(*settings: str, **sections) -> System:
        (tmp_path / "over.yaml").write_text(yaml.safe_dump(sections))
        return System("small", (inputs / "system.yaml", tmp_path / "over.yaml"), settings)

    return make


@pytest.fixture
def choice(tmp_path):
    """choice(settings of positives): as --positives names it."""

    def make(name: str, **settings) -> Choice:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"positives": {"name": name}}))
        return Choice(name, path, tuple(f"positives.{key}={value}" for key, value in settings.items()))

    return make


def test_what_can_be_trained_passes_without_a_word(inputs, system, choice, caplog, capsys):
    choices = [choice("ssps_kmeans", clusters=18), choice("same_speaker"), choice("ssps_live_recordings")]
    with caplog.at_level(logging.INFO):
        configured.check(system(), choices)
        configured.check_with(inputs / "train", system(), choices)
    assert not caplog.messages and not capsys.readouterr().out


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"lerning_rate": 1}}, "unknown key 'training.lerning_rate'"),
        ({"method": {"name": "simclrr"}}, "Did you mean 'simclr'?"),
        ({"method": {"temprature": 1}}, "temprature"),
        ({"encoder": {"name": "ecapa_tdnn", "bands": 80}}, "was made for 80 mel bands, the front end gives 40"),
        ({"optimisation": {"warm_up_epochs": 3}}, "warm_up_epochs"),
    ],
)
def test_a_configuration_that_cannot_be_built(system, sections, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        configured.check(system(**sections), [])


def test_stage_5_of_a_teacher_that_has_come_to_rest(system, choice):
    """Schedules that end with stage 4: told before stage 1, and by training itself."""
    ended = system(method={"name": "dino"}, training={"epochs": 3, "continued_epochs": 2, "span_epochs": 3})
    configured.check(ended, [])
    with pytest.raises(ValueError, match=r"--positives same_utterance: .*3 epochs, and stage 5 goes on to 5"):
        configured.check(ended, [choice("same_utterance")])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ssps_kmeans", {"clusters": 2, "neighbor": 1}, "neighbor"),
        ("nothing", {}, "'nothing' is not one of the positives"),
    ],
)
def test_positives_that_are_none_are_named_without_a_training_set(system, choice, name, settings, message):
    with pytest.raises(ValueError, match=f"--positives {name}: .*{message}"):
        configured.check(system(), [choice("ssps_live", clusters=4), choice(name, **settings)])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ssps_kmeans", {"clusters": 25_000}, r"25000 clusters need at least as many utterances, found 18"),
        ("ssps_knn", {}, r"nearest: a queue of 18 utterances .*found 50\. Set fewer"),
        ("ssps_live_knn", {"nearest": 18}, r"18 utterances have 17 others, found 18"),
    ],
)
def test_positives_that_do_not_fit_the_training_set(inputs, system, choice, name, settings, message):
    with pytest.raises(ValueError, match=f"--positives {name}: .*{message}"):
        configured.check_with(inputs / "train", system(), [choice("ssps_live", clusters=4), choice(name, **settings)])


def test_a_batch_larger_than_the_training_set(inputs, system):
    with pytest.raises(ValueError, match="A batch of 19 utterances does not fit a training set of 18"):
        configured.check_with(inputs / "train", system("training.batch_size=19"), [])


@pytest.fixture
def bare(inputs, tmp_path) -> Path:
    """The training set without speakers and recordings."""
    shutil.copytree(inputs / "train", tmp_path / "bare")
    for table in ("utt2spk", "utt2rec"):
        (tmp_path / "bare" / table).unlink()
    return tmp_path / "bare"


def test_tables_that_are_missing_are_noticed(system, choice, bare):
    configured.check_with(bare, system(), [choice("ssps_live", clusters=4)])
    for name, message in [("same_speaker", "need true speakers"), ("ssps_live_recordings", "no utt2rec")]:
        with pytest.raises(ValueError, match=f"--positives {name}: .*{message}"):
            configured.check_with(bare, system(), [choice(name)])


def test_labels_that_the_method_needs(inputs, system, bare):
    supervised = system(method={"name": "supervised"})
    configured.check(supervised, [])
    configured.check_with(inputs / "train", supervised, [])
    keys = [line.split()[0] for line in (bare / "wav.scp").read_text().splitlines()]
    for labels in ("", "".join(f"{key} {key}\n" for key in keys)):
        if labels:
            (bare / "utt2spk").write_text(labels)
        with pytest.raises(ValueError, match=r"has no true speakers: .* the method supervised is trained on them"):
            configured.check_with(bare, supervised, [])


def test_a_setting_of_the_method_that_needs_clusters_is_said_to_do_nothing_without(inputs, system, choice, caplog):
    masked = system(method={"mask_same_cluster": True})
    configured.check_with(inputs / "train", masked, [choice("ssps_live", clusters=4), choice("same_utterance")])
    assert not caplog.messages
    configured.check_with(inputs / "train", masked, [choice("ssps_live_knn")])
    assert caplog.messages == ["method.mask_same_cluster does nothing: the positives ssps_live_knn have no clusters"]


def test_questions_of_a_plan(system):
    assert configured.has_positives(system())
    assert not configured.has_positives(system(method={"name": "supervised"}))
    assert configured.setting(system("training.batch_size=7"), "training.batch_size") == 7
    assert configured.setting(system(), "frontend.bands") == 40


def test_a_method_that_looks_at_its_weights_is_built_for_real(system, monkeypatch):
    built = []

    def build(config):
        built.append(configured.torch.empty(1).device.type)
        if built[-1] == "meta":
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    monkeypatch.setattr(configured.assembly, "build_method", build)
    configured.check(system(), [])
    assert built == ["meta", "cpu"]
