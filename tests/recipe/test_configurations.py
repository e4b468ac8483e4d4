"""Every configuration of the recipe: its sizes, its settings, two steps of it, and its line in the README."""

import contextlib
import dataclasses
import itertools
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_settings import ENCODERS, METHODS, small_settings

from sslsv_tk import config
from sslsv_tk.bin import train
from sslsv_tk.methods.base import Method
from sslsv_tk.nn.row_queue import RowQueue
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.recipes import options, positives, systems
from sslsv_tk.recipes.names import Places
from sslsv_tk.schedules import Progress, cosine
from sslsv_tk.systems import assembly, checkpoints
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.training.optimisation import clip_gradients, learning_rate, make_optimiser
from sslsv_tk.training.step import TrainingStep

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes"))

import plan_words

CONF = Path(__file__).resolve().parents[2] / "egs" / "voxceleb" / "conf"
UTTERANCES, SPEAKERS = 1_092_009, 5_994  # of VoxCeleb2

FAST, ECAPA = 1_437_078, 22_529_152
STATISTICS_80, STATISTICS_40, ECAPA_80 = 2_665_622, 2_010_262, 22_529_152 + 40 * 5 * 1024


def mlp(*widths: int) -> int:
    """Parameters of linear layers with a batch norm after all but the last."""
    linear = sum(a * b + b for a, b in itertools.pairwise(widths))
    return linear + sum(2 * width for width in widths[1:-1])


PROJECTOR = mlp(512, 2048, 2048, 512)
PROTOTYPES = 6_000 * (512 + 1)  # directions and lengths
DINO_HEAD = mlp(512, 2048, 2048, 256) + 65_536 * 256
SIMSIAM = mlp(512, 512, 512, 512) - 512 + mlp(512, 128, 512)  # the projector's last layer has no bias

# System: parameters of the encoder, trained parameters of heads, parameters of the teacher.
SYSTEMS = {
    "simclr_fast_resnet34": (FAST, 0, 0),
    "simclr_margin_fast_resnet34": (FAST, 0, 0),
    "moco_fast_resnet34": (FAST, 0, FAST),
    "swav_fast_resnet34": (FAST, PROJECTOR + PROTOTYPES, 0),
    "vicreg_fast_resnet34": (FAST, PROJECTOR, 0),
    "dino_fast_resnet34": (STATISTICS_80, DINO_HEAD, STATISTICS_80 + DINO_HEAD),
    "supervised_fast_resnet34": (FAST, SPEAKERS * 512, 0),
    "byol_fast_resnet34": (FAST, mlp(512, 1024, 256) + mlp(256, 1024, 256), FAST + mlp(512, 1024, 256)),
    "barlow_twins_fast_resnet34": (FAST, mlp(512, 2048, 2048, 2048), 0),
    "simsiam_fast_resnet34": (FAST, SIMSIAM, 0),
    "simclr_ecapa": (ECAPA, 0, 0),
    "moco_ecapa": (ECAPA, 0, ECAPA),
    "swav_ecapa": (ECAPA, PROJECTOR + PROTOTYPES, 0),
    "vicreg_ecapa": (ECAPA, PROJECTOR, 0),
    "dino_ecapa": (ECAPA_80, DINO_HEAD, ECAPA_80 + DINO_HEAD),
    "supervised_ecapa": (ECAPA, SPEAKERS * 512, 0),
}
# Variant: a system that it is for, and what it sets.
VARIANTS = {
    "no_augmentation": ("simclr_ecapa", "augmentation.kinds", ["none"]),
    "bands_80": ("simclr_ecapa", "frontend.bands", 80),
    "paper_front_end": ("dino_ecapa", "frontend.window", "hamming"),
    "fitted_cosine": ("dino_ecapa", "optimisation.cosine_length", "rest"),
    "span_100": ("dino_fast_resnet34", "training.span_epochs", 100),
    "continued_10_epochs": ("simclr_ecapa", "training.continued_epochs", 10),
    "continued_20_epochs": ("simclr_fast_resnet34", "training.continued_epochs", 20),
    "views_together": ("vicreg_ecapa", "method.views", "together"),
    "low_power_floor": ("simclr_ecapa", "augmentation.power_floor", 1e-10),
    "masked": ("moco_fast_resnet34", "method.mask_same_cluster", True),
    "simclr_one_direction": ("simclr_fast_resnet34", "method.symmetric", False),
    "moco_queue_65536": ("moco_fast_resnet34", "method.queue_size", 65_536),
    "swav_prototypes_3000": ("swav_fast_resnet34", "method.prototypes", 3_000),
    "swav_unit_prototypes": ("swav_fast_resnet34", "method.prototype_length", "unit"),
    "swav_own_rows": ("swav_fast_resnet34", "method.queue_rows", "own"),
    "vicreg_covariance_0.04": ("vicreg_fast_resnet34", "method.covariance", 0.04),
    "dino_sum_of_pairs": ("dino_ecapa", "method.average_pairs", False),
    "dino_outputs_in_queue": ("dino_ecapa", "method.queue_outputs", True),
    "dino_partner_globals": ("dino_ecapa", "method.partner_views", "global"),
    "supervised_sub_centers": ("supervised_ecapa", "method.sub_centers", 3),
    "supervised_inter_top_k": ("supervised_ecapa", "method.inter_top_k", 5),
}
WITH_IT = {  # what a variant sets besides, as it belongs together
    ("frontend", "bands"),
    ("encoder", "bands"),
    ("method", "inter_margin"),
    ("method", "queue_from_start"),
    ("training", "continued_average_epochs"),
}
AS_WRITTEN = {  # System: what the paper's words set otherwise than the code that made its figure.
    "dino_ecapa": {
        "encoder.bands": 40,
        "frontend.bands": 40,
        "frontend.window": "hamming",
        "optimisation.cosine_length": "rest",
        "method.average_pairs": False,
    },
    "dino_fast_resnet34": {
        "encoder.bands": 40,
        "frontend.bands": 40,
        "optimisation.cosine_length": "rest",
        "method.average_pairs": False,
        "training.span_epochs": 100,
    },
    "simclr_ecapa": {"method.symmetric": False},
    "simclr_fast_resnet34": {
        "method.symmetric": False,
        "training.continued_epochs": 20,
        "training.continued_average_epochs": None,
    },
    **{
        f"{method}_fast_resnet34": {"training.continued_epochs": 20, "training.continued_average_epochs": None}
        for method in ("moco", "swav", "vicreg")
    },
}
UNPUBLISHED = {name for name in SYSTEMS if name.startswith(("byol", "barlow", "simsiam", "simclr_margin"))}
SCALES = ("tiny", "mini", "testbed", "gpu_testbed")
SMALL = {  # Method, and method at a scale of its own: a system that each is for.
    "simclr": "simclr_fast_resnet34",
    "vicreg": "vicreg_fast_resnet34",
    "supervised": "supervised_fast_resnet34",
    "moco": "moco_fast_resnet34",
    "swav": "swav_fast_resnet34",
    "swav_mini": "swav_fast_resnet34",
    "byol": "byol_fast_resnet34",
    "barlow_twins": "barlow_twins_fast_resnet34",
    "simsiam": "simsiam_fast_resnet34",
    "dino": "dino_fast_resnet34",
    "dino_testbed": "dino_fast_resnet34",
    "dino_gpu_testbed": "dino_ecapa",
}
NOTHING_NEEDED = {"simclr", "vicreg", "supervised"}
TABLE_2 = {  # K and M of the paper's second table
    "ssps_6k_0": (6_000, 0),
    "ssps_10k_0": (10_000, 0),
    "ssps_25k_0": (25_000, 0),
    "ssps_25k_1": (25_000, 1),
    "ssps_25k_2": (25_000, 2),
    "ssps_150k_0": (150_000, 0),
    "ssps_150k_1": (150_000, 1),
    "ssps_150k_2": (150_000, 2),
}
SMALL_VARIANTS = {"supervised_inter_top_k": {"inter_top_k": 1}}  # of three speakers


def names(folder: str) -> set[str]:
    return {path.stem for path in (CONF / folder).glob("*.yaml")}


ALL_SYSTEMS = sorted(names("systems"))
"""Those of the papers, and whatever else lies beside them."""


def path(name: str) -> Path:
    """A file by its name below conf/; one without a folder is a system."""
    return CONF / f"{name}.yaml" if "/" in name else CONF / "systems" / f"{name}.yaml"


def loaded(*files: str, settings: tuple[str, ...] = ()) -> SystemConfig:
    """The configuration with every setting written out."""
    return assembly.resolve(config.load(SystemConfig, *map(path, files), overrides=settings))


def chosen(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[positives.Choice]:
    """What --positives makes of words, in the folder of the recipe."""
    monkeypatch.chdir(CONF.parent)
    return positives.find(words, Places(str(CONF.parent), str(CONF.parent)))


def built(system: SystemConfig) -> Method:
    """At full size, without memory."""
    classes = SPEAKERS if assembly.method_class(system).needs_labels else None
    with torch.device("meta"):
        return assembly.build_method(dataclasses.replace(system, classes=classes))


def count(parameters: list[torch.nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


# -- which there are -----------------------------------------------------------------------------------------------


def test_every_file_has_its_row_here() -> None:
    assert names("systems") >= SYSTEMS.keys()
    assert names("variants") == VARIANTS.keys() and names("variants/as_written") == AS_WRITTEN.keys()
    assert names("scale") == set(SCALES) and names("small") == SMALL.keys()
    assert names("features") == {"fbank", "kept"} and names("") == {"aliases"}
    assert names("positives") >= {"ssps_kmeans", "same_speaker", "same_utterance"}
    assert config.read(CONF / "aliases.yaml").keys() >= TABLE_2.keys()


def test_systems_are_put_together_from_pieces_and_use_all_of_them() -> None:
    used = set()
    for name in ALL_SYSTEMS:
        contents = yaml.safe_load(path(name).read_text())
        assert name not in SYSTEMS or list(contents) == ["include"], name
        assert all(file.startswith("../") for file in contents.get("include", [])), name
        used.update(file.removeprefix("../") for file in contents.get("include", []))
    for piece in list(used):
        contents = yaml.safe_load((CONF / piece).read_text())
        used.update(f"{Path(piece).parent}/{file}" for file in contents.get("include", []))
    folders = ("encoder", "method", "augmentation", "optimisation")
    assert used == {f"{folder}/{name}.yaml" for folder in folders for name in names(folder)}


def test_every_file_says_in_its_first_line_what_it_is() -> None:
    for file in CONF.rglob("*.yaml"):
        assert file.read_text().startswith("# "), file
    for name in SYSTEMS:
        assert re.search(r"\d % EER|No figure is published", path(name).read_text()), name


def test_the_readme_has_every_system_variant_and_row_of_the_second_table() -> None:
    text = (CONF.parent / "README.md").read_text()
    missing = [name for name in (*SYSTEMS, *VARIANTS, "as_written", *TABLE_2) if f"`{name}`" not in text]
    assert missing == []


# -- full size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_has_the_sizes_of_the_papers(name: str) -> None:
    encoder, heads, teacher = SYSTEMS[name]
    system = loaded(name)
    method = built(system)
    assert count(list(method.encoder.parameters())) == encoder
    assert count([p for p in method.parameters() if p.requires_grad]) == encoder + heads
    assert count(list(method.parameters())) == encoder + heads + teacher
    bands = 80 if name.startswith("dino") else 40
    assert method.encoder.dimension == 512 and system.frontend.bands == bands
    assert method.encoder.bands in (None, bands)
    assert system.frontend.window == ("hann" if name == "dino_ecapa" else "hamming")


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_trained_as_in_the_papers(name: str) -> None:
    system = loaded(name)
    how, length = system.optimisation, system.training
    if name.startswith("dino"):
        assert (how.optimiser, how.learning_rate, how.momentum, how.weight_decay) == ("sgd", 0.2, 0.9, 5e-5)
        assert (how.schedule, how.warm_up_epochs, how.final_learning_rate) == ("cosine", 10, 1e-5)
        assert (how.gradient_clip, length.batch_size) == (3.0, 128)
        span = 100 if name == "dino_ecapa" else 80
        assert (length.epochs, length.continued_epochs, length.span) == (80, 20, span)
        assert system.augmentation.kinds == ("none", "reverb", "noise", "both")
        seconds = [segment.seconds for segment in built(system).segments]
        assert seconds == [4.0, 4.0, 2.0, 2.0, 2.0, 2.0]
    else:
        assert (how.optimiser, how.learning_rate, how.schedule) == ("adam", 1e-3, "stepwise")
        assert (how.decay, how.decay_epochs, how.weight_decay, how.gradient_clip) == (0.95, 5, 0.0, None)
        continued = (20, 10) if name.endswith("ecapa") or name == "supervised_fast_resnet34" else (10, 5)
        continued = (20, 10) if name in UNPUBLISHED else continued
        assert (length.batch_size, length.epochs) == (256, 100)
        assert (length.continued_epochs, length.averaged(101)) == continued and length.averaged(100) == 10
        assert system.augmentation.kinds == ("both",)
        assert {segment.seconds for segment in built(system).segments} == {2.0}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_what_it_says_and_can_be_built(name: str) -> None:
    base, place, value = VARIANTS[name]
    section, key = place.split(".")
    before, after = config.to_dict(loaded(base)), config.to_dict(loaded(base, f"variants/{name}"))
    assert before[section][key] != value and after[section][key] == value
    changed = {(s, k) for s in before if s != "classes" for k in before[s] if before[s][k] != after[s][k]}
    assert changed <= {(section, key), *WITH_IT}
    built(loaded(base, f"variants/{name}"))


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_as_written_has_the_words_of_the_paper_and_nothing_else(name: str) -> None:
    before, after = config.to_dict(loaded(name)), config.to_dict(loaded(name, f"variants/as_written/{name}"))
    sections = [s for s in before if isinstance(before[s], dict)]
    changed = {f"{s}.{k}": after[s][k] for s in sections for k in before[s] if before[s][k] != after[s][k]}
    assert changed == AS_WRITTEN[name]
    built(loaded(name, f"variants/as_written/{name}"))


def test_the_paper_s_front_end_makes_the_paper_s_sizes() -> None:
    found = [
        count(list(built(loaded(name, "variants/paper_front_end")).encoder.parameters()))
        for name in ("dino_ecapa", "dino_fast_resnet34")
    ]
    assert found == [ECAPA, STATISTICS_40]


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_made_a_published_figure_is_set_where_there_is_one(name: str) -> None:
    """Views apart, the floor on powers, SwAV's prototypes and queue."""
    system, method = loaded(name), config.to_dict(loaded(name))["method"]
    assert system.augmentation.power_floor == (1e-10 if name in UNPUBLISHED else 1e-4)
    if name.startswith(("simclr", "moco", "swav", "vicreg")):
        assert method["views"] == "apart"
    if name.startswith("swav"):
        assert (method["prototype_length"], method["queue_from_start"]) == ("learned", True)


@pytest.mark.parametrize("name", ALL_SYSTEMS)
def test_every_system_goes_without_augmentation(name: str) -> None:
    before, after = loaded(name), loaded(name, "variants/no_augmentation")
    assert after.augmentation.is_off and not before.augmentation.is_off
    assert dataclasses.replace(after, augmentation=before.augmentation) == before


def test_both_contrastive_methods_take_the_mask() -> None:
    for name in ("simclr_ecapa", "simclr_margin_fast_resnet34", "moco_ecapa"):
        assert config.to_dict(loaded(name, "variants/masked"))["method"]["mask_same_cluster"] is True
    with pytest.raises(ValueError, match="mask_same_cluster"):
        loaded("vicreg_ecapa", "variants/masked")


def test_fewer_continued_epochs_leave_the_span_of_dino() -> None:
    assert loaded("dino_ecapa", "variants/continued_10_epochs").training.span == 100


def test_schedules_of_dino_have_the_published_values_at_the_epochs_that_are_known() -> None:
    """Learning rates, and the teacher's momentum: 0.996 to 1, a cosine over 100 epochs, or the 80 of Fast ResNet-34."""

    def rates(*files: str) -> list[float]:
        system = loaded(*files)
        progress = [Progress(epoch, system.training.span) for epoch in (40, 80, 89, 100)]
        return [learning_rate(system.optimisation, place, continued=place.epochs > 80) for place in progress]

    def momenta(*files: str) -> list[float]:
        span = loaded(*files).training.span
        return [cosine(0.996, 1.0, Progress(epoch, span).share) for epoch in (40, 80, 89, 100)]

    assert rates("dino_ecapa") == pytest.approx([0.1588, 0.0412, 0.0210, 0.0049], abs=5e-5)
    assert rates("dino_ecapa", "variants/fitted_cosine") == pytest.approx([0.1500, 0.0234, 0.0073, 0.00001], abs=5e-5)
    assert momenta("dino_ecapa") == momenta("dino_fast_resnet34", "variants/span_100")
    assert momenta("dino_ecapa") == pytest.approx([0.9973820, 0.9996180, 0.9998818, 1.0], abs=5e-8)
    assert momenta("dino_fast_resnet34") == pytest.approx([0.998, 1.0, 1.0, 1.0])
    assert rates("dino_fast_resnet34")[:2] == pytest.approx([0.1383, 0.0076], abs=5e-5)


def test_stage_5_of_schedules_that_are_over_is_refused() -> None:
    """The teacher of DINO, which is evaluated, would not move."""
    refuse = assembly.refuse_ended_schedules
    with pytest.raises(
        ValueError, match=r"last training.span_epochs = 80 epochs, and stage 5 goes on to 100: .*span_100"
    ):
        refuse(loaded("dino_fast_resnet34"))
    for files in (("dino_fast_resnet34", "variants/span_100"), ("dino_ecapa",), ("byol_fast_resnet34",)):
        refuse(loaded(*files))
    refuse(loaded("dino_fast_resnet34", settings=("training.continued_epochs=0",)))
    refuse(loaded("simclr_ecapa", settings=("training.span_epochs=3",)))


@pytest.mark.parametrize("scale", ["mini", "testbed", "gpu_testbed"])
@pytest.mark.parametrize("name", ["simclr_fast_resnet34", "dino_fast_resnet34"])
def test_schedules_end_with_both_stages_of_a_scale(name: str, scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = at_scale(name, scale, monkeypatch).training
    assert training.span == training.epochs + training.continued_epochs


def at_scale(name: str, scale: str, monkeypatch: pytest.MonkeyPatch) -> SystemConfig:
    """As `run.sh --system NAME --scale SCALE` trains it."""
    monkeypatch.chdir(CONF.parent)
    words = plan_words.words(system=name, scale=scale)
    system = systems.find(options.parse(words), Places(str(CONF.parent), str(CONF.parent)), "raw")
    return assembly.resolve(config.load(SystemConfig, *system.files, overrides=system.settings))


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_fits_every_system_whose_encoder_it_shrinks(
    name: str, scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.endswith("ecapa") and scale in ("tiny", "mini"):
        with pytest.raises(ValueError, match="widths"):
            at_scale(name, scale, monkeypatch)
        return
    system = at_scale(name, scale, monkeypatch)
    assert system.training.batch_size == (8 if scale == "tiny" else 64)
    built(system)


@pytest.mark.parametrize("name", SMALL)
def test_what_a_method_needs_on_a_small_corpus_fits_it(name: str) -> None:
    changed = loaded(SMALL[name], f"small/{name}") != loaded(SMALL[name])
    assert changed == (name not in NOTHING_NEEDED)
    built(loaded(SMALL[name], f"small/{name}"))


def test_features_are_read_as_they_were_made() -> None:
    for name, frames, copies in (("fbank", "computed", 4), ("kept", "kept", 1)):
        system = loaded("simclr_ecapa", f"features/{name}")
        assert (system.frontend.feats_type, system.frontend.frames) == ("fbank", frames)
        assert len(system.augmentation.copies) == copies


@pytest.mark.parametrize("name", ALL_SYSTEMS)
def test_a_step_at_full_size_does_not_wait_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory there is no number to wait for, so that asking for one is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(RowQueue, "is_full", lambda _: True)
    system = loaded(name)
    method, batch = built(system), system.training.batch_size
    step, optimiser = (
        TrainingStep(method, PositiveSampler(None, SamplerFacts(1))),
        make_optimiser(method, system.optimisation),
    )
    progress = Progress(50.0, system.training.span)
    for _ in range(2):
        method.before_step(progress)
        views = [
            torch.empty(batch, system.frontend.bands, round(100 * segment.seconds) + 1, device="meta")
            for segment in method.segments
        ]
        utterance_B = torch.empty(batch, dtype=torch.int64, device="meta")
        loss, _ = step(views, utterance_B, None, utterance_B)
        optimiser.zero_grad()
        loss.backward()
        method.after_backward(progress)
        clip_gradients(method.parameters(), 3.0)
        optimiser.step()
        method.after_step(progress)
    assert all(number.ndim == 0 for number in method.measures().values())


# -- positives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(names("positives") | config.read(CONF / "aliases.yaml").keys()))
def test_positives_resolve(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (choice,) = chosen([name], monkeypatch)
    system = loaded("simclr_fast_resnet34", f"positives/{choice.file.stem}", settings=choice.settings)
    sampler = assembly.sampler_class(system)
    settings = system.positives.build(sampler.Config)
    if name in TABLE_2:
        assert system.positives.name == "ssps_kmeans"
        assert (settings.clusters, settings.neighbours) == TABLE_2[name]
        assert settings.queue_size is None, "as many queued as there are clusters"
        assert settings.clusters_of(UTTERANCES) == settings.clusters


def test_the_default_positives_are_the_choice_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    default, paper = chosen(["ssps_kmeans", "ssps_25k_1"], monkeypatch)
    assert loaded("simclr_ecapa", "positives/ssps_kmeans", settings=default.settings) == loaded(
        "simclr_ecapa", "positives/ssps_kmeans", settings=paper.settings
    )


# -- two steps -----------------------------------------------------------------------------------------------------


def small(system: SystemConfig, variant: str | None) -> dict[str, object]:
    """The overlay that makes a system trainable on 18 utterances, two steps to an epoch."""
    encoder, method = ENCODERS[system.encoder.name], METHODS[system.method.name]
    return {
        "encoder": small_settings(encoder.Config),
        "method": {**small_settings(method.Config), **SMALL_VARIANTS.get(variant or "", {})},
        "training": {"batch_size": 9, "epochs": 1, "loader_workers": 0},
    }


@pytest.mark.parametrize(
    ("name", "variant"),
    [*((name, None) for name in ALL_SYSTEMS), *((base, name) for name, (base, _, _) in VARIANTS.items())],
)
def test_two_steps(inputs: Path, tmp_path: Path, name: str, variant: str | None) -> None:
    files = [name] if variant is None else [name, f"variants/{variant}"]
    overlay = tmp_path / "small.yaml"
    overlay.write_text(yaml.safe_dump(small(loaded(*files), variant)))
    words = ["--config", *map(str, map(path, files)), str(overlay)]
    words += ["--train-set", str(inputs / "train"), "--augmentation", str(inputs), "--device", "cpu"]
    train.main([*words, "--out", str(tmp_path / "system")])
    folder = tmp_path / "system" / "checkpoints"
    untrained, trained = (checkpoints.read(folder / f"{epoch}epoch.pt")["model"] for epoch in (0, 1))
    assert checkpoints.read(folder / "latest.pt")["step"] == 2
    assert all(tensor.isfinite().all() for tensor in trained.values() if tensor.is_floating_point())
    weights = {key for key in trained if key.startswith("encoder.") and key.endswith(".weight")}
    resting = {key for key in weights if torch.equal(trained[key], untrained[key])}
    assert weights and all(".gate." in key for key in resting), "a gate's one hidden unit may lie below its ReLU"
