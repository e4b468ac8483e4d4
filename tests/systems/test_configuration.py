"""The marks beside settings: which may change between runs, and which stage 5 takes over."""

import dataclasses

from sslsv_tk.config import Component
from sslsv_tk.systems.configuration import FREE, INHERITED, SystemConfig, TrainingConfig, marked

CONFIG = SystemConfig(
    Component("fast_resnet34", {"dimension": 12}), Component("simclr"), training=TrainingConfig(epochs=7)
)


def test_what_may_change_between_runs_changes_no_number() -> None:
    free = marked(CONFIG, FREE)
    assert free.keys() == {"training"} and free["training"]["epochs"] == 7
    fixed = {field.name for field in dataclasses.fields(TrainingConfig)} - free["training"].keys()
    assert fixed == {"span_epochs", "batch_size", "seed", "precision", "compile", "encoder_parts"}


def test_stage_5_takes_over_the_model_its_input_and_the_optimiser_s_own_settings() -> None:
    inherited = marked(CONFIG, INHERITED)
    assert inherited.keys() == {"encoder", "method", "frontend", "optimisation"}
    assert inherited["encoder"] == {"name": "fast_resnet34", "dimension": 12}
    assert {"bands", "feats_type", "floor"} < inherited["frontend"].keys()
    assert inherited["optimisation"].keys() == {"optimiser", "momentum", "trust", "weight_decay"}
