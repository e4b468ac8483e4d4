"""Copies of the recipe in a temporary place."""

from pathlib import Path

import pytest
from recipe_copy import Recipe, copy_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A fresh copy of the recipe for one test."""
    return copy_recipe(tmp_path)


@pytest.fixture(scope="module")
def module_recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A copy that the tests of one module share, for runs that build on each other."""
    return copy_recipe(tmp_path_factory.mktemp("recipe"))
