"""The file name is the registry."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslsv_tk import registry
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method


class Animal:
    pass


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `zoo` in which files can be put; it is forgotten afterwards."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "kingdom", sys.modules[__name__])
    yield folder
    for name in [name for name in sys.modules if name == "zoo" or name.startswith("zoo.")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_name_finds_the_class_of_its_file() -> None:
    found = registry.find("sslsv_tk.methods", "simclr", Method)
    assert found.__name__ == "SimCLR" and issubclass(found, Method)
    assert registry.find("sslsv_tk.encoders", "fast_resnet34", Encoder).__name__ == "FastResNet34"


def test_base_is_not_on_the_list() -> None:
    assert "simclr" in registry.names("sslsv_tk.methods")
    assert "base" not in registry.names("sslsv_tk.methods")


def test_a_wrong_name_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(ValueError, match=r"^'simclar' is not one of the methods: .*simclr.*Did you mean 'simclr'\? "):
        registry.find("sslsv_tk.methods", "simclar", Method)


@pytest.mark.parametrize("name", ["base", "", "../simclr", "simclr.SimCLR", "os"])
def test_what_is_no_file_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not one of the methods"):
        registry.find("sslsv_tk.methods", name, Method)


def test_only_the_named_file_is_imported(zoo: Path) -> None:
    (zoo / "cat.py").write_text("from kingdom import Animal\nclass Cat(Animal): pass\n")
    (zoo / "broken.py").write_text("raise RuntimeError('imported')\n")
    assert registry.find("zoo", "cat", Animal).__name__ == "Cat"
    assert "zoo.broken" not in sys.modules


def test_classes_that_a_file_imports_are_not_its_own(zoo: Path) -> None:
    (zoo / "cat.py").write_text("from kingdom import Animal\nclass Cat(Animal): pass\n")
    (zoo / "helper.py").write_text("from zoo.cat import Cat\nclass Tiger(Cat): pass\n")
    assert registry.find("zoo", "helper", Animal).__name__ == "Tiger"


@pytest.mark.parametrize(
    ("text", "count"), [("class A(Animal): pass\nclass B(Animal): pass\n", 2), ("class A: pass\n", 0)]
)
def test_a_file_with_two_classes_or_none_is_refused(zoo: Path, text: str, count: int) -> None:
    (zoo / "cats.py").write_text(f"from kingdom import Animal\n{text}")
    with pytest.raises(ValueError, match=rf"cats.py: expected exactly one subclass of Animal, found {count}."):
        registry.find("zoo", "cats", Animal)
