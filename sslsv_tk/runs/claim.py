"""What makes a run the one that it is: the settings and inputs that stay while it goes on, also from stage 4 to 5."""

import logging
from collections.abc import Mapping
from typing import Any

from sslsv_tk import artifacts, provenance, records
from sslsv_tk import config as configuration
from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.distributed.collectives import processes
from sslsv_tk.records import Made, Record
from sslsv_tk.systems import assembly
from sslsv_tk.systems.configuration import FREE, INHERITED, SystemConfig, marked
from sslsv_tk.systems.on_disk import System

_log = logging.getLogger("train")


def claim(system: System, config: SystemConfig, inputs: Mapping[str, str]) -> None:
    """Make the folder that of this run: its configuration, its record, its environment.

    `inputs`: digests of what it reads, by a name that the user knows. Raises StaleArtifact where the folder holds
    checkpoints of other settings or inputs, or checkpoints that nobody says the making of.
    """
    made = Made(_fixed_settings(config), inputs)
    if not system.checkpoints.has_begun():  # what was asked for before came to nothing
        (system.folder / artifacts.RECORD).unlink(missing_ok=True)
    elif records.made_as(system.folder, made.options, made.inputs) is None:
        raise StaleArtifact(
            f"{system.folder} holds checkpoints but no {artifacts.RECORD}, so what made them is not known. Restore the"
            " file, use another folder (run.sh: --tag), or --force true to train anew."
        )
    configuration.dump(config, system.config_file)
    outputs = records.of_files(system.folder, [system.config_file.name])
    found = records.read(system.folder)
    if found is None or found.outputs != outputs:
        records.write(system.folder, made, outputs)
    _write_environment(system)


def is_of(system: System, config: SystemConfig, inputs: Mapping[str, str]) -> bool:
    """Is what the folder holds of these settings and inputs?"""
    found = Record.read(system.folder / artifacts.RECORD)
    return found is not None and not found.differences(Made(_fixed_settings(config), inputs))


def _write_environment(system: System) -> None:
    facts = {**provenance.versions(), "commit": provenance.commit(), "hardware": provenance.hardware()}
    facts["processes"] = str(processes())
    with artifacts.replacing(system.folder / "environment.txt") as stream:
        stream.writelines(f"{name}: {value}\n" for name, value in facts.items())


def _fixed_settings(config: SystemConfig) -> dict[str, Any]:
    """All settings but the free ones, as `section.name` and value."""
    sections = configuration.to_dict(config)
    sections["training"]["span_epochs"] = _span(config)
    if sections.pop("classes") is not None:
        sections["method"]["classes"] = config.classes
    for section, free in marked(config, FREE).items():
        for name in free:
            del sections[section][name]
    return {f"{section}.{name}": value for section, settings in sections.items() for name, value in settings.items()}


def _span(config: SystemConfig) -> int | None:
    """The span where a schedule ends with it, so that another length makes another system; else None."""
    follows = config.optimisation.schedule == "cosine" or assembly.method_class(config).follows_span
    return config.training.span if follows else None


def refuse_another_model(base: System, config: SystemConfig) -> None:
    """ValueError where stage 5 is configured otherwise than stage 4, `base`, in what it takes over from it."""
    of_stage_4 = assembly.resolve(base.config())
    before, now = _inherited_settings(of_stage_4), _inherited_settings(config)
    if None in (_span(of_stage_4), _span(config)):  # one schedule has no end to compare
        del before["training"], now["training"]
    for section, settings in now.items():
        other = before[section]
        names = [name for name in sorted(settings.keys() | other.keys()) if settings.get(name) != other.get(name)]
        if names:
            changes = ", ".join(f"{section}.{name} {other.get(name)} instead of {settings.get(name)}" for name in names)
            raise ValueError(
                f"{base.config_file} has another {section}: {changes}. Stage 5 goes on with stage 4's: give it the "
                "same."
            )


def say_what_is_own(config: SystemConfig, base: System) -> None:
    """A line on each setting that stage 5 may have for itself, as several seeds of one stage 4, and has otherwise."""
    of_stage_4 = base.config()
    for name in ("batch_size", "precision", "seed"):
        before, now = getattr(of_stage_4.training, name), getattr(config.training, name)
        if before != now:
            _log.warning("%s was trained with training.%s %s; stage 5 goes on with %s", base.folder, name, before, now)


def _inherited_settings(config: SystemConfig) -> dict[str, dict[str, Any]]:
    """What stage 5 goes on with: the model, its input, the optimiser's own settings, the end of schedules."""
    sections = marked(config, INHERITED)
    for name in assembly.method_class(config).needs_clusters:  # of which stage 4 has none
        sections["method"].pop(name, None)
    return {**sections, "training": {"span_epochs": _span(config)}, "speakers": {"classes": config.classes}}
