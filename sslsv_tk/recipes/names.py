"""What the user names: files and folders where the user stands, and the configurations of the recipe by name."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sslsv_tk.near_names import near_names
from sslsv_tk.recipes.options import Mistake

CONF = Path("conf")
WORD = re.compile(r"[A-Za-z0-9_.+-]*[A-Za-z0-9_+-][A-Za-z0-9_.+-]*")
"""What may be the name of a folder: letters, digits and _ . + -, but not dots alone."""


@dataclass(frozen=True)
class Places:
    """Where the user stands, and where the recipe is; the plan is made in the folder of the recipe."""

    caller: str
    recipe: str

    def of(self, path: str) -> str:
        """A path as the user means it: relative ones begin where the user stands, `~/` (of --option=~/x) at home."""
        if path.startswith("~/"):
            path = os.path.expanduser(path)
        if not path or os.path.isabs(path) or self.caller == self.recipe:
            return path
        return os.path.join(self.caller, path)

    def configuration(self, option: str, path: str) -> Path:
        """A configuration file by its path: where the user stands, or else in the recipe."""
        for there in (self.of(path), path):
            if os.path.isfile(there):
                return Path(there)
        raise Mistake(f"{option} {path}: there is no file {self.of(path)}")

    def named(self, option: str, word: str, folder: Path, *others: str) -> Path:
        """The file FOLDER/WORD.yaml of the recipe, or the one whose path the word is; `others`: words besides."""
        if "/" in word or word.endswith(".yaml"):
            return self.configuration(option, word)
        path = folder / f"{word}.yaml"
        if not path.is_file():
            known = [*others, *(file.stem for file in folder.glob("*.yaml"))]
            raise Mistake(f"{option} {word}: there is no {path} here.{did_you_mean(word, known)}")
        return path


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The names that are near, the nearest first, or all of them."""
    names = sorted(set(known))
    near = near_names(word, names)
    if near:
        return f" Did you mean {' or '.join(near)}?"
    return f" There are: {', '.join(names)}." if names else ""


def folder_name(option: str, name: str) -> str:
    """The name, where it can be that of a folder."""
    if not WORD.fullmatch(name):
        raise Mistake(f"{option} {name}: expected a name of letters, digits and _ . + -")
    return name
