"""What a plan refuses before the first hour: settings first, GPUs, systems and lists that earlier runs have left."""

import re
from pathlib import Path

import pytest
import yaml

from sslsv_tk import gpus
from sslsv_tk.recipes import checks, configured, plan, scale
from sslsv_tk.recipes.options import Mistake
from sslsv_tk.recipes.positives import Choice

SSL = "simclr_fast_resnet34"


@pytest.fixture
def audio(recipe) -> dict[str, str]:
    for name in ("vox1", "vox2", "musan", "rirs"):
        (recipe / name).mkdir()
    (recipe / "vox1" / "veri_test2.txt").write_text("1 a b\n")
    return {"VOXCELEB1": "vox1", "VOXCELEB2": "vox2", "MUSAN": "musan", "RIRS": "rirs"}


@pytest.fixture
def check(audio, make_options, monkeypatch):
    """check(NAME=VALUE ...): the plan, checked without what torch would have to be asked."""
    for name in ("check", "check_with"):
        monkeypatch.setattr(configured, name, lambda *_: None)
    monkeypatch.setattr(configured, "has_positives", lambda _: True)

    def run(**given) -> plan.Plan:
        made = plan.make(make_options(**given), audio)
        checks.check(made)
        return made

    return run


def trained(name: str, epochs: int = 100, checkpoint: str = "averaged") -> None:
    folder = Path("exp", name, "checkpoints")
    folder.mkdir(parents=True)
    for file in (f"{epochs}epoch.pt", "0epoch.pt", f"{checkpoint}.pt"):
        (folder / file).touch()
    table = {"encoder": {"name": "fast_resnet34"}, "method": {"name": "simclr"}}
    (folder.parent / "config.yaml").write_text(yaml.safe_dump(table))


def test_settings_come_before_corpora(check, monkeypatch):
    def refuse(*_):
        raise ValueError("no such setting")

    monkeypatch.setattr(configured, "check", refuse)
    with pytest.raises(Mistake, match="no such setting"):
        check(train_audio="gone")
    monkeypatch.setattr(configured, "check", lambda *_: None)
    with pytest.raises(ValueError, match="there is no folder gone") as caught:
        check(train_audio="gone")
    assert not isinstance(caught.value, Mistake)


def test_stage_5_alone_needs_a_stage_4_that_has_ended(check):
    with pytest.raises(ValueError, match=rf"stage 5 goes on from exp/{SSL}, which stage 4 has not trained"):
        check(stage=5)
    trained(SSL, epochs=40)
    with pytest.raises(ValueError, match=r"where stage 4 is at epoch 40 of 100. Let it end: --stage 4"):
        check(stage=5)
    Path("exp", SSL, "checkpoints", "100epoch.pt").touch()
    assert check(stage=5, stop_stage=5).stages == {5}
    assert check(stage=4, stop_stage=5, tag="new").stages == {4, 5}


def test_what_is_evaluated_has_the_checkpoint_that_is_asked_for(check):
    trained("one", checkpoint="latest")
    trained("two")
    with pytest.raises(
        ValueError, match=r"exp/one/checkpoints/averaged.pt: no such checkpoint. There are: latest, 0, 100"
    ):
        check(stage=6, systems="two one")
    assert check(stage=6, systems="one", checkpoint="latest").evaluated == ["one"]
    assert check(stage=6, systems="two one", checkpoint="100").stages == {6, 7}
    check(systems="")  # all are made by this run


def test_a_list_that_stage_1_has_not_prepared_is_named_as_it_was_typed(check):
    trained(SSL)
    Path("mine.txt").write_text("1 a b\n")
    given = {"stage": 6, "systems": SSL, "trials": "mine.txt"}
    check(**given)  # nothing is prepared at all: stage 6 says so
    Path("data/voxceleb1_test").mkdir(parents=True)
    Path("data/voxceleb1_test/wav.scp").touch()
    message = (
        "--trials mine.txt: stage 1 has not prepared this list for the test set voxceleb1_test (data/voxceleb1_test/t"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check(**given)
    check(**given | {"stop_stage": 6})
    Path("data/voxceleb1_test/trials_mine").touch()
    check(**given)


@pytest.mark.parametrize(("there", "advice"), [(0, "--ngpu 0 for the CPU"), (2, "--ngpu 2, or --ngpu 0 for the CPU")])
def test_gpus_that_are_not_there(check, monkeypatch, there, advice):
    monkeypatch.setattr(gpus, "visible_gpus", lambda: [str(number) for number in range(there)])
    with pytest.raises(Mistake, match=rf"--ngpu 3: this machine offers {there} GPUs .* {advice}"):
        check(ngpu="3")
    check(ngpu="3", stop_stage=2)
    check(ngpu="3", cmd_backend="slurm", set=("training.batch_size=255",))


def test_a_batch_that_cannot_be_shared_out(check):
    with pytest.raises(
        Mistake, match="--ngpu 3 --num-nodes 2: a batch of 256 utterances cannot be shared out evenly among 6"
    ):
        check(ngpu="3", num_nodes="2", cmd_backend="slurm")
    check(ngpu="4", num_nodes="2", cmd_backend="slurm")


def test_the_word_that_run_sh_puts_numbers_for_is_in_no_path(check):
    with pytest.raises(Mistake, match=r"\{JOB\} is what run.sh writes for the number of a job"):
        check(expdir="my_{JOB}_dir").lines()
    assert "dumpdir=my_JOB_dir" in check(dumpdir="my_JOB_dir").lines()


# -- --scale auto ---------------------------------------------------------------------------------------------------


def choice(name: str, *settings: str, **table: object) -> Choice:
    Path(f"{name}.yaml").write_text(yaml.safe_dump({"positives": {"name": name, **table}}))
    return Choice(name, Path(f"{name}.yaml"), settings)


def test_numbers_of_positives_that_do_not_fit_are_replaced_and_written_ones_stay(recipe):
    fit = lambda wanted: scale.choice(1440, wanted).settings  # noqa: E731
    assert fit(choice("ssps_kmeans", clusters=25_000, neighbours=1)) == (
        "positives.clusters=240",
        "positives.queue_size=N",
    )
    assert fit(choice("ssps_live", clusters=25_000)) == ("positives.clusters=240",)
    assert fit(choice("ssps_live", clusters=200)) == () and fit(choice("ssps_live", clusters="N/9")) == ()
    assert fit(choice("ssps_knn", nearest=50)) == ("positives.nearest=14",)
    assert fit(choice("ssps_live_knn", nearest=2)) == () and fit(choice("same_utterance")) == ()
    written = ("positives.clusters=25000",)
    assert fit(choice("ssps_kmeans", *written, clusters=25_000)) == written
    assert scale.choice(1_092_009, choice("ssps_kmeans", clusters=25_000)).settings == ()


@pytest.mark.parametrize(("utterances", "batch"), [(4096, None), (4095, 128), (1440, 64), (20, 2)])
def test_a_batch_that_fits(utterances, batch):
    assert scale.batch(utterances, 256) == batch
