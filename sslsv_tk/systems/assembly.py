"""From a configuration to the parts of a system; every choice is found by its name (see registry.py)."""

import logging
from pathlib import Path
from typing import Any

import torch

from sslsv_tk import registry
from sslsv_tk.arks.feature_archive import Archive
from sslsv_tk.config import Component, to_dict
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.systems import checkpoints, size
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.systems.on_disk import System

_log = logging.getLogger("train")


def encoder_class(config: SystemConfig) -> type[Encoder]:
    """The class that `encoder.name` names."""
    return registry.find("sslsv_tk.encoders", config.encoder.name, Encoder)


def method_class(config: SystemConfig) -> type[Method]:
    """The class that `method.name` names."""
    return registry.find("sslsv_tk.methods", config.method.name, Method)


def sampler_class(config: SystemConfig) -> type[PositiveSampler]:
    """The class that `positives.name` names."""
    return registry.find("sslsv_tk.positives", config.positives.name, PositiveSampler)


def build_method(config: SystemConfig) -> Method:
    """Encoder and method with initial weights drawn from the seed; ValueError where they cannot fit into memory."""
    settings = {"encoder": config.encoder.settings, "method": config.method.settings}
    size.refuse_too_large(lambda: _build_method(config), settings)
    torch.manual_seed(config.training.seed)
    return _build_method(config)


def _build_method(config: SystemConfig) -> Method:
    encoder_type, method_type = encoder_class(config), method_class(config)
    encoder = encoder_type(config.encoder.build(encoder_type.Config))
    if encoder.bands not in (None, config.frontend.bands):
        raise ValueError(
            f"The encoder {config.encoder.name} was made for {encoder.bands} mel bands, the front end gives "
            f"{config.frontend.bands}. Set encoder.bands and frontend.bands to the same number."
        )
    return method_type(encoder, config.method.build(method_type.Config), config.classes)


def make_sampler(config: SystemConfig, archive: Archive, method: Method, device: torch.device) -> PositiveSampler:
    """The sampler; true speakers and recordings are handed over to those alone that say they need them."""
    cls = sampler_class(config)
    if method.slots == 0 and config.positives.name != "same_utterance":
        raise ValueError(
            f"The method {config.method.name} has no positives, so {config.positives.name} has nothing to choose. "
            "Leave stage 5 out (run.sh --positives none), or go on with same_utterance."
        )
    codes = {}
    if cls.needs_labels:
        codes["speakers"] = archive.read_codes("utt2spk")
    if cls.needs_labels or cls.needs_recordings:
        codes["recordings"] = archive.read_codes("utt2rec")
    facts = SamplerFacts(
        utterances=len(archive),
        seed=config.training.seed,
        device=device,
        projection_dimension=method.projection_dimension,
        embedding_dimension=method.scoring_encoder().dimension,
        projections_are_embeddings=method.projects_embeddings,
        slots=method.slots,
        **codes,
    )
    sampler = cls(config.positives.build(cls.Config), facts)
    if config.positives.name != "same_utterance" and not sampler.has_clusters:
        settings = config.method.build(type(method).Config)
        for name in (name for name in method.needs_clusters if getattr(settings, name)):
            _log.warning("method.%s does nothing: the positives %s have no clusters", name, config.positives.name)
    return sampler


def resolve(config: SystemConfig) -> SystemConfig:
    """The configuration with every setting of every component written out."""
    classes: dict[str, Any] = {
        "encoder": encoder_class(config),
        "method": method_class(config),
        "positives": sampler_class(config),
    }
    values = {name: getattr(config, name) for name in SystemConfig.__dataclass_fields__}
    for name, cls in classes.items():
        component: Component = values[name]
        values[name] = Component(component.name, to_dict(component.build(cls.Config)))
    return SystemConfig(**values)


def refuse_ended_schedules(config: SystemConfig) -> None:
    """ValueError where the schedules of the method are over before stage 5 is: a teacher would stand still in it."""
    training = config.training
    last = training.epochs + training.continued_epochs
    if method_class(config).follows_span and training.continued_epochs and training.span < last:
        raise ValueError(
            f"the schedules of {config.method.name} last training.span_epochs = {training.span} epochs, and stage 5 "
            f"goes on to {last}: its teacher would stand still. Train stage 4 with training.span_epochs={last} "
            "(`--set`, or the variant span_100 of dino), or leave stage 5 out (--positives none)."
        )


def with_defaults(config: SystemConfig) -> SystemConfig:
    """The same encoder, method and positives with none of their settings given, nor any other."""
    encoder, method, positives = (Component(part.name) for part in (config.encoder, config.method, config.positives))
    return resolve(SystemConfig(encoder, method, positives))


def load_system(system: str | Path, checkpoint: str) -> tuple[SystemConfig, Method, Path]:
    """A trained system: its configuration, the method with the weights of `checkpoint`, and that file's path."""
    trained = System(Path(system))
    config = trained.config()
    try:
        method = build_method(config)
    except registry.NotFound as error:
        raise registry.NotFound(f"{system}/config.yaml: {error}") from None
    return config, method, load_weights(method, trained, checkpoint)


def load_weights(method: Method, system: System, checkpoint: str) -> Path:
    """Give a method, made from the system's configuration, the weights of `checkpoint`; that file's path."""
    path = system.checkpoints.path_of(checkpoint)
    try:
        method.load_weights(checkpoints.read(path)["model"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} does not fit {system.config_file}: {reason}") from None
    return path
