"""Which files make the configuration of the system that is trained, and what its folder is called."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslsv_tk import config
from sslsv_tk.recipes import scale
from sslsv_tk.recipes.names import CONF, WORD, Places, did_you_mean, folder_name
from sslsv_tk.recipes.options import Mistake, Options
from sslsv_tk.recipes.scale import AUTO

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


def find(options: Options, places: Places, features: str, utterances: int | None = None) -> System:
    """From --system, --scale, --config, --set, --seed and --tag; `features` is raw, fbank or kept.

    `utterances`: of the training set, where they are known; --scale auto asks for them.
    """
    base, *variants = options.system.split("+")
    files = [places.named("--system", base, CONF / "systems")]
    names = [files[0].stem]
    for word in variants:
        files.append(_variant(places, word, files[0].stem))
        names.append(word if files[-1].parent.name == word else files[-1].stem)
    name = folder_name("--system", "+".join(names))
    own = [places.configuration("--config", path) for path in options.config if path]
    fitting = _fitting_batch(options, files, own, utterances)
    files += _of_scale(options, places, files, fitting is not None)
    if features != "raw":
        files.append(CONF / "features" / f"{features}.yaml")
    files += own
    for word in options.set:
        if word.startswith("positives"):
            raise Mistake(f"--set {word}: stage 4 has no such setting. Write --positives SAMPLER:NAME=VALUE,NAME=VALUE")
    settings = (f"training.seed={options.seed}", *(word for word in options.set if word))
    if fitting is not None:
        settings = (f"training.batch_size={fitting}", *settings)
    system = System(f"{name}-{options.tag}" if options.tag else name, tuple(files), settings)
    _ = system.table  # a mistake in a file or a setting is told now
    return system


def _fitting_batch(options: Options, files: list[Path], own: list[Path], utterances: int | None) -> int | None:
    """The batch of --scale auto; None where it has none to say: the system's fits, or the user has written one."""
    if options.scale != AUTO or utterances is None:
        return None
    if System("", tuple(own), tuple(word for word in options.set if word)).value("training", "batch_size") is not None:
        return None
    wanted = System("", tuple(files), ()).value("training", "batch_size")
    from sslsv_tk.systems.configuration import TrainingConfig  # with numpy, which a plan needs for nothing else

    return scale.batch(utterances, TrainingConfig().batch_size if wanted is None else int(wanted))


def _variant(places: Places, word: str, system: str) -> Path:
    """conf/variants/WORD.yaml, or conf/variants/WORD/SYSTEM.yaml where a variant says something else of each system."""
    folder = CONF / "variants" / word
    if not WORD.fullmatch(word) or not folder.is_dir():
        folders = (path.name for path in (CONF / "variants").iterdir() if path.is_dir())
        return places.named("--system", word, CONF / "variants", *folders)
    path = folder / f"{system}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise Mistake(f"--system {system}+{word}: {word} changes nothing of {system}. It is for {known}.")
    return path


def _of_scale(options: Options, places: Places, files: list[Path], is_small: bool) -> list[Path]:
    """The size of the corpus, and what the method needs where steps are few: without that it may learn nothing."""
    name = options.scale or options.suffix.removeprefix("_")
    if not name or (name == AUTO and not is_small):
        return []
    sizes = [] if name == AUTO else [places.named("--scale", name, CONF / "scale", AUTO)]
    if sizes and sizes[0].stem == FILES_ALONE:
        return sizes
    method = System("", tuple(files), ()).value("method", "name")
    words = [*(f"{method}_{size.stem}" for size in sizes), str(method)]
    own = [CONF / "small" / f"{word}.yaml" for word in words]
    for path in own:
        if path.is_file():
            return [*sizes, path]
    raise Mistake(
        f"--scale {name}: there is no {own[-1]}, which says what the method {method} needs where steps are few."
        " Write it; a comment alone where nothing is needed."
    )


def initial_weights(word: str, places: Places) -> Path | None:
    """The checkpoint that --init-from names, itself or by the folder of a system; None where the word is empty."""
    if not word:
        return None
    named = Path(places.of(word))
    path = named / "checkpoints" / "averaged.pt" if named.is_dir() else named
    if not path.is_file():
        raise Mistake(f"--init-from {word}: there is no checkpoint {path}")
    return path


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
