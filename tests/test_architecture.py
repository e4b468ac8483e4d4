"""The layout: which folder may import which, no circles, how large a thing may be, and that docs/layout.md is true."""

import ast
import importlib
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import sslsv_tk

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sslsv_tk"
BASES = {"methods.base", "positives.base", "encoders.base"}
MAY_IMPORT: dict[str, set[str]] = {
    "scoring": set(),
    "launch": set(),
    "kaldi": set(),
    "audio": {"kaldi"},
    "arks": {"kaldi", "audio"},
    "draws": {"kaldi", "arks"},
    "loading": {"arks", "draws"},
    "corpora": {"kaldi", "audio", "arks", "draws"},
    "frontend": set(),
    "packing": {"kaldi", "audio", "arks", "draws", "corpora", "frontend"},
    "distributed": set(),
    "nn": {"distributed"},
    "clustering": {"distributed"},
    "encoders": {"nn"},
    "methods": {"nn", "distributed", "encoders.base"},
    "sampling": {"clustering", "distributed"},
    "positives": {"sampling", "clustering", "distributed"},
    "extraction": {"kaldi", "arks", "frontend", "encoders.base"},
    "report": {"scoring", "kaldi", "arks", "systems"},
    "systems": {"arks", "draws", "frontend", "distributed", *BASES},
    "monitoring": {
        "kaldi", "arks", "frontend", "distributed", "clustering", "scoring", "extraction", "systems", "methods.base"
    },
    "training": {"loading", "draws", "frontend", "distributed", "nn", "systems", "monitoring", *BASES},
    "runs": {
        "kaldi", "arks", "draws", "loading", "corpora", "frontend", "distributed", "nn", "extraction", "systems",
        "monitoring", "training", *BASES,
    },
    "recipes": {"kaldi", "arks", "loading", "systems", "methods.base"},
}  # fmt: skip
FOLDERS = {*MAY_IMPORT, "bin"}
LONGEST_FILE, LONGEST_CLASS, LONGEST_FUNCTION, LONGEST_COMMAND = 300, 150, 60, 80


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def python_files() -> list[Path]:
    folders = [PACKAGE, ROOT / "egs/voxceleb/local", ROOT / "tools", ROOT / "benchmarks"]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """Each imported module of ours with its line: `from sslsv_tk.nn import queue` gives sslsv_tk.nn.queue."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "sslsv_tk")
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative import"
            elif node.module and node.module.split(".")[0] == "sslsv_tk":
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_allowed(folder: str, module: str) -> bool:
    """May a file of `folder` ("" is the ground floor) import `module`?"""
    parts = module.split(".")[1:]
    if module == "relative import":
        return False
    if not parts or parts[0] not in FOLDERS:
        return True  # the ground floor: everybody's
    if folder == "bin" or folder == parts[0]:
        return True
    allowed = MAY_IMPORT.get(folder, set())
    return parts[0] in allowed or ".".join(parts[:2]) in allowed


def folder_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def circles(arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """Modules that reach themselves by arrows, each with the arrow that leads back."""
    reached: dict[str, set[str]] = {}

    def reach(module: str) -> set[str]:
        seen, todo = set[str](), list(arrows[module])
        while todo:
            other = todo.pop()
            if other not in seen:
                seen.add(other)
                todo += arrows[other]
        return seen

    for module in arrows:
        reached[module] = reach(module)
    return sorted(f"{a} -> {b}" for a in arrows for b in arrows[a] if a in reached[b])


def arrows_between_files() -> dict[str, set[str]]:
    """Which module imports which, at whatever place in the file; `sslsv_tk` itself is left out."""
    modules = {module_of(path): path for path in package_files()}

    def target(name: str) -> str:
        return name if name in modules else name.rpartition(".")[0]

    arrows = {
        module: {target(name) for _, name in imports_of(path.read_text(encoding="utf-8"))} & modules.keys() - {module}
        for module, path in modules.items()
    }
    return {module: others - {"sslsv_tk"} for module, others in arrows.items() if module != "sslsv_tk"}


def test_every_folder_has_its_row() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == FOLDERS, "MAY_IMPORT here and the table in docs/design.md have a row for each folder"


def test_the_table_is_the_one_in_the_design() -> None:
    rows = re.findall(r"^\| (\w+) \| .* \| (.+) \|$", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    written = {folder: row for folder, row in rows if folder in FOLDERS}
    assert written.keys() == FOLDERS
    assert written.pop("bin") == "everything"
    for folder, row in written.items():
        row = row.replace("{methods,positives,encoders}.base", ", ".join(sorted(BASES)))
        assert {name.strip() for name in row.split(",")} - {"-"} == MAY_IMPORT[folder], folder


def test_imports_point_downwards() -> None:
    wrong = [
        f"{relative(path)}:{line}: {module}"
        for path in package_files()
        for line, module in imports_of(path.read_text(encoding="utf-8"))
        if not is_allowed(folder_of(path), module)
    ]
    assert not wrong


def test_no_folder_is_allowed_what_it_does_not_use() -> None:
    used: dict[str, set[str]] = {folder: set() for folder in MAY_IMPORT}
    for path in package_files():
        for _, module in imports_of(path.read_text(encoding="utf-8")):
            parts = module.split(".")[1:]
            for name in (parts[0] if parts else "", ".".join(parts[:2])):
                used.get(folder_of(path), set()).add(name)
    unused = {folder: MAY_IMPORT[folder] - BASES - used[folder] for folder in MAY_IMPORT}
    assert not {folder: names for folder, names in unused.items() if names}


def test_no_circle_between_files() -> None:
    assert circles(arrows_between_files()) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == ["a -> b", "b -> c", "c -> a"]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_the_rule_sees_what_is_not_allowed() -> None:
    assert [
        module for _, module in imports_of("from sslsv_tk.nn import queue\nimport sslsv_tk.bin.train\nimport os")
    ] == [
        "sslsv_tk.nn.queue",
        "sslsv_tk.bin.train",
    ]
    assert [module for _, module in imports_of("def f():\n    from . import base")] == ["relative import"]
    assert is_allowed("methods", "sslsv_tk.encoders.base.Encoder")
    assert not is_allowed("methods", "sslsv_tk.encoders.fast_resnet34")
    assert not is_allowed("methods", "sslsv_tk.encoders")
    assert not is_allowed("training", "sslsv_tk.bin.train")
    assert not is_allowed("", "sslsv_tk.arks.entries")
    assert is_allowed("", "sslsv_tk.config")


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "helpers", "misc", "common"}
    assert not [relative(path) for path in package_files() if drawers & {*path.relative_to(PACKAGE).parts, path.stem}]


def too_large(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    if text.count("\n") > LONGEST_FILE:
        yield f"{relative(path)} has {text.count(chr(10))} lines"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > (LONGEST_CLASS if isinstance(node, ast.ClassDef) else LONGEST_FUNCTION):
                yield f"{relative(path)}:{node.lineno}: {node.name} has {length} lines"


def test_files_classes_and_functions_are_small() -> None:
    assert [line for path in python_files() for line in too_large(path)] == []


def test_every_file_says_what_it_is() -> None:
    assert [
        relative(path) for path in python_files() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def commands() -> list[Path]:
    return sorted(PACKAGE.glob("bin/[a-z]*.py"))


def test_commands_are_thin() -> None:
    for path in commands():
        text = path.read_text(encoding="utf-8")
        functions = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
        assert text.count("\n") <= LONGEST_COMMAND, relative(path)
        assert {"get_parser", "main"} <= functions, relative(path)
        assert "logs.run_command(main)" in text, relative(path)


def test_commands_show_their_help() -> None:
    for path in commands():
        parser = importlib.import_module(f"sslsv_tk.bin.{path.stem}").get_parser()
        assert not [action.dest for action in parser._actions if not action.help], relative(path)
        assert parser.format_help()


def test_public_names_resolve() -> None:
    for name in sslsv_tk.__all__:
        assert getattr(sslsv_tk, name).__name__ == name
        assert name in dir(sslsv_tk)


def test_a_name_that_is_not_public_is_named() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sphere'; its names: AudioArchive"):
        sslsv_tk.Sphere  # noqa: B018


def test_scoring_never_imports_torch() -> None:
    for path in PACKAGE.glob("scoring/*.py"):
        assert not re.search(r"^\s*(import|from) torch\b", path.read_text(), re.MULTILINE), relative(path)


def test_the_package_itself_loads_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import sslsv_tk; sslsv_tk.equal_error_rate"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr


def test_the_layout_page_is_the_disk() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone: the files of the repository are not known")
    layout = runpy.run_path(str(ROOT / "tools/layout.py"))
    made = layout["page"](layout["tracked_files"]())
    assert (ROOT / "docs/layout.md").read_text(encoding="utf-8") == made, "run tools/layout.py --write true"
    assert "|  |" not in made, "a file says nothing of itself"
