"""Parts from outside the package: folders that SSLSV_PLUGINS names, and modules that Python can import."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from sslsv_tk import config, plugins, registry
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method
from sslsv_tk.systems.configuration import SystemConfig

METHOD = "from sslsv_tk.methods.base import Method\nclass Mine(Method): pass\n"
METHODS = "sslsv_tk.methods"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """write(name, text): a file below the test's folder, which can be imported from it at once."""

    def put(name: str, text: str = METHOD) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return path

    before = set(sys.modules)
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    yield put
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")) or name.startswith("sslsv_tk.plugins."):
            del sys.modules[name]


@pytest.fixture
def lab(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of plugins that the environment names."""
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "lab"))
    return tmp_path / "lab"


@pytest.fixture
def outside(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PYTHONPATH."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def find(name: str) -> type[Method]:
    return registry.find(METHODS, name, Method)


def refusal(name: str, kind: str = METHODS) -> str:
    """What is said of a name, which is one line."""
    with pytest.raises(ValueError) as caught:
        registry.find(kind, name, Method if kind == METHODS else Encoder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- a folder of plugins -------------------------------------------------------------------------------------------


def test_a_file_in_a_folder_of_plugins_is_found_by_its_name(lab: Path, write) -> None:
    write("lab/methods/mine.py")
    write("lab/encoders/ear.py", "from sslsv_tk.encoders.base import Encoder\nclass Ear(Encoder): pass\n")
    assert issubclass(find("mine"), Method) and find("mine").__name__ == "Mine"
    assert registry.find("sslsv_tk.encoders", "ear", Encoder).__name__ == "Ear"
    assert {"mine", "simclr"} <= set(registry.names(METHODS)) and "mine" not in registry.names("sslsv_tk.encoders")
    assert find("simclr").__name__ == "SimCLR"


def test_a_plugin_may_be_a_folder_and_use_its_neighbours(lab: Path, write) -> None:
    write("lab/methods/_shared.py", "NUMBER = 7\n")
    write("lab/common.py", "NUMBER = 8\n")
    write("lab/methods/large/__init__.py", "from .parts import Mine\nclass Large(Mine): pass\n")
    write("lab/methods/large/parts.py", f"from .._shared import NUMBER\nfrom ...common import NUMBER as N\n{METHOD}")
    assert find("large").__name__ == "Large"
    assert "_shared" not in registry.names(METHODS)


def test_files_of_the_same_name_in_two_folders_never_meet(tmp_path: Path, write, monkeypatch) -> None:
    for number in (1, 2):
        write(f"lab {number}/methods/_shared.py", f"NUMBER = {number}\n")
        write(
            f"lab {number}/methods/method_{number}.py", f"from ._shared import NUMBER\n{METHOD}Mine.number = NUMBER\n"
        )
    monkeypatch.setenv(plugins.VARIABLE, f"{tmp_path}/lab 1:{tmp_path}/lab 2")
    assert [find(f"method_{number}").number for number in (1, 2)] == [1, 2]


def test_a_name_inside_and_outside_is_refused_with_both_paths(lab: Path, write) -> None:
    path = write("lab/methods/simclr.py")
    own = Path(registry.__file__).parent / "methods" / "simclr.py"
    assert refusal("simclr") == f"'simclr' is two of the methods: {own} and {path}. Rename the one that is yours."
    assert registry.names(METHODS).count("simclr") == 1 and find("moco").__name__ == "MoCo"


def test_a_name_in_two_folders_of_plugins_is_refused(tmp_path: Path, write, monkeypatch) -> None:
    paths = [write(f"lab{number}/methods/mine.py") for number in (1, 2)]
    monkeypatch.setenv(plugins.VARIABLE, f"{tmp_path}/lab1:{tmp_path}/lab2")
    assert f"{paths[0]} and {paths[1]}" in refusal("mine")
    monkeypatch.setenv(plugins.VARIABLE, f"{tmp_path}/lab1:{tmp_path}/lab1")
    assert find("mine").__name__ == "Mine", "a folder that is named twice is one"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, f"{tmp_path}:{tmp_path}/nowhere")
    message = (
        rf"^SSLSV_PLUGINS names {tmp_path}/nowhere, and there is no such folder. Mend it, or unset SSLSV_PLUGINS.$"
    )
    with pytest.raises(ValueError, match=message):
        registry.names(METHODS)


def test_a_plugin_that_is_gone_is_named_with_the_way_to_bring_it_back(lab: Path, write, monkeypatch) -> None:
    assert f"in the folders of SSLSV_PLUGINS ({lab})." in refusal("mine")
    monkeypatch.delenv(plugins.VARIABLE)
    said = refusal("mine")
    assert said.startswith("'mine' is not one of the methods: ")
    assert said.endswith("a file methods/NAME.py is found in the folders of SSLSV_PLUGINS (not set).")


def test_another_process_finds_the_class_of_an_object(lab: Path, write, tmp_path: Path) -> None:
    """As a worker of a loader does that is not forked."""
    write("lab/methods/mine.py", f"{METHOD}class Settings: pass\n")
    settings = vars(sys.modules[find("mine").__module__])["Settings"]()
    (tmp_path / "object").write_bytes(pickle.dumps(settings))
    read = "import pickle, sys; print(type(pickle.load(open(sys.argv[1], 'rb'))).__name__)"
    words = [sys.executable, "-c", read, str(tmp_path / "object")]
    root = Path(registry.__file__).parents[1]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root)
    assert done.stdout == "Settings\n", done.stderr


# -- a module and a class ------------------------------------------------------------------------------------------


def test_a_class_of_any_module_is_found(outside: Path, write) -> None:
    write("my_package/__init__.py", "")
    write("my_package/losses.py", f"{METHOD}class Other(Mine): pass\n")
    assert [find(f"my_package.losses:{name}").__name__ for name in ("Mine", "Other")] == ["Mine", "Other"]
    assert "my_package" not in " ".join(registry.names(METHODS))


def test_the_name_goes_through_a_configuration_as_it_was_given(outside: Path, tmp_path: Path) -> None:
    text = "encoder: {name: fast_resnet34}\nmethod: {name: my_package.losses:Mine, width: 3}\n"
    (tmp_path / "system.yaml").write_text(text)
    loaded = config.load(SystemConfig, tmp_path / "system.yaml")
    assert loaded.method.name == "my_package.losses:Mine" and loaded.method.settings == {"width": 3}
    config.dump(loaded, tmp_path / "again.yaml")
    assert config.load(SystemConfig, tmp_path / "again.yaml") == loaded
    overrides = ["method.name=other.module:Mine"]
    assert config.load(SystemConfig, tmp_path / "system.yaml", overrides=overrides).method.settings == {}


@pytest.mark.parametrize("name", ["my_package:", ":Mine", "my package:Mine", "my_package.losses:Mine:Mine", "a..b:C"])
def test_a_name_that_names_no_class_is_refused(name: str) -> None:
    assert refusal(name).endswith("expected a name, or my_package.my_module:MyClass.")


def test_a_module_that_is_nowhere(outside: Path, write) -> None:
    said = "Put the folder that holds it on PYTHONPATH."
    assert refusal("no_package.losses:Mine") == (f"'no_package.losses:Mine': Python finds no module no_package. {said}")
    write("my_package/__init__.py", "")
    assert "finds no module my_package.losses." in refusal("my_package.losses:Mine")


def test_a_class_that_is_nowhere_or_something_else(outside: Path, write) -> None:
    path = write("losses.py", f"{METHOD}Number = 3\nclass Plain: pass\n")
    assert refusal("losses:Min") == (
        f"{path}: no class Min, which 'losses:Min' of the methods names. Did you mean 'Mine'?"
    )
    for name in ("Number", "Plain", "Method"):
        assert refusal(f"losses:{name}") == f"{path}: {name} is no subclass of sslsv_tk.methods.base.Method."
    assert "is no subclass of sslsv_tk.encoders.base.Encoder" in refusal("losses:Mine", "sslsv_tk.encoders")


# -- errors inside -------------------------------------------------------------------------------------------------

WRONG = {
    "raise RuntimeError('two\\nlines')": "2: RuntimeError: two lines",
    "import not_there": "2: ModuleNotFoundError: No module named 'not_there'",
    "class A(: pass": "2: SyntaxError: invalid syntax",
    "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: list = []": "3: ValueError: mutable default",
    "from sslsv_tk.methods.base import Mehtod": "2: ImportError: cannot import name 'Mehtod'",
}


@pytest.mark.parametrize("text", WRONG)
def test_an_error_in_a_plugin_is_one_line_with_its_place(lab: Path, outside: Path, write, text: str) -> None:
    for name, path in (("mine", "lab/methods/mine.py"), ("losses:Mine", "losses.py")):
        path = write(path, f'"""A plugin."""\n{text}\n')
        assert refusal(name).startswith(f"{path}:{WRONG[text]}")


def test_an_error_in_what_a_plugin_imports_is_told_with_its_own_place(lab: Path, write) -> None:
    path = write("lab/methods/_shared.py", "\n\n1 / 0\n")
    write("lab/methods/mine.py", f"from ._shared import NUMBER\n{METHOD}")
    assert refusal("mine") == f"{path}:3: ZeroDivisionError: division by zero"
