"""A recipe folder with its configurations, and the options of run.sh."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from plan_words import RECIPE, words

from sslsv_tk.recipes import options as recipe_options
from sslsv_tk.recipes.names import Places
from sslsv_tk.recipes.options import Options


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a recipe of configurations alone."""
    folder = tmp_path / "egs" / "voxceleb"
    shutil.copytree(RECIPE / "conf", folder / "conf")
    monkeypatch.chdir(folder)
    for name in ("VOXCELEB1", "VOXCELEB2", "MUSAN", "RIRS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sslsv_tk.gpus.visible_gpus", list)
    monkeypatch.setattr("sslsv_tk.gpus.unusable", lambda: None)
    return folder


@pytest.fixture
def places(recipe: Path) -> Places:
    """The user stands in the recipe."""
    return Places(str(recipe), str(recipe))


@pytest.fixture
def make_options(recipe: Path) -> Callable[..., Options]:
    """make_options(NAME=VALUE ...): the defaults of run.sh but for what is given."""
    defaults = recipe_options.parse(words())
    return lambda **given: dataclasses.replace(defaults, **given)
