"""Which positives stage 5 goes on with: names, paths, or samplers with settings written out."""

import re
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk import config, plugins
from sslsv_tk.recipes.names import CONF, Places, did_you_mean, folder_name
from sslsv_tk.recipes.options import Mistake

ALIASES = CONF / "aliases.yaml"
_SETTING = re.compile(r"[a-z_]+=[A-Za-z0-9_.+/-]+")


@dataclass(frozen=True)
class Choice:
    """One run of stage 5: what its folder is called after the system, a file, and settings over it."""

    name: str
    file: Path
    settings: tuple[str, ...] = ()


def find(words: list[str], places: Places) -> list[Choice]:
    """Each word is a name of conf/positives or of conf/aliases.yaml, a path, or `sampler:clusters=240,neighbours=1`."""
    aliases = config.read(ALIASES) if ALIASES.is_file() else {}
    choices = [_choice(word, aliases, places) for word in words]
    names = [choice.name for choice in choices]
    for name in names:
        if names.count(name) > 1:
            raise Mistake(f"--positives: two of {' '.join(words)} would be trained into the folder SYSTEM_{name}")
    return choices


def _choice(word: str, aliases: dict[str, str], places: Places) -> Choice:
    sampler, colon, written = aliases.get(word, word).partition(":")
    settings = written.split(",") if colon else []
    for setting in settings:
        if not _SETTING.fullmatch(setting):
            raise Mistake(f"--positives {word}: expected SAMPLER:NAME=VALUE,NAME=VALUE; found '{setting}'")
    file = _file(word, sampler, aliases, places)
    values = (setting.partition("=")[2].replace("/", "-") for setting in settings)  # N/6 is no name of a folder
    name = word if word in aliases else "_".join([file.stem, *values])
    return Choice(folder_name("--positives", name), file, tuple(f"positives.{setting}" for setting in settings))


def _file(word: str, sampler: str, aliases: dict[str, str], places: Places) -> Path:
    """The YAML file of a sampler: by its path, in the recipe, or beside the sampler in a folder of SSLSV_PLUGINS."""
    if "/" in sampler or sampler.endswith(".yaml"):
        return places.configuration("--positives", sampler)
    folders = [CONF / "positives", *(folder / "positives" for folder in plugins.folders())]
    files = [folder / f"{sampler}.yaml" for folder in folders]
    for file in files:
        if file.is_file():
            return file
    if "+" in sampler:
        raise Mistake(f"--positives {word}: {_about_variant(sampler)}")
    near = did_you_mean(sampler, [*aliases, *(path.stem for folder in folders for path in folder.glob("*.yaml"))])
    raise Mistake(
        f"--positives {word}: there is no {' or '.join(map(str, files))} here, nor such a name in {ALIASES}; the path "
        f"of a YAML file is taken, too.{near}"
    )


def _about_variant(sampler: str) -> str:
    """What to write where somebody adds a variant to positives."""
    variant = sampler.partition("+")[2]
    variants = CONF / "variants"
    known = [path.stem for path in variants.iterdir()]
    written = variant if variant in known else "VARIANT"
    near = "" if variant in known else did_you_mean(variant, known)
    return f"a variant is one of systems: write --system SYSTEM+{written}.{near}"
