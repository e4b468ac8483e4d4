"""Which files make the configuration of the system that is trained, and what its folder is called."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslsv_tk import config
from sslsv_tk.recipes.names import CONF, WORD, Places, did_you_mean, folder_name
from sslsv_tk.recipes.options import Mistake, Options

FILES_ALONE = "tiny"
"""The scale at which nothing is learned, so that methods keep their settings."""


@dataclass(frozen=True)
class System:
    """The system of stage 4: its folder in exp, its configuration files (later ones win), and settings over them."""

    name: str
    files: tuple[Path, ...]
    settings: tuple[str, ...]

    @property
    def table(self) -> dict[str, Any]:
        """What the files and settings say, before anything is known of their keys."""
        return config.merged(*self.files, overrides=self.settings)

    def value(self, section: str, name: str) -> Any:
        """What they say of one setting; None where they say nothing."""
        table = self.table.get(section)
        return table.get(name) if isinstance(table, dict) else None


def find(options: Options, places: Places, features: str) -> System:
    """From --system, --scale, --config, --set, --seed and --tag; `features` is raw, fbank or kept."""
    base, *variants = options.system.split("+")
    files = [places.named("--system", base, CONF / "systems")]
    names = [files[0].stem]
    for word in variants:
        files.append(_variant(places, word, files[0].stem))
        names.append(word if files[-1].parent.name == word else files[-1].stem)
    name = folder_name("--system", "+".join(names))
    files += _of_scale(options, places, files)
    if features != "raw":
        files.append(CONF / "features" / f"{features}.yaml")
    files += [places.configuration("--config", path) for path in options.config if path]
    for word in options.set:
        if word.startswith("positives"):
            raise Mistake(f"--set {word}: stage 4 has no such setting. Write --positives SAMPLER:NAME=VALUE,NAME=VALUE")
    settings = (f"training.seed={options.seed}", *(word for word in options.set if word))
    system = System(f"{name}-{options.tag}" if options.tag else name, tuple(files), settings)
    _ = system.table  # a mistake in a file or a setting is told now
    return system


def _variant(places: Places, word: str, system: str) -> Path:
    """conf/variants/WORD.yaml, or conf/variants/WORD/SYSTEM.yaml where a variant says something else of each system."""
    folder = CONF / "variants" / word
    if not WORD.fullmatch(word) or not folder.is_dir():
        return places.named("--system", word, CONF / "variants")
    path = folder / f"{system}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise Mistake(f"--system {system}+{word}: {word} changes nothing of {system}. It is for {known}.")
    return path


def _of_scale(options: Options, places: Places, files: list[Path]) -> list[Path]:
    """The size of the corpus, and what the method needs where steps are few: without that it may learn nothing."""
    scale = options.scale or options.suffix.removeprefix("_")
    if not scale:
        return []
    size = places.named("--scale", scale, CONF / "scale")
    if size.stem == FILES_ALONE:
        return [size]
    method = System("", tuple(files), ()).value("method", "name")
    own = [CONF / "small" / f"{name}.yaml" for name in (f"{method}_{size.stem}", str(method))]
    for path in own:
        if path.is_file():
            return [size, path]
    raise Mistake(
        f"--scale {scale}: there is no {own[-1]}, which says what the method {method} needs where steps are few."
        " Write it; a comment alone where nothing is needed."
    )


def evaluated(options: Options, trained: list[str], expdir: str) -> list[str]:
    """Which systems stages 6 and 7 treat: those of --systems, or those of stages 4 and 5."""
    names = options.systems.split()
    for name in names:
        if not name.strip(".") or "/" in name:
            raise Mistake(f"--systems {name}: expected names of folders in {expdir}")
        if name not in trained and options.stop_stage >= 6 and not (Path(expdir) / name).is_dir():
            there = [path.parent.name for path in Path(expdir).glob("*/config.yaml")]
            raise Mistake(f"--systems {name}: there is no system {expdir}/{name}.{did_you_mean(name, there)}")
        folder_name("--systems", name)
    return names or trained
